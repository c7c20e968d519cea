"""Tables, sentences and durations in consoles of many widths."""

import io
import re

import pytest
from loratune.command import console
from rich.console import Console


def drawn(renderable, width=160):
    made = Console(file=io.StringIO(), width=width)
    made.print(renderable)
    return made.file.getvalue()


def test_a_table_folds_only_what_may_fold():
    made = console.table(("name", "how"), [("a" * 20, "b c " * 20)], width=50, folding=("how",))
    lines = [line.rstrip() for line in drawn(made, 50).splitlines()]
    assert max(map(len, lines)) <= 50
    assert "a" * 20 in lines[1]


SENTENCE = "Trials 1, 2 and 3 are not distinguishable from it: the interval of the difference includes 0."


@pytest.mark.parametrize("terminal", [True, False])
def test_a_sentence_is_broken_between_words_on_a_terminal_and_never_in_a_pipe(terminal):
    out = Console(file=io.StringIO(), width=40, force_terminal=terminal, no_color=True)
    console.say(out, SENTENCE, indent=2)
    console.say_pairs(out, [("a", "short"), ("  longer", SENTENCE)])
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in out.file.getvalue().splitlines()]
    if terminal:
        assert max(len(line) for line in lines) <= 40
        said, pairs = " ".join(lines).split("a         short")
        assert said.split() == SENTENCE.split()
        assert pairs.split() == ["longer", *SENTENCE.split()]
        assert all(line.startswith(" " * 10) for line in lines[-2:])
    else:
        assert lines == [f"  {SENTENCE}", "a         short", f"  longer  {SENTENCE}"]


def test_columns_that_a_terminal_has_no_room_for_are_named():
    header = ("study", "trials", "disk", "created")
    rows = [("demonstration", "6/6", "1.5 MiB", "2026-01-02 03:04")]
    lesser = {"disk": 1, "created": 2}
    for width, left_out in ((60, None), (40, "created"), (24, "disk and created")):
        out = Console(file=io.StringIO(), width=width)
        out.print(console.table(header, rows, width=width, lesser=lesser))
        said = " ".join(out.file.getvalue().split())
        assert ("no room for" in said) == (left_out is not None)
        if left_out is not None:
            assert f"no room for {left_out}: widen the terminal" in said


@pytest.mark.parametrize("width", [40, 60])
def test_no_end_of_a_long_word_beside_a_name_is_lost_on_a_narrow_terminal(width):
    path = "/home/somebody/models/" + "stories" * 10 + "/last.jsonl"
    out = io.StringIO()
    console.say_pairs(
        Console(file=out, force_terminal=True, width=width), [("recommended", f"{path} (260K)")]
    )
    lines = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).splitlines()
    assert max(map(len, lines)) <= width
    assert "".join(line[len("recommended  ") :].strip() for line in lines).replace(" ", "") == f"{path}(260K)"
