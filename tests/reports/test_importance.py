import dataclasses
import re
from types import SimpleNamespace

import pytest
from loratune.errors import ReportError
from loratune.reports.importance import _where, importance
from loratune.reports.plots.kinds import KINDS
from loratune.spaces.categories import Categories
from loratune.spaces.dimensions import listed
from loratune.spaces.presets import preset
from loratune.spaces.range import Range
from loratune.study.pruners import Hyperband
from loratune.study.records import EventRecord


def test_the_parameter_that_decides_the_loss_comes_first(view):
    found = importance(view)
    assert found.bars[0].name == "learning_rate"
    assert found.bars[0].share > 0.5
    assert sum(bar.share for bar in found.bars) == pytest.approx(1)
    assert [bar.share for bar in found.bars] == sorted((bar.share for bar in found.bars), reverse=True)


def test_every_trial_that_reached_the_first_rung_counts_stopped_and_diverged_ones_too(view):
    found = importance(view)
    assert found.trials == len(view.trials)
    assert any(trial.state == "pruned" for trial in view.trials)
    assert "60 trials that reached 384 examples" in found.basis


def test_trials_are_compared_at_the_first_rung_that_their_pruner_stops_at(make_view):
    view = make_view(40)
    config = dataclasses.replace(view.study.config, pruner=Hyperband(first=4))
    later = dataclasses.replace(view, study=dataclasses.replace(view.study, config=config))
    assert importance(view).trials == 40
    with pytest.raises(ReportError, match="17 trials have reached 768 examples"):
        importance(later)


def test_the_words_give_the_range_of_the_best_trials(view):
    found = importance(view)
    best = sorted(
        (view.eval_at(t.number, 2), t.params.learning_rate) for t in view.trials if t.state != "diverged"
    )
    rates = [rate for _, rate in best[: found.top]]
    assert found.bars[0].words == f"the best 15 lie between {min(rates):.3g} and {max(rates):.3g}"
    assert found.sentences[0].startswith("learning_rate accounts for ")
    assert " of what sets the best quarter apart: the best 15 lie " in found.sentences[0]
    assert len(found.sentences) == len(found.bars)


def test_where_the_best_lie_all_over_a_range_their_middle_half_is_named():
    dimension = Range(name="warmup_ratio", low=0.0, high=0.1)
    params = preset("tiny").default
    rates = [0.0, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1]
    best = [SimpleNamespace(params=dataclasses.replace(params, warmup_ratio=rate)) for rate in rates]
    assert _where(dimension, best) == "4 of the best 8 lie between 0.05 and 0.08"
    assert _where(dimension, best[1:]) == "the best 7 lie between 0.04 and 0.1"


def test_a_choice_is_worded_by_its_most_common_value(view):
    words = {bar.name: bar.words for bar in importance(view).bars}
    assert "of them at" in words["lora_rank"]


def test_fewer_than_20_trials_are_refused_with_their_number(make_view):
    with pytest.raises(ReportError, match="19 trials have reached 384 examples, and at least 20 are needed"):
        importance(make_view(19))
    assert importance(make_view(20)).trials == 20


def test_trials_before_the_rung_do_not_count(make_view):
    view = make_view(24, prune=False, states=dict.fromkeys(range(20, 24), "failed"))
    assert importance(view).trials == 20


def test_all_diverged_is_refused_not_a_crash(make_view):
    with pytest.raises(ReportError, match="no trial has reached 384 examples"):
        importance(make_view(25, states=dict.fromkeys(range(25), "diverged")))


def test_a_parameter_that_is_fixed_has_no_bar(make_view):
    view = make_view(40)
    one = [dataclasses.replace(t, params=dataclasses.replace(t.params, batch_size=8)) for t in view.trials]
    view = dataclasses.replace(view, trials=tuple(one))
    assert "batch_size" not in [bar.name for bar in importance(view).bars]


