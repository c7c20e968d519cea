"""The live table and the plain lines, drawn from made-up snapshots into consoles of many widths."""

import dataclasses
import io
import re

import pytest
from loratune.command import console
from loratune.command.console import LiveView, Log, PlainView, counts_line, live_table, rates
from loratune.search.progress import BestView, SlotView, Snapshot
from loratune.spaces.params import LoraParams
from rich.console import Console

PARAMS = LoraParams(learning_rate=0.0123456, batch_size=8, lora_rank=16, lora_alpha=32, warmup_ratio=0.05)


def slot(number, **changes):
    return dataclasses.replace(
        SlotView(
            worker=number % 2,
            trial=number,
            params=PARAMS,
            examples=768,
            examples_total=1536,
            train_loss=1.23456,
            eval_loss=None,
            learning_rate=0.00987,
            grad_norm=0.456,
            state="train",
        ),
        **changes,
    )


@pytest.fixture
def snapshot():
    return Snapshot(
        study="demo",
        trials=100,
        varied=("learning_rate", "batch_size", "lora_rank", "lora_alpha", "warmup_ratio"),
        counts={"running": 3, "complete": 4, "pruned": 8, "diverged": 1, "infeasible": 0, "failed": 0},
        slots=(slot(13), slot(14, eval_loss=2.5, state="eval"), slot(15, train_loss=None, state="waiting")),
        best=BestView(number=7, value=1.41462, params=PARAMS),
        base_loss=6.1109,
        tokens_per_second=12_345.6,
        memory_bytes=3 * 2**29,
        trials_per_hour=409.4,
        seconds_left=125.0,
        elapsed=187.0,
        messages=tuple(f"trial {number} complete: value 1.5" for number in range(6)),
    )


def drawn(renderable, width=160):
    made = Console(file=io.StringIO(), width=width)
    made.print(renderable)
    return made.file.getvalue()


def test_every_slot_has_a_line_of_its_own(snapshot):
    text = drawn(live_table(snapshot))
    (first,) = [line for line in text.splitlines() if line.strip().startswith("13 ")]
    for cell in ("1.23e-02", "8", "16", "32", "0.05", "768/1536", "1.2346", "9.9e-03", "0.456", "train"):
        assert cell in first
    (second,) = [line for line in text.splitlines() if line.strip().startswith("14 ")]
    assert "2.5000" in second
    assert second.rstrip().endswith("eval")
    (third,) = [line for line in text.splitlines() if line.strip().startswith("15 ")]
    assert "–" in third
    assert third.rstrip().endswith("waiting")


def test_the_head_says_how_far_how_good_and_how_long(snapshot):
    text = drawn(live_table(snapshot))
    for words in (
        "demo",
        "13/100 trials",
        "3 running  4 complete  8 pruned  1 diverged",
        "best 1.4146 (trial 7; base model 6.1109)",
        "learning_rate 0.01235, batch_size 8, lora_rank 16, lora_alpha 32, warmup_ratio 0.05",
        "12,346 tokens/s  1.5 GiB  409 trials/h  3m07s so far  about 2m05s left",
    ):
        assert words in text
    assert "0 failed" not in text


def test_only_the_last_messages_are_shown(snapshot):
    text = drawn(live_table(snapshot))
    shown = [line.strip() for line in text.splitlines() if "value 1.5" in line]
    assert shown == [f"trial {number} complete: value 1.5" for number in range(2, 6)]


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal(snapshot, width):
    long = dataclasses.replace(snapshot, messages=("x" * 500,))
    lines = drawn(live_table(long, width), width).splitlines()
    assert max(len(line) for line in lines) <= width
    assert sum(line.strip().startswith(("13", "14", "15")) for line in lines) == 3


def test_markup_in_a_message_is_shown_as_it_is(snapshot):
    odd = dataclasses.replace(snapshot, study="a.b", messages=("worker [red]died[/red] [/]",))
    assert "worker [red]died[/red] [/]" in drawn(live_table(odd))


def test_a_search_that_has_only_begun_can_be_drawn(snapshot):
    begun = dataclasses.replace(
        snapshot,
        slots=(),
        best=None,
        counts=dict.fromkeys(snapshot.counts, 0),
        trials_per_hour=None,
        seconds_left=None,
        messages=(),
    )
    text = drawn(live_table(begun))
    assert "0/100 trials" in text
    assert "best" not in text
    assert counts_line(begun) == "0/100 trials: none yet"
    assert rates(begun)[-1] == "3m07s so far"


def test_the_plain_line_says_the_same_in_one_line(snapshot):
    assert counts_line(snapshot) == (
        "13/100 trials: 4 complete, 8 pruned, 1 diverged, 3 running; best 1.4146 (trial 7), base 6.1109"
    )


@pytest.fixture
def log(tmp_path):
    made = Log(tmp_path / "logs" / "search.log")
    yield made
    made.close()


