"""Help and usage: every command and option says what it is for, and slips get the nearest name."""

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from loratune.cli import tune as group
from loratune.reports.importance import MIN_TRIALS

ROOT = Path(__file__).parents[2]
COMMANDS = sorted([*group.commands, *(f"db {name}" for name in group.commands["db"].commands)])
LOADED = """
import atexit, runpy, sys
heavy = ("torch", "transformers", "peft", "optuna", "plotly")
atexit.register(lambda: print("LOADED", *[name for name in heavy if name in sys.modules]))
sys.argv = ["tune", *{words!r}]
runpy.run_module("loratune", run_name="__main__")
"""


def command(name):
    """Return a command by its words."""
    found = group
    for word in name.split():
        found = found.commands[word]
    return found


def test_the_commands_stand_in_the_order_in_which_they_are_used():
    used = ["search", "resume", "confirm", "train", "plan", "list", "show", "plot", "report", "export", "db"]
    assert list(group.commands) == used
    assert list(group.commands["db"].commands) == ["backup", "check", "delete"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_summary_and_an_example(name):
    found = command(name)
    assert found.short_help
    assert found.short_help.endswith(".")
    assert (
        f"\n    tune {name}" in CliRunner().invoke(group, [*name.split(), "--help"], prog_name="tune").output
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_is_for(name):
    options = [it for it in command(name).params if isinstance(it, click.Option)]
    assert options
    assert [it.name for it in options if not (it.help or "").strip()] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_narrow_terminal(name):
    shown = CliRunner().invoke(group, [*name.split(), "--help"], prog_name="tune", terminal_width=80)
    assert shown.exit_code == 0
    assert max(len(line) for line in shown.output.splitlines()) <= 100


def test_bare_tune_shows_the_commands(tune):
    ended = tune()
    assert ended.code == 0
    for name in group.commands:
        assert f"\n  {name} " in ended.out
    assert ended.err == ""


def test_both_words_for_help_say_the_same(tune):
    assert tune("-h").out == tune("--help").out


def test_the_version_is_told(tune):
    from loratune import __version__

    assert tune("--version").out == f"loratune, version {__version__}\n"


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["serch"], "search"),
        (["raport"], "report"),
        (["search", "--trails", "4"], "--trials"),
        (["resume", "--trial", "4"], "--trials"),
        (["search", "--pruner", "havling"], "halving"),
        (["search", "--cutoff_len", "512"], "--cutoff-len"),
        (["search", "--val-size", "0.1"], "--validation FILE"),
        (["plan", "--per_device_train_batch_size", "4"], "--set batch_size=…"),
    ],
)
def test_a_slip_is_wrong_usage_answered_with_the_nearest_name(refused, tmp_path, words, nearest):
    ended = refused(*words)
    assert nearest in ended.complaint
    assert ended.code == 2
    assert ended.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ["search", "--trials", "0"],
        ["search", "--trials", "many"],
        ["search", "--workers", "none"],
        ["search", "--slots", "0"],
        ["search", "--seed", "-1"],
        ["search", "--cutoff-len", "1"],
        ["search", "--timeout", "0"],
        ["search", "--max-grad-norm", "-1"],
        ["search", "--device", "banana"],
        ["search", "--model", "somewhere"],
        ["search", "--data", "some.jsonl"],
        ["search", "--model", "m", "--data", "d.jsonl", "--test", "t.jsonl"],
        ["export", "--format", "axolotl"],
        ["export", "--epochs", "0"],
        ["export", "--epochs", "1e300"],
        ["export", "--epochs", "nan"],
        ["search", "--trials", "1" + 30 * "0"],
        ["search", "--trials", "9" * 5000],
        ["search", "--examples", "1" + 30 * "0"],
        ["search", "--eval-examples", "1" + 30 * "0"],
        ["search", "--cutoff-len", "1" + 30 * "0"],
        ["search", "--keep-adapters", "1" + 30 * "0"],
        ["search", "--max-grad-norm", "nan"],
        ["search", "--max-grad-norm", "1e300"],
        ["search", "--timeout", "inf"],
        ["search", "--slots", "1" + 30 * "0"],
        ["search", "--workers", "1" + 30 * "0"],
        ["resume", "--trials", "1" + 30 * "0"],
        ["show", "--trial", "1" + 30 * "0"],
        ["show", "--trial", "-1"],
        ["show", "one", "two"],
    ],
    ids=lambda words: " ".join(words)[:60],
)
def test_wrong_usage_is_one_line_and_exit_code_2(refused, tmp_path, words):
    ended = refused(*words)
    assert len(ended.complaint) < 300
    assert ended.code == 2
    assert ended.out == ""
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_plot_is_wrong_usage(refused, finished):
    ended = refused("plot", "importence", cwd=finished)
    assert "'importence' is not a plot (did you mean 'importance'?)" in ended.complaint
    assert ended.code == 2


def test_a_process_ends_with_the_same_code_and_line(tune, refused):
    inside, outside = refused("serch"), tune("serch")
    assert outside.code == inside.code == 2
    said = "tune: no command 'serch' (did you mean 'search'?); see "
    assert outside.complaint == said + "python -m loratune --help"
    assert inside.complaint.startswith(said)


def test_wrong_usage_names_the_help_of_its_command_in_the_same_line(tune):
    assert tune("export", "--format", "axolotl").complaint.endswith("; see python -m loratune export --help")


def test_help_and_list_load_neither_torch_nor_optuna(tune, finished):
    """What a newcomer types first, and what is typed most, must not take seconds."""
    for words in (["--help"], ["list"], ["--version"]):
        code = LOADED.format(words=words)
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=finished,
            capture_output=True,
            text=True,
            timeout=240,
            check=True,
        )
        assert done.stdout.splitlines()[-1].split() == ["LOADED"], words


def test_that_a_loaded_library_would_be_noticed(finished):
    code = LOADED.format(words=["show"])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=finished, capture_output=True, text=True, timeout=240, check=True
    )
    assert "optuna" in done.stdout.splitlines()[-1]


def test_how_many_trials_importance_needs_is_said_before_it_is_asked_for():
    words = f"from {MIN_TRIALS} measured trials on"
    assert words in " ".join(command("plot").help.split())
    assert words in " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())


@pytest.mark.parametrize("name", ["search", "resume"])
def test_that_a_number_of_slots_stays_with_the_study_is_said(name):
    (slots,) = (option for option in command(name).params if option.name == "slots")
    assert "a study keeps the last number given" in slots.help
