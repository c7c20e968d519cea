"""The README, the tree and the checks say the same: commands run as they are written, files are all named."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest
from loratune import cli
from loratune.app.config_file import read_config
from loratune.errors import LoratuneError
from loratune.reports.plots.kinds import known

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\w*\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
TREE = re.search(r"^## The tree\n.*?^```\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)[1]
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line.startswith("tune ")]
DATA = ("demo/data/", "demo/model/")
SOURCES = (".py", ".html", ".js")


def understand(line: str) -> list[str]:
    """Parse a line as the command does, down to the last word, run nothing; return the commands in it."""
    command, words, named = cli.tune, shlex.split(line)[1:], []
    while isinstance(command, click.Group):
        within = click.Context(command)
        name, command, words = command.resolve_command(within, words)
        named.append(name)
    context = command.make_context(name, words)
    if name == "plot":
        known(context.params["kind"])
    return named


def named_in_the_tree() -> dict[str, str]:
    """Return the paths that the README's tree names, each with its words."""
    found, folder = {}, ""
    for line in TREE.splitlines():
        name, _, words = line.strip().partition(" ")
        if not line.startswith(" "):
            folder = name if name.endswith("/") else ""
            found[name] = words.strip()
        else:
            found[folder + name] = words.strip()
    return found


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if not listed.stdout:
        pytest.skip("not a git checkout")
    return listed.stdout.splitlines()


def test_every_source_file_is_in_the_tree():
    sources = [
        name
        for name in tracked()
        if name.endswith(SOURCES) and not name.startswith(("tests/", *DATA)) and (ROOT / name).is_file()
    ]
    assert len(sources) > 50
    names = named_in_the_tree()
    # A room's __init__.py says what its folder's line says.
    assert [
        name for name in sources if name not in names and not (name.endswith("/__init__.py") and "/" in name)
    ] == []


def test_the_tree_names_no_file_that_is_not_there():
    assert [name for name in named_in_the_tree() if not (ROOT / name).exists()] == []


def test_every_file_of_the_tree_has_a_few_words():
    names = named_in_the_tree()
    assert [name for name, words in names.items() if not words and name != ".ci/"] == []
    assert [name for name, words in names.items() if len(words.split()) > 12] == []


def test_the_two_commands_are_one_line_each_with_all_their_setup():
    lines = [line for block in BLOCKS for line in block.splitlines() if line.startswith("python3 -m venv")]
    assert lines == [
        "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/tune search --trials 100",
        "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest tests",
    ]


def test_the_checks_run_the_readmes_test_command():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text(encoding="utf-8")
    (extract,) = re.findall(r"^tests=\$\((grep .*README\.md)\)$", text, flags=re.MULTILINE)
    found = subprocess.run(["bash", "-c", extract], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (
        found.stdout
        == "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest tests\n"
    )
    for check in ("ruff", "mypy"):
        assert f"/bin/{check}" in text


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_readme_is_understood(line):
    named = understand(line)
    assert named
    assert shlex.split(line)[1 : len(named) + 1] == named


@pytest.mark.parametrize(
    "line", ["tune db bakcup", "tune db backup --oops", "tune list --oops", "tune plot no"]
)
def test_a_command_that_is_written_wrongly_would_be_noticed(line):
    with pytest.raises((click.UsageError, LoratuneError)):
        understand(line)


def test_the_readme_shows_every_command():
    assert {shlex.split(line)[1] for line in COMMANDS} == set(cli.tune.commands)


def test_the_config_file_of_the_readme_is_read(tmp_path):
    (block,) = (block for block in BLOCKS if block.startswith("# search.yaml"))
    path = tmp_path / "search.yaml"
    path.write_text(block, encoding="utf-8")
    assert read_config(path)[0].trials == 24


def test_every_link_of_the_documentation_leads_somewhere():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    links = [
        (page, target)
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8"))
        if "://" not in target
    ]
    assert len(links) > 5
    assert [f"{page.name}: {target}" for page, target in links if not (page.parent / target).exists()] == []
