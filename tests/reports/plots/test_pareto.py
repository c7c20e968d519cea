"""Loss against costs: who is on the front, and that nobody off it is better than all who are."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st
from loratune.reports.plots.pareto import TOGETHER, front, pareto, pareto_figure, pareto_text
from made_up_studies import with_facts

PAIRS = st.lists(st.tuples(st.sampled_from([0.5, 1.0, 1.5, 2.0]), st.integers(1, 4)), max_size=12)


def better(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] <= other[0] and one[1] <= other[1]


@given(PAIRS)
def test_on_the_front_is_who_has_nobody_better(pairs):
    expected = tuple(not any(better(other, one) for other in pairs) for one in pairs)
    assert front(pairs) == expected


def test_each_complete_trial_is_there_with_its_weights_and_its_seconds(view):
    facts = pareto(with_facts(view, "model", adapter_features={"all": 100}))
    complete = {trial.number: trial for trial in view.trials if trial.value is not None}
    assert {point.trial for point in facts.points} == set(complete)
    for point in facts.points:
        trial = complete[point.trial]
        assert (point.loss, point.weights) == (trial.value, 100 * trial.params.lora_rank)
        rounds = view.points(point.trial)
        assert point.seconds == sum((p.finished_at - p.started_at).total_seconds() for p in rounds) > 0
    best = facts.points[0]
    assert best.loss == min(trial.value for trial in complete.values())
    assert best.front_of_weights


def test_a_study_of_before_has_seconds_alone(view):
    facts = pareto(with_facts(view, "model", adapter_features={}))
    assert {point.weights for point in facts.points} == {None}
    assert not any(point.front_of_weights for point in facts.points)
    assert any(point.front_of_seconds for point in facts.points)
    assert pareto_figure(facts).data
    assert "–" in "\n".join(pareto_text(facts, 80))


def test_the_figure_holds_every_point_once_for_each_cost(view):
    facts = pareto(with_facts(view, "model", adapter_features={"all": 100}))
    figure = pareto_figure(facts)
    for axis in ("x", "x2"):
        drawn = [y for trace in figure.data if (trace.xaxis or "x") == axis for y in trace.y]
        assert sorted(drawn) == sorted(point.loss for point in facts.points)
    assert dataclasses.is_dataclass(facts)


def test_the_text_names_the_front_and_counts_the_others(view):
    facts = pareto(with_facts(view, "model", adapter_features={"all": 100}))
    lines = pareto_text(facts, 80)
    on = [point for point in facts.points if point.front_of_weights or point.front_of_seconds]
    assert [int(line.split()[0]) for line in lines[1 : 1 + len(on)]] == [point.trial for point in on][:20]
    assert max(map(len, lines)) <= 80
    assert f"{len(facts.points) - len(on)} other complete trials" in " ".join(lines)


def test_where_trials_were_trained_together_it_is_said_that_the_time_is_their_packs(view):
    """In the made-up study each worker has one trial at a time."""
    apart = pareto(view)
    first, second = (point.trial for point in apart.points[:2])
    moved = {
        point.round: {
            "worker": point.worker,
            "started_at": point.started_at,
            "finished_at": point.finished_at,
        }
        for point in view.points(first)
    }
    curve = tuple(
        dataclasses.replace(point, **moved[point.round]) if point.trial == second else point
        for point in view.curve
    )
    packed = pareto(dataclasses.replace(view, curve=curve))
    seconds = {point.trial: point.seconds for point in packed.points}
    assert seconds[first] == seconds[second]
    for facts, told in ((apart, False), (packed, True)):
        assert facts.together is told
        assert (TOGETHER in " ".join(pareto_text(facts, 80))) is told
        assert (TOGETHER in pareto_figure(facts).layout.xaxis2.title.text) is told