def test_words_are_counted_among_the_best(make_view):
    space = preset("tiny").space.replace(
        Categories(name="lr_scheduler_type", choices=("linear", "cosine", "constant_with_warmup"))
    )
    view = make_view(40, space=space)
    kinds = ("linear", "cosine")
    rows = [
        dataclasses.replace(t, params=dataclasses.replace(t.params, lr_scheduler_type=kinds[t.number % 2]))
        for t in view.trials
    ]
    found = importance(dataclasses.replace(view, trials=tuple(rows)))
    words = {bar.name: bar.words for bar in found.bars}["lr_scheduler_type"]
    assert words.split(" of the best 10 have ")[1] in kinds


def test_the_same_study_gives_the_same_shares(view):
    assert importance(view) == importance(view)


def test_where_most_trials_diverged_no_best_quarter_stands_out(make_view):
    view = make_view(30, states=dict.fromkeys(range(4, 30), "diverged"))
    with pytest.raises(ReportError, match="too many share the worst loss"):
        importance(view)


def test_one_trial_too_few_is_counted_as_one(make_view):
    with pytest.raises(
        ReportError, match="importance: 1 trial has reached 384 examples, and at least 20 are"
    ):
        importance(make_view(1))


@pytest.mark.parametrize("trials", [3, 30])
def test_a_study_of_one_configuration_says_so_and_not_how_many_trials_it_lacks(make_view, trials):
    tiny = preset("tiny")
    one = tiny.space.replace(
        *(listed(each.name, (each.closest(_value(tiny, each)),)) for each in tiny.space.dimensions)
    )
    view = make_view(trials, space=one, params=dict.fromkeys(range(trials), tiny.default))
    with pytest.raises(ReportError, match="every hyperparameter of this study has one value") as refused:
        importance(view)
    assert "20" not in str(refused.value)


def _value(tiny, dimension):
    return (
        tiny.default.scaling
        if dimension.name == "lora_alpha_ratio"
        else getattr(tiny.default, dimension.name)
    )


def test_trials_that_happen_to_share_one_configuration_say_so(make_view):
    view = make_view(25, params=dict.fromkeys(range(25), preset("tiny").default))
    curve = [
        dataclasses.replace(p, eval_loss=p.eval_loss and p.eval_loss + p.trial / 100) for p in view.curve
    ]
    with pytest.raises(
        ReportError, match="the 25 trials that reached 384 examples all have one configuration"
    ):
        importance(dataclasses.replace(view, curve=tuple(curve)))


@pytest.mark.parametrize("trials", [2, 19, 40])
def test_losses_that_are_all_equal_say_so_and_not_how_many_trials_are_lacking(make_view, trials):
    view = make_view(trials, prune=False)
    curve = [dataclasses.replace(p, eval_loss=p.eval_loss and 1.5) for p in view.curve]
    with pytest.raises(
        ReportError, match=f"the {trials} trials that .* all have the same loss, 1.5000"
    ) as refused:
        importance(dataclasses.replace(view, curve=tuple(curve)))
    assert "20" not in str(refused.value)


def test_a_study_with_nothing_left_to_try_is_not_sent_on(make_view):
    view = make_view(6)
    end = EventRecord(at=view.study.created_at, kind="finished", detail={"why": "exhausted"})
    with pytest.raises(ReportError, match=r"6 trials .* nothing untried is left, so search a wider space"):
        importance(dataclasses.replace(view, events=(end,), live=False))


def test_a_switch_is_counted_and_drawn_by_its_words(make_view):
    space = preset("tiny").space.replace(listed("use_rslora", (True, False)))
    view = make_view(40, space=space)
    trials = tuple(
        dataclasses.replace(trial, params=dataclasses.replace(trial.params, use_rslora=trial.number % 2 == 0))
        for trial in view.trials
    )
    view = dataclasses.replace(view, trials=trials)
    words = {bar.name: bar.words for bar in importance(view).bars}["use_rslora"]
    assert re.fullmatch(r"\d+ of the best \d+ have (true|false)", words)
    (axis,) = (axis for axis in KINDS["parallel"].facts(view).axes if axis.name == "use_rslora")
    assert axis.ticks == ((0.0, "true"), (1.0, "false"))
    assert space["use_rslora"].words == "true, false"
