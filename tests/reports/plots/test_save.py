import dataclasses
import html
import json
import re
import subprocess
import sys

import pytest
from loratune.errors import ReportError, UsageError
from loratune.reports.importance import EARLY
from loratune.reports.page import render
from loratune.reports.plots import text
from loratune.reports.plots.curves import curves
from loratune.reports.plots.history import history
from loratune.reports.plots.kinds import KINDS, plot_facts
from loratune.reports.plots.lettering import bar
from loratune.reports.plots.parallel import parallel
from loratune.reports.plots.save import plot_figure, write_plot
from loratune.reports.plots.timeline import timeline
from loratune.spaces.categories import Categories
from loratune.spaces.presets import preset


def test_history_keeps_the_best_so_far(make_view):
    facts = history(make_view(5, states={0: "complete", 1: "pruned", 2: "complete", 3: "diverged"}))
    assert [point.trial for point in facts.points] == [0, 1, 2, 3, 4]
    assert [point.state for point in facts.points][1:4] == ["pruned", "complete", "diverged"]
    losses = [loss for _, loss in facts.best]
    assert losses == sorted(losses, reverse=True)
    assert [number for number, _ in facts.best] == [0, 1, 2, 3, 4]


def test_curves_are_the_evaluated_points_alone(make_view):
    view = make_view(2, states={0: "complete", 1: "pruned"})
    facts = curves(view)
    assert [(line.trial, line.examples, line.best) for line in facts.lines] == [
        (0, (192, 384, 768, 1536), True),
        (1, (192, 384), False),
    ]
    assert facts.lines[1].losses == (view.eval_at(1, 1), view.eval_at(1, 2))


def test_parallel_positions_follow_the_scale_of_each_parameter(make_view):
    default = preset("tiny").default
    middle = dataclasses.replace(default, learning_rate=(3e-4 * 1e-1) ** 0.5, lora_rank=4, lora_alpha=9.0)
    facts = parallel(make_view(1, params={0: middle}))
    assert [axis.name for axis in facts.axes] == list(preset("tiny").space.distributions())
    assert facts.lines[0].positions == pytest.approx((0.5, 1 / 3, 1 / 3, 0.5, 1.0))
    assert facts.axes[0].ticks == (
        (0.0, "0.0003"),
        (pytest.approx(0.2073, abs=1e-3), "0.001"),
        (pytest.approx(0.6036, abs=1e-3), "0.01"),
        (1.0, "0.1"),
    )
    assert facts.axes[1].ticks[-1] == (1.0, "32")


def test_parallel_draws_the_best_last_and_leaves_out_running_trials(make_view):
    view = make_view(30, states={3: "running"})
    facts = parallel(view)
    assert facts.lines[-1].trial == view.best().number
    assert 3 not in [line.trial for line in facts.lines]


def test_words_have_their_own_places_on_an_axis(make_view):
    space = preset("tiny").space.replace(Categories(name="lr_scheduler_type", choices=("linear", "cosine")))
    facts = parallel(make_view(1, space=space))
    assert facts.axes[-1].ticks == ((0.0, "linear"), (1.0, "cosine"))
    assert facts.lines[0].positions[-1] == 1.0


def test_trials_at_the_same_time_in_one_worker_lie_in_lanes_of_their_own(make_view):
    view = make_view(8)
    together = tuple(dataclasses.replace(point, worker=0) for point in view.curve)
    spans = timeline(dataclasses.replace(view, curve=together)).spans
    assert {span.trial for span in spans} == {trial.number for trial in view.trials}
    for one in spans:
        for other in spans:
            if one is not other and one.lane == other.lane:
                assert one.end <= other.start or other.end <= one.start
    assert {span.lane for span in spans} == {0, 1}


def test_an_interrupted_trial_leaves_a_gap_in_the_timeline(make_view):
    view = make_view(1)
    hour = view.curve[0].finished_at - view.curve[0].started_at
    later = tuple(
        dataclasses.replace(p, started_at=p.started_at + 700 * hour, finished_at=p.finished_at + 700 * hour)
        if p.round > 3
        else p
        for p in view.curve
    )
    spans = timeline(dataclasses.replace(view, curve=later)).spans
    assert [(span.end - span.start) / hour for span in spans] == [3, 5]
    assert {span.lane for span in spans} == {0}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_figure_whose_traces_hold_the_facts(view, kind):
    figure = plot_figure(view, kind)
    assert figure.data
    drawn = json.loads(figure.to_json())
    assert drawn["layout"]["height"] > 100
    if kind == "importance":
        facts = plot_facts(view, kind)
        assert drawn["data"][0]["y"][-1] == facts.bars[0].name
    if kind == "parallel":
        # 60 trials in a handful of traces, each line parted from the next by a gap.
        assert sum(list(trace.x).count(None) for trace in figure.data) == len(plot_facts(view, kind).lines)


def test_losses_far_above_are_drawn_at_the_top_edge(make_view):
    view = make_view(3, states={1: "pruned"})
    curve = tuple(
        dataclasses.replace(p, eval_loss=900.0) if p.trial == 1 and p.eval_loss else p for p in view.curve
    )
    figure = plot_figure(dataclasses.replace(view, curve=curve), "history")
    heights = [y for trace in figure.data for y in trace.y]
    assert max(heights) < 3
    pruned = next(trace for trace in figure.data if trace.name == "pruned")
    assert pruned.marker.symbol == ("triangle-up-open",)
    assert "900.0000" in pruned.hovertext[0]