def test_plain_lines_come_now_and_then_and_messages_at_once(snapshot, log, tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    out = Console(file=io.StringIO(), width=80)
    with PlainView(out, log) as view:
        view.on_message("trial 3 pruned: eval loss 6.0 was 5 of 5 after quantum 2")
        view.on_snapshot(snapshot)
        now[0] += console.PLAIN_SECONDS
        view.on_snapshot(snapshot)
        view.on_snapshot(snapshot)
    lines = out.file.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("trial 3 pruned")
    assert lines[1].startswith(counts_line(snapshot))
    logged = (tmp_path / "logs" / "search.log").read_text().splitlines()
    assert [re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", "", line) for line in logged] == lines


def test_the_live_view_leaves_how_it_stood_behind(snapshot, log):
    out = Console(file=io.StringIO(), width=160)
    with LiveView(out, log) as view:
        view.on_message("something happened")
        view.on_snapshot(snapshot)
    text = out.file.getvalue()
    assert "13/100 trials" in text
    assert "best 1.4146" in text


def test_a_search_that_is_over_tells_no_speed_and_no_time_left(snapshot):
    ended = dataclasses.replace(
        snapshot, slots=(), tokens_per_second=0.0, memory_bytes=0, seconds_left=9.0, trials_per_hour=409.0
    )
    assert rates(ended) == ("409 trials/h", "3m07s so far")


def test_the_live_view_of_a_search_that_never_began_leaves_nothing(log):
    out = Console(file=io.StringIO(), width=160)
    with LiveView(out, log):
        pass
    assert "trials" not in out.file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0s"), (48.4, "48s"), (59.7, "1m00s"), (187, "3m07s"), (7500, "2h05m"), (3599.6, "1h00m")],
)
def test_a_duration_is_short(seconds, words):
    assert console.clock(seconds) == words


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


ODD = (
    "learning_rate",
    "lora_dropout",
    "weight_decay",
    "lora_target",
    "lr_scheduler_type",
    "loraplus_lr_ratio",
)


@pytest.fixture
def odd(snapshot):
    """A search over what few search, and a fixed batch size, rank and alpha."""
    params = dataclasses.replace(
        PARAMS,
        lora_dropout=0.0512,
        weight_decay=0.00123,
        lora_target="q_proj,k_proj,v_proj",
        lr_scheduler_type="linear",
        loraplus_lr_ratio=16.5,
    )
    slots = tuple(dataclasses.replace(slot, params=params) for slot in snapshot.slots)
    best = dataclasses.replace(snapshot.best, params=params)
    return dataclasses.replace(snapshot, varied=ODD, slots=slots, best=best)


def heads(snapshot, width):
    """Return the heads of the live table as drawn."""
    (head,) = [line for line in drawn(live_table(snapshot, width), width).splitlines() if "examples" in line]
    return head.replace("lr now", "now").split()


def test_the_parameters_shown_are_those_that_are_searched(odd):
    assert heads(odd, 160) == [
        *("trial", "lr", "dropout", "decay", "target", "scheduler", "lora+"),
        *("examples", "train", "eval", "now", "grad", "state"),
    ]
    text = drawn(live_table(odd, 160))
    (first,) = [line for line in text.splitlines() if line.strip().startswith("13 ")]
    for cell in ("1.23e-02", "0.0512", "0.00123", "q_proj,k_proj…", "linear", "16.5"):
        assert cell in first
    (best,) = [line for line in text.splitlines() if line.startswith("best")]
    assert "lora_dropout 0.0512, weight_decay 0.00123" in best
    assert "batch_size" not in text


@pytest.mark.parametrize(("width", "warmup"), [(80, []), (100, ["warmup"]), (120, ["warmup"])])
def test_what_a_terminal_has_no_room_for_is_left_out_whole(snapshot, width, warmup):
    assert heads(snapshot, width) == [
        *("trial", "lr", "batch", "rank", "alpha", *warmup),
        *("examples", "train", "eval", "now", "grad", "state"),
    ]
    text = drawn(live_table(snapshot, width), width)
    (first,) = [line for line in text.splitlines() if line.strip().startswith("13 ")]
    assert ("━" in first) is (width == 120)
    assert len(first.rstrip()) <= width


def test_rate_and_gradient_go_after_the_lesser_parameters_and_before_the_first_ones(snapshot, odd):
    assert heads(odd, 80)[-6:] == ["examples", "train", "eval", "now", "grad", "state"]
    assert len(heads(odd, 80)) < len(heads(odd, 100)) < len(heads(odd, 160))
    assert "now" not in heads(snapshot, 76)
    assert {"alpha", "grad"} <= set(heads(snapshot, 76))
    assert "grad" not in heads(snapshot, 64)
    assert "alpha" in heads(snapshot, 64)


@pytest.mark.parametrize("width", [50, 60, 80, 100, 120])
def test_no_cell_is_cut_whatever_is_searched(odd, width):
    wide = dataclasses.replace(odd, varied=tuple(PARAMS.to_dict()), slots=(slot(13), *odd.slots[1:]))
    lines = drawn(live_table(wide, width), width).splitlines()
    rows = [line for line in lines if line.strip()[:3] in ("13 ", "14 ", "15 ")]
    assert len(rows) == 3
    assert all(len(line.rstrip()) <= width for line in rows)
    assert not any("…" in line.replace("k_proj…", "") for line in rows)
    assert "768/1536" in rows[0]


def test_columns_stay_where_they_are_while_their_cells_grow(snapshot):
    begun = tuple(slot(number, examples=0, train_loss=None, grad_norm=None) for number in (13, 14, 15))
    before = dataclasses.replace(snapshot, slots=begun)
    places = [
        next(line for line in drawn(live_table(shot, 100), 100).splitlines() if "examples" in line)
        for shot in (before, snapshot)
    ]
    assert places[0] == places[1]
