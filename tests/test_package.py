"""What root-as-package needs of ``pyproject.toml`` and of pytest's configuration, and what is declared."""

import ast
import configparser
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ROOMS = (
    *("app", "command", "demo", "integrations", "metrics", "objectives", "reports"),
    *("search", "spaces", "storage", "study"),
)
DISTRIBUTIONS = packages_distributions()


def plain(requirement: str) -> str:
    """Return a requirement's name as the index writes it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", requirement)[0]).lower()


RUNTIME = {plain(one) for one in PROJECT["project"]["dependencies"]}
FOR_OTHERS = {"accelerate"}
"""Imported by Transformers alone, which loads a model onto a GPU through it and does not require it."""
ON_A_GPU = {"liger-kernel", "bitsandbytes", "packaging"}
"""Imported by benchmarks/gpu.py where they are there; the last comes with Transformers."""
EXTRAS = {
    plain(one) for name in ("gp", "metrics") for one in PROJECT["project"]["optional-dependencies"][name]
}
"""Imported where they are there and asked for."""
TESTING = EXTRAS | {plain(one) for one in PROJECT["project"]["optional-dependencies"]["test"]}


def third_party(*paths: Path) -> dict[str, str]:
    """Return the distribution of every library imported below the paths, and one file that imports it."""
    found = {}
    for path in (file for top in paths for file in ([top] if top.is_file() else sorted(top.rglob("*.py")))):
        siblings = {path.parent.name} | {one.name for one in path.parent.iterdir() if one.is_dir()}
        # What lies in the folders above it counts too: a stage imports its program.
        above = [folder for folder in path.parents if folder.is_relative_to(ROOT) and folder != ROOT]
        siblings |= {one.stem for folder in (path.parent, *above) for one in folder.glob("*.py")}
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for name in (name.split(".")[0] for name in names):
                if name not in sys.stdlib_module_names | siblings | {"loratune"}:
                    found[plain(DISTRIBUTIONS.get(name, [name])[0])] = path.relative_to(ROOT).as_posix()
    return found


def test_every_library_that_the_package_imports_is_declared():
    imported = third_party(*ROOT.glob("*.py"), *(ROOT / room for room in ROOMS))
    assert {name: where for name, where in imported.items() if name not in RUNTIME | EXTRAS} == {}


def test_every_declared_library_is_imported():
    imported = third_party(*ROOT.glob("*.py"), *(ROOT / room for room in ROOMS))
    assert RUNTIME - set(imported) == FOR_OTHERS


def test_the_tests_and_benchmarks_import_nothing_else():
    imported = third_party(ROOT / "tests", ROOT / "benchmarks")
    assert {name: where for name, where in imported.items() if name not in RUNTIME | TESTING | ON_A_GPU} == {}


def test_every_room_is_a_declared_package():
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name != "tests"}
    assert folders == set(ROOMS)
    declared = PROJECT["tool"]["setuptools"]["packages"]
    packages = [
        folder.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for room in ROOMS
        for folder in (ROOT / room).rglob("__init__.py")
    ]
    assert sorted(declared) == sorted(["loratune", *(f"loratune.{package}" for package in packages)])


def test_the_lint_bans_bare_imports_of_our_rooms():
    lint = PROJECT["tool"]["ruff"]["lint"]
    assert "TID251" in lint["select"]
    assert "TID251" not in str(lint.get("per-file-ignores")) + str(lint.get("ignore"))
    banned = lint["flake8-tidy-imports"]["banned-api"]
    assert {name: entry["msg"] for name, entry in banned.items()} == {
        room: f"import loratune.{room}" for room in ROOMS
    }


def test_the_types_are_checked_strictly():
    assert PROJECT["tool"]["mypy"]["strict"] is True
    assert (ROOT / "py.typed").is_file()


def test_pytest_has_its_root_in_the_tests(pytestconfig):
    assert pytestconfig.rootpath == ROOT / "tests"
    assert "pytest" not in PROJECT["tool"]
    assert not (ROOT / "pytest.ini").exists()
    assert list((ROOT / "tests").rglob("__init__.py")) == []
    settings = configparser.ConfigParser()
    settings.read(ROOT / "tests" / "pytest.ini")
    assert "--import-mode=importlib" in settings["pytest"]["addopts"].split()
    assert settings["pytest"]["filterwarnings"].split() == ["error"]
    assert "gpu:" in settings["pytest"]["markers"]


def test_a_warning_is_an_error():
    import warnings

    with pytest.raises(UserWarning, match="loud"):
        warnings.warn("loud", stacklevel=1)


def test_every_relative_import_finds_a_file_that_git_knows():
    """A module that was written but not added is missed by everyone but its author."""
    tracked = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    missing = []
    for name in (name for name in tracked if name.split("/")[0] in ROOMS or "/" not in name):
        if not (ROOT / name).is_file():
            continue
        for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level and node.module:
                above = Path(name).parts[:-1]
                parts = [*above[: len(above) - node.level + 1], *node.module.split(".")]
                target = "/".join(parts)
                if f"{target}.py" not in tracked and f"{target}/__init__.py" not in tracked:
                    missing.append(f"{name}:{node.lineno}: {target}.py")
    assert missing == []
