"""Lines across the parameters, in thirds by loss."""

import pytest
from loratune.reports.plots.parallel import parallel, parallel_figure


@pytest.mark.parametrize("complete", [3, 4, 5, 6, 7, 8, 11])
def test_the_best_third_holds_the_best_trial_and_none_is_empty(make_view, complete):
    states = {number: "complete" if number < complete else "pruned" for number in range(complete + 2)}
    view = make_view(complete + 2, states=states)
    figure = parallel_figure(parallel(view))
    names = ("best third", "middle third", "worst third")
    traces = {trace.name: trace for trace in figure.data if trace.name in names}
    assert set(traces) == set(names)
    found = {name: trials_of(trace) for name, trace in traces.items()}
    values = {trial.number: trial.value for trial in view.trials if trial.value is not None}
    ranked = sorted(values, key=values.get)
    best, middle, worst = (len(found[name]) for name in names)
    assert found["best third"] == set(ranked[:best])
    assert found["worst third"] == set(ranked[-worst:])
    assert best + middle + worst == complete
    assert max(best, middle, worst) - min(best, middle, worst) <= 1


def test_one_or_two_complete_trials_are_drawn_as_such(make_view):
    view = make_view(3, states={1: "pruned", 2: "pruned"})
    assert "complete" in {trace.name for trace in parallel_figure(parallel(view)).data}


def trials_of(trace):
    """Return the numbers of a trace's trials, from what it says on hovering: ``trial 3: …``."""
    return {int(text.split(":")[0].removeprefix("trial ")) for text in trace.hovertext if text}
