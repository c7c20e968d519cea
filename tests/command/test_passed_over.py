"""A step of a search that climbs names the best below it, where that does not go up."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

from loratune.command.watching import passed_over
from loratune.study.stage import Entry, Stage
from made_up_studies import make_study

MADE = make_study(5)
ONE = next(trial for trial in MADE.trials if trial.state == "complete")


def a_study(stage=None):
    return dataclasses.replace(MADE.study, config=dataclasses.replace(MADE.study.config, stage=stage))


def test_the_best_of_a_step_that_does_not_go_up_is_named_with_its_rate():
    own, lower = (Entry(params=ONE.params, seed=0, trial=7, rate=rate) for rate in (1.0, 0.5))
    below = a_study(stage=Stage(kind="longer", parent="demo", entries=(own, lower)))
    step = Stage(kind="longer", parent="demo.x2", entries=(Entry(params=ONE.params, seed=0, trial=0),))

    def found(*losses, stage=step, parent=below):
        trials = [dataclasses.replace(ONE, number=n, value=loss) for n, loss in enumerate(losses)]
        store = SimpleNamespace(
            holds=lambda _name: parent is not None, study=lambda _name: parent, trials=lambda _study: trials
        )
        return passed_over(store, a_study(stage=stage))

    assert found(1.0, 0.9) == lower
    assert found(0.9, 1.0) is None, "it goes up"
    assert found(1.0, 0.9, parent=None) is None, "the step below is gone"
    assert found(1.0, 0.9, parent=a_study()) is None, "a search's trials all have their own rate"
    assert found(1.0, 0.9, stage=None) is None