@pytest.mark.parametrize("kind", KINDS)
def test_html_works_offline(view, kind, tmp_path):
    write_plot(view, kind, tmp_path / "plots" / "plot.html")
    html = (tmp_path / "plots" / "plot.html").read_text(encoding="utf-8")
    assert len(html) > 3_000_000
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)\s*=", html)


@pytest.mark.parametrize("kind", KINDS)
def test_json_holds_the_facts_and_the_figure(view, kind, tmp_path):
    write_plot(view, kind, tmp_path / "plot.json")
    document = json.loads((tmp_path / "plot.json").read_text(encoding="utf-8"))
    assert document["kind"] == kind
    assert document["figure"]["data"]
    assert document["facts"]
    assert "NaN" not in (tmp_path / "plot.json").read_text(encoding="utf-8")


def test_an_unknown_kind_names_the_nearest(view, tmp_path):
    with pytest.raises(UsageError, match="did you mean 'importance'"):
        write_plot(view, "importence", tmp_path / "plot.html")


@pytest.mark.parametrize(
    ("name", "words"), [("a.png", "not to .png"), ("a.txt", "to .html or .json"), ("a", "no ending")]
)
def test_other_endings_are_refused_in_one_line(view, tmp_path, name, words):
    with pytest.raises(UsageError, match=words) as caught:
        write_plot(view, "history", tmp_path / name)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_study_without_trials_is_refused_in_one_line(make_view, kind):
    view = make_view(0, wanted=5)
    for live, words in ((False, "go on with: tune resume demo"), (True, "its search goes on, so wait")):
        with pytest.raises(ReportError) as caught:
            plot_facts(dataclasses.replace(view, live=live), kind)
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize("kind", KINDS)
def test_text_is_never_wider_than_the_terminal(view, kind, width):
    lines = text.plot_text(view, kind, width).splitlines()
    assert len(lines) > 2
    assert max(map(len, lines)) <= width


def test_text_bars_are_as_long_as_their_shares(view):
    facts = plot_facts(view, "importance")
    lines = text.plot_text(view, "importance", 100).splitlines()
    lengths = [line.count("█") for line in lines[: len(facts.bars)]]
    assert lengths[0] == 100 - len("lora_alpha_ratio") - 8
    second = facts.bars[1].share / facts.bars[0].share * lengths[0]
    assert abs(lengths[1] - second) <= 1
    assert lines[-1].endswith("worst.") or "Based on" in lines[-1]


def test_importance_of_few_complete_trials_is_called_early_wherever_it_is_shown(make_view):
    many = make_view(60, prune=False)
    complete = sum(trial.state == "complete" for trial in many.trials)
    assert complete >= EARLY
    few = dataclasses.replace(
        many,
        trials=tuple(
            dataclasses.replace(trial, state="pruned", value=None)
            if trial.state == "complete" and trial.number > 9
            else trial
            for trial in many.trials
        ),
    )
    early = sum(trial.state == "complete" for trial in few.trials)
    caution = f"{early} of the study's trials are complete, fewer than 20"
    for view, said in ((many, False), (few, True)):
        shown = " ".join(text.plot_text(view, "importance", 100).split())
        assert (f"Early: {caution}" in shown) is said
        assert (caution in html.unescape(render(view))) is said
        assert plot_figure(view, "importance").layout.xaxis.title.text.startswith("early") is said


def test_a_bar_is_drawn_in_eighths():
    assert bar(1, 4) == "████"
    assert bar(0.25 + 1 / 64, 8) == "██▏"
    assert bar(0, 4) == ""


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_number_of_a_trial_is_cut_in_the_timeline_of_a_terminal(view, width):
    spans = timeline(view).spans
    lanes = {}
    for span in spans:
        lanes.setdefault((span.worker, span.lane), []).append(span.trial)
    drawn = text.plot_text(view, "timeline", width).splitlines()
    for (worker, lane), trials in lanes.items():
        (line,) = [one for one in drawn if one.startswith(f"worker {worker} slot {lane + 1} ")]
        bars = line.partition("│")[2]
        assert {int(number) for number in re.findall(r"\d+", bars)} <= set(trials)
        assert len(line) <= width
    assert any(str(span.trial) in "".join(drawn[:-1]) for span in spans)


@pytest.mark.parametrize("kind", ["history", "curves", "parallel", "timeline"])
@pytest.mark.parametrize("states", [{0: "complete"}, {0: "running"}, {0: "diverged"}])
def test_one_trial_is_enough_for_what_it_has(make_view, kind, states):
    view = make_view(1, states=states)
    try:
        assert text.plot_text(view, kind, 80)
        assert plot_figure(view, kind).data
    except ReportError:
        assert (kind, states[0]) in {("curves", "diverged"), ("parallel", "running")}


def test_the_text_of_a_plot_loads_nothing_that_draws():
    code = "import sys, loratune.reports.plots.text; print('plotly' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
