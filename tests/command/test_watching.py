"""The live table, the plain lines and the log, made of made-up events, in consoles of many widths."""

import dataclasses
import datetime
import io
import re

import pytest
from loratune.command import pace
from loratune.command.live_view import LiveView, live_table
from loratune.command.plain_view import PlainView
from loratune.command.search_log import SearchLog
from loratune.command.standing import counts_line, rates, standing
from loratune.command.watching import step_words, untaken_words
from loratune.spaces.params import LoraParams
from loratune.study.events import (
    BestTrial,
    Notice,
    StudyEnded,
    StudyProgress,
    StudyStarted,
    TrialEnded,
    TrialProgress,
    WaitingTrial,
    WorkerLost,
)
from loratune.study.format import counted
from loratune.study.ladder import Ladder
from loratune.study.records import StudyRecord
from loratune.study.stage import Entry, Stage
from made_up_studies import make_config, make_facts
from rich.console import Console

PARAMS = LoraParams(learning_rate=0.0123456, batch_size=8, lora_rank=16, lora_alpha=32, warmup_ratio=0.05)


def slot(number, **changes):
    return dataclasses.replace(
        TrialProgress(
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
def progress():
    return StudyProgress(
        study="demo",
        trials=100,
        varied=("learning_rate", "batch_size", "lora_rank", "lora_alpha", "warmup_ratio"),
        counts={"running": 3, "complete": 4, "pruned": 8, "diverged": 1, "infeasible": 0, "failed": 0},
        running=(slot(13), slot(14, eval_loss=2.5, state="eval"), slot(15, train_loss=None, state="waiting")),
        best=BestTrial(number=7, value=1.41462, params=PARAMS),
        base_loss=6.1109,
        tokens_per_second=12_345.6,
        memory_bytes=3 * 2**29,
        trials_per_hour=409.4,
        seconds_left=125.0,
        elapsed=187.0,
    )


def drawn(renderable, width=160):
    made = Console(file=io.StringIO(), width=width)
    made.print(renderable)
    return made.file.getvalue()


def test_every_slot_has_a_line_of_its_own(progress):
    text = drawn(live_table(progress))
    (first,) = [line for line in text.splitlines() if line.strip().startswith("13 ")]
    for cell in ("1.23e-02", "8", "16", "32", "0.05", "768/1,536", "1.2346", "9.9e-03", "0.456", "train"):
        assert cell in first
    (second,) = [line for line in text.splitlines() if line.strip().startswith("14 ")]
    assert "2.5000" in second
    assert second.rstrip().endswith("eval")
    (third,) = [line for line in text.splitlines() if line.strip().startswith("15 ")]
    assert "–" in third
    assert third.rstrip().endswith("waiting")


def test_the_head_says_how_far_how_good_and_how_long(progress):
    text = drawn(live_table(progress))
    for words in (
        "demo",
        "13/100 trials",
        "3 running  4 complete  8 pruned  1 diverged",
        "best 1.4146 (trial 7; base model 6.1109)",
        "learning_rate 0.0123, batch_size 8, lora_rank 16, lora_alpha 32, warmup_ratio 0.05",
        "12,346 tokens/s  1.5 GiB  409 trials/h  3 min 7 s so far  about 2 min left",
    ):
        assert words in text
    assert "0 failed" not in text


def test_trials_that_wait_for_a_place_have_no_row_and_are_told_with_their_rungs(progress):
    some = [WaitingTrial(trial=n, params=PARAMS, round=1, eval_loss=2.0 + n) for n in (2, 3)]
    some.append(WaitingTrial(trial=4, params=PARAMS, round=4, eval_loss=None))
    waits = dataclasses.replace(progress, waiting=tuple(some), counts={**progress.counts, "waiting": 3})
    text = drawn(live_table(waits))
    assert "waiting: 2 after round 1 (the best 4.0000), 1 after round 4" in text
    assert "3 waiting" in text
    assert not [line for line in text.splitlines() if line.strip().startswith(("2 ", "4 "))]
    assert waits.finished == progress.finished == 13
    assert counts_line(waits).startswith(
        "13/100 trials: 4 complete, 8 pruned, 1 diverged, 3 running, 3 waiting;"
    )
    assert "waiting:" not in drawn(live_table(progress))


def test_only_the_last_messages_are_shown(progress):
    view = LiveView(Console(file=io.StringIO(), width=160))
    view.on_event(progress)
    for number in range(6):
        view.on_event(ended(number, value=1.5))
    shown = [line.strip() for line in drawn(view.drawn()).splitlines() if "1.5000" in line]
    assert shown == [f"trial {number} complete: eval loss 1.5000" for number in range(2, 6)]


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal(progress, width):
    lines = drawn(live_table(progress, ["x" * 500], width), width).splitlines()
    assert max(len(line) for line in lines) <= width
    assert sum(line.strip().startswith(("13", "14", "15")) for line in lines) == 3


def test_markup_in_a_message_is_shown_as_it_is(progress):
    assert "worker [red]died[/red] [/]" in drawn(live_table(progress, ["worker [red]died[/red] [/]"]))


def test_a_search_that_has_only_begun_can_be_drawn(progress):
    begun = dataclasses.replace(
        progress,
        running=(),
        best=None,
        counts=dict.fromkeys(progress.counts, 0),
        trials_per_hour=None,
        seconds_left=None,
    )
    text = drawn(live_table(begun))
    assert "0/100 trials" in text
    assert "best" not in text
    assert counts_line(begun) == "0/100 trials: none yet"
    assert rates(begun)[-1] == "3 min 7 s so far"


def test_the_plain_line_says_the_same_in_one_line(progress):
    assert counts_line(progress) == (
        "13/100 trials: 4 complete, 8 pruned, 1 diverged, 3 running; best 1.4146 (trial 7), base 6.1109"
    )


def ended(number, state="complete", value=None, reason=None):
    return TrialEnded(trial=number, state=state, value=value, reason=reason)


PRUNED = ended(3, "pruned", reason="eval loss 6.0 was 5 of 5 after round 2")
PRUNED_LINE = "trial 3 pruned: eval loss 6.0 was 5 of 5 after round 2"
LOST = WorkerLost(worker=0, trials=(1, 2), reason="worker 0 was killed")
LOST_LINE = "worker 0 was killed; its 2 trials go on from their last checkpoints"


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    return now


def test_plain_lines_come_now_and_then_and_what_happens_at_once(progress, clock):
    out = Console(file=io.StringIO(), width=80)
    with PlainView(out) as view:
        view.on_event(PRUNED)
        view.on_event(progress)
        clock[0] += pace.PLAIN_SECONDS
        view.on_event(progress)
        view.on_event(progress)
    assert out.file.getvalue().splitlines() == [PRUNED_LINE, standing(progress)]
    assert standing(progress).startswith(f"{counts_line(progress)}  12,346 tokens/s")


@pytest.mark.parametrize("told", [True, False])
def test_the_log_has_dated_lines_from_the_first_to_the_last(progress, clock, tmp_path, told):
    log = SearchLog(tmp_path / "logs" / "search.log", progress=told)
    log.on_event(StudyStarted(study="demo", trials=1000))
    log.on_event(LOST)
    clock[0] += pace.PLAIN_SECONDS
    log.on_event(progress)
    log.on_event(progress)
    log.on_event(
        StudyEnded(why="timeout", counts={}, best=None, seconds=7.25, orchestration_seconds=1.0, rounds=8)
    )
    log.close()
    lines = (tmp_path / "logs" / "search.log").read_text().splitlines()
    assert [re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", "", line) for line in lines] == [
        "study demo: 1,000 trials",
        LOST_LINE,
        *([standing(progress)] if told else []),
        "timeout after 7.2 s",
    ]


def test_the_live_view_leaves_how_it_stood_and_what_was_no_ordinary_end_behind(progress):
    out = Console(file=io.StringIO(), width=160)
    with LiveView(out) as view:
        view.on_event(Notice(about="ending", text="trial 9 complete: so a notice said"))
        for state in ("complete", "pruned", "diverged", "failed", "infeasible"):
            view.on_event(ended(4, state, reason="why"))
        view.on_event(LOST)
        view.on_event(progress)
    lines = out.file.getvalue().splitlines()
    assert [line for line in lines if line.startswith(("trial", "worker"))] == [
        "trial 9 complete: so a notice said",
        "trial 4 failed: why",
        "trial 4 infeasible: why",
        LOST_LINE,
    ]
    assert any("13/100 trials" in line for line in lines)
    assert any("best 1.4146" in line for line in lines)


def test_a_search_that_is_over_tells_no_speed_and_no_time_left(progress):
    ended = dataclasses.replace(
        progress, running=(), tokens_per_second=0.0, memory_bytes=0, seconds_left=9.0, trials_per_hour=409.0
    )
    assert rates(ended) == ("409 trials/h", "3 min 7 s so far")


def test_the_live_view_of_a_search_that_never_began_leaves_nothing():
    out = Console(file=io.StringIO(), width=160)
    with LiveView(out):
        pass
    assert "trials" not in out.file.getvalue()


ODD = (
    "learning_rate",
    "lora_dropout",
    "weight_decay",
    "lora_target",
    "lr_scheduler_type",
    "loraplus_lr_ratio",
)


@pytest.fixture
def odd(progress):
    """A search over what few search, and a fixed batch size, rank and alpha."""
    params = dataclasses.replace(
        PARAMS,
        lora_dropout=0.0512,
        weight_decay=0.00123,
        lora_target="q_proj,k_proj,v_proj",
        lr_scheduler_type="linear",
        loraplus_lr_ratio=16.5,
    )
    slots = tuple(dataclasses.replace(slot, params=params) for slot in progress.running)
    best = dataclasses.replace(progress.best, params=params)
    return dataclasses.replace(progress, varied=ODD, running=slots, best=best)


def heads(progress, width):
    """Return the heads of the live table as drawn."""
    (head,) = [
        line for line in drawn(live_table(progress, width=width), width).splitlines() if "examples" in line
    ]
    return head.replace("lr now", "now").split()


def test_the_parameters_shown_are_those_that_are_searched(odd):
    assert heads(odd, 160) == [
        *("trial", "lr", "dropout", "decay", "target", "scheduler", "lora+"),
        *("examples", "train", "eval", "now", "grad", "state"),
    ]
    text = drawn(live_table(odd))
    (first,) = [line for line in text.splitlines() if line.strip().startswith("13 ")]
    for cell in ("1.23e-02", "0.0512", "0.00123", "q_proj,k_proj…", "linear", "16.5"):
        assert cell in first
    (best,) = [line for line in text.splitlines() if line.startswith("best")]
    assert "lora_dropout 0.0512, weight_decay 0.00123" in best
    assert "batch_size" not in text


@pytest.mark.parametrize(("width", "warmup"), [(80, []), (100, ["warmup"]), (120, ["warmup"])])
def test_what_a_terminal_has_no_room_for_is_left_out_whole(progress, width, warmup):
    assert heads(progress, width) == [
        *("trial", "lr", "batch", "rank", "alpha", *warmup),
        *("examples", "train", "eval", "now", "grad", "state"),
    ]
    text = drawn(live_table(progress, width=width), width)
    (first,) = [line for line in text.splitlines() if line.strip().startswith("13 ")]
    assert ("━" in first) is (width == 120)
    assert len(first.rstrip()) <= width


def test_rate_and_gradient_go_after_the_lesser_parameters_and_before_the_first_ones(progress, odd):
    assert heads(odd, 80)[-6:] == ["examples", "train", "eval", "now", "grad", "state"]
    assert len(heads(odd, 80)) < len(heads(odd, 100)) < len(heads(odd, 160))
    assert "now" not in heads(progress, 76)
    assert {"alpha", "grad"} <= set(heads(progress, 76))
    assert "grad" not in heads(progress, 66)
    assert "alpha" in heads(progress, 66)


@pytest.mark.parametrize("width", [50, 60, 80, 100, 120])
def test_no_cell_is_cut_whatever_is_searched(odd, width):
    wide = dataclasses.replace(odd, varied=tuple(PARAMS.to_dict()), running=(slot(13), *odd.running[1:]))
    lines = drawn(live_table(wide, width=width), width).splitlines()
    rows = [line for line in lines if line.strip()[:3] in ("13 ", "14 ", "15 ")]
    assert len(rows) == 3
    assert all(len(line.rstrip()) <= width for line in rows)
    assert not any("…" in line.replace("k_proj…", "") for line in rows)
    assert "768/1,536" in rows[0]


def test_columns_stay_where_they_are_while_their_cells_grow(progress):
    begun = tuple(slot(number, examples=0, train_loss=None, grad_norm=None) for number in (13, 14, 15))
    before = dataclasses.replace(progress, running=begun)
    places = [
        next(line for line in drawn(live_table(shot, width=100), 100).splitlines() if "examples" in line)
        for shot in (before, progress)
    ]
    assert places[0] == places[1]


def a_study(**changes):
    config = dataclasses.replace(make_config(), **changes)
    return StudyRecord(
        id=1,
        name="demo.x2",
        created_at=datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC),
        trials=4,
        seed=0,
        config=config,
        facts=make_facts(),
    )


def test_a_step_says_whose_trials_go_on_since_they_are_numbered_anew():
    entries = tuple(Entry(params=PARAMS, seed=0, trial=number) for number in (7, 3))
    length = counted(make_facts().budget.examples, "example")
    stage = Stage(kind="longer", parent="demo", entries=entries)
    assert step_words(a_study(stage=stage)) == f"step demo.x2: trials 7, 3 of demo go on to {length}"
    one = dataclasses.replace(stage, entries=entries[:1])
    assert step_words(a_study(stage=one)) == f"step demo.x2: trial 7 of demo goes on to {length}"
    ahead = dataclasses.replace(entries[0], rate=0.5)
    why = "at 0.5 of its learning rate it is ahead by too little"
    said = f"step demo.x2: trial 7 of demo goes on to {length}; {why}"
    assert step_words(a_study(stage=one), ahead) == said
    assert step_words(a_study(stage=dataclasses.replace(stage, kind="confirm"))) is None
    assert step_words(a_study()) is None


LADDER = Ladder(examples=35_080, trial=1024, steps=4)


@pytest.mark.parametrize(("hours", "given"), [(None, "examples"), (0.01, "time")])
def test_a_search_after_which_no_step_was_taken_says_so(hours, given):
    search = a_study(ladder=dataclasses.replace(LADDER, hours=hours))
    words = f"went on to a greater length: what is left of the {given} would not pay"
    assert words in untaken_words(search, search)


def test_a_climb_that_ends_below_its_planned_length_says_so():
    search = a_study(ladder=LADDER)
    assert LADDER.final == 16_384
    below, top = (dataclasses.replace(a_study(), id=2, facts=of_length(length)) for length in (8192, 16_384))
    assert f"went on to the {counted(16_384, 'example')} that were planned" in untaken_words(search, below)
    assert untaken_words(search, top) is None


def test_nothing_is_left_out_where_no_step_was_planned():
    for search in (a_study(ladder=dataclasses.replace(LADDER, steps=0)), a_study()):
        assert untaken_words(search, search) is None


def of_length(examples):
    facts = make_facts()
    return dataclasses.replace(facts, budget=dataclasses.replace(facts.budget, round_examples=examples // 8))
