"""What leaves the repository: the wheel, made from the sdist in a clone of another name, file by file.

The repository's root is the package, so a file too many at the root, a package left out of
``pyproject.toml`` or a build folder left lying would end in the wheel, or be missing from it.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

AT_THE_ROOT = {
    *("__init__.py", "__main__.py", "atomic.py", "bounds.py", "cli.py", "digest.py", "errors.py"),
    *("nouns.py", "py.typed", "whole_files.py", "yamlfile.py"),
}
ROOMS = (
    *("app", "command", "demo", "integrations", "metrics", "objectives", "reports"),
    *("search", "spaces", "storage", "study"),
)
ABOUT_THE_REPOSITORY = {
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "MANIFEST.in",
    "README.md",
    "pyproject.toml",
}
ABOUT = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt"}


def tracked() -> list[str]:
    """Return the files that a clone would have, where git can say so."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def run(*words: str | Path, cwd: Path, **variables: str) -> str:
    environment = {**os.environ, **variables}
    done = subprocess.run(
        words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A copy of the tracked files in a folder of another name, with the dirt of an older build in it."""
    names = tracked()
    if not names:
        pytest.skip("not a git checkout")
    folder = tmp_path_factory.mktemp("clones") / "another-name"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    stale = folder / "build" / "lib" / "loratune" / "search" / "gone.py"
    stale.parent.mkdir(parents=True)
    stale.write_text("raise RuntimeError('this module was removed long ago')\n")
    return folder


@pytest.fixture(scope="module")
def made(clone) -> tuple[Path, Path]:
    """The sdist, and the wheel made from it."""
    run(sys.executable, "-P", "-m", "build", "--no-isolation", ".", cwd=clone)
    (sdist,) = (clone / "dist").glob("*.tar.gz")
    (wheel,) = (clone / "dist").glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def unpacked(made, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(made[1]) as wheel:
        wheel.extractall(folder)
    return folder


def test_the_wheel_holds_the_package_and_nothing_else(made):
    with zipfile.ZipFile(made[1]) as wheel:
        names = {name for name in wheel.namelist() if not name.endswith("/")}
    ours = {name.removeprefix("loratune/") for name in names if name.startswith("loratune/")}
    expected = AT_THE_ROOT | {name for name in tracked() if name.startswith(tuple(f"{r}/" for r in ROOMS))}
    assert sorted(ours - expected) == []
    assert sorted(expected - ours) == []
    about = {name.partition("/")[2] for name in names if ".dist-info/" in name}
    assert about == ABOUT
    assert len(names) == len(ours) + len(about)


def test_the_demo_and_the_page_are_in_the_wheel(unpacked):
    assert (unpacked / "loratune" / "demo" / "model" / "model.safetensors").stat().st_size > 100_000
    assert list((unpacked / "loratune" / "demo" / "data").glob("*.jsonl"))
    assert list((unpacked / "loratune" / "reports").glob("*.html"))


def test_the_sdist_holds_what_builds_it_and_no_dirt(made):
    with tarfile.open(made[0]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    top = {name.split("/")[0] for name in names if name}
    of_the_builder = {"PKG-INFO", "setup.cfg", "loratune.egg-info"}
    assert top == AT_THE_ROOT | {*ROOMS, "docs"} | ABOUT_THE_REPOSITORY | of_the_builder


def test_the_wheel_names_its_licence_pythons_and_commands(unpacked):
    (about,) = unpacked.glob("*.dist-info")
    metadata = (about / "METADATA").read_text(encoding="utf-8")
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert "\nRequires-Python: >=3.11\n" in metadata
    commands = (about / "entry_points.txt").read_text(encoding="utf-8")
    assert "tune = loratune.__main__:main" in commands.splitlines()
    assert "loratune = loratune.__main__:main" in commands.splitlines()
    assert "Apache License" in (about / "licenses" / "LICENSE").read_text(encoding="utf-8")


def test_what_was_unpacked_runs_far_from_the_repository(unpacked, tmp_path):
    """In an interpreter that sees the wheel's files first; the repository is not on its path."""
    program = (
        f"import sys; sys.path.insert(0, {str(unpacked)!r})\n"
        "import loratune, runpy\n"
        f"assert loratune.__file__.startswith({str(unpacked)!r}), loratune.__file__\n"
        "from loratune.demo import data_path, model_path\n"
        "assert data_path().is_file() and model_path().is_dir()\n"
        "sys.argv = ['tune', '--help']\n"
        "runpy.run_module('loratune', run_name='__main__')\n"
    )
    assert "search" in run(sys.executable, "-P", "-c", program, cwd=tmp_path)


def test_the_tests_run_in_a_clone_of_another_name_against_what_was_unpacked(clone, unpacked):
    """pytest would import the root's ``__init__`` as a module of its own, were its root not the tests."""
    probe = clone / "tests" / "spaces" / "test_probe.py"
    probe.write_text(
        "import sys\n"
        "import loratune\n"
        "def test_one_package_under_one_name():\n"
        f"    assert loratune.__file__.startswith({str(unpacked)!r})\n"
        f"    clone = {str(clone)!r}\n"
        "    files = [getattr(m, '__file__', None) or '' for m in list(sys.modules.values())]\n"
        "    ours = [file for file in files if file.startswith(clone)]\n"
        "    assert [file for file in ours if not file.startswith(clone + '/tests/')] == []\n",
        encoding="utf-8",
    )
    where = ("tests/spaces/test_probe.py", "tests/test_errors.py")
    said = run(
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        *where,
        cwd=clone,
        PYTHONPATH=str(unpacked),
    )
    assert " passed" in said
