import dataclasses

import pytest
from loratune.reports.page import render
from loratune.reports.trial_ends import outcomes
from loratune.reports.verdict import verdict
from loratune.spaces.params import LoraParams
from made_up_studies import with_facts


def params(**changes):
    values = {
        "learning_rate": 0.02,
        "batch_size": 8,
        "lora_rank": 8,
        "lora_alpha": 16.0,
        "warmup_ratio": 0.05,
    }
    return LoraParams(**{**values, **changes})


def test_the_best_complete_trial_wins(view):
    found = verdict(view)
    values = {trial.number: trial.value for trial in view.trials if trial.state == "complete"}
    assert found.number == min(values, key=values.get)
    assert found.loss == values[found.number]
    assert found.headline.startswith(
        f"Trial {found.number} is the best of 60: eval loss {found.loss:.4f} on 384 "
    )


def test_of_equal_trials_the_earlier_one_wins(view, change_trial):
    best = verdict(view).number
    later = next(t.number for t in view.trials if t.number > best and t.state == "complete")
    assert verdict(change_trial(view, later, value=verdict(view).loss)).number == best


def test_the_base_model_is_beaten_by_a_paired_interval(view):
    base = verdict(view).base
    assert base.interval.difference == pytest.approx(view.base_loss - verdict(view).loss, rel=1e-5)
    assert base.interval.distinguishable
    assert "lower (95 % interval" in base.words


def test_a_draw_with_trial_0_is_called_not_distinguishable(make_view):
    view = make_view(2, params={0: params(), 1: params(learning_rate=0.0201)}, noise=0.3)
    found = verdict(view)
    other = found.default if found.number == 1 else None
    assert found.number in (0, 1)
    assert found.ties == ((0,) if found.number == 1 else (1,))
    if other is not None:
        assert "not distinguishable" in other.words
        assert "which includes 0" in other.words


def test_trial_0_worse_by_a_clear_margin_is_said_with_its_interval(make_view):
    found = verdict(make_view(2, params={0: params(learning_rate=0.005), 1: params()}))
    assert found.number == 1
    assert found.default.interval.low > 0
    assert found.default.words.startswith("Trial 0 (default) has ")
    assert "not distinguishable" not in found.default.words


def test_trial_0_as_the_winner_is_said(make_view):
    found = verdict(make_view(2, params={0: params(), 1: params(learning_rate=0.002)}))
    assert found.number == 0
    assert found.default is None
    assert "It is trial 0, the default configuration" in " ".join(found.sentences)


@pytest.mark.parametrize("state", ["pruned", "diverged", "running"])
def test_trial_0_without_a_final_loss_is_said(make_view, state):
    found = verdict(make_view(10, states={0: state, 1: "complete"}, params={1: params()}))
    assert found.default is None
    assert "no final loss to compare with" in found.default_note


def test_the_edge_of_a_range_is_named(make_view):
    found = verdict(make_view(2, params={1: params(lora_rank=16, lora_alpha=32.0)}))
    assert "lora_rank 16 is at the high end of 2 to 16" in found.edges
    assert any("a wider range may hold a better value" in sentence for sentence in found.sentences)
    inside = verdict(make_view(2, params={0: params(learning_rate=0.001), 1: params()}))
    assert inside.edges == ()


def test_the_share_of_the_data_that_selected_it_is_said(make_view):
    found = verdict(make_view(3, data={"train": 2800}))
    assert found.epochs == pytest.approx(1536 / 2800)
    assert any("55\u00a0% of one epoch" in sentence for sentence in found.sentences)
    small = verdict(make_view(3, data={"train": 512}))
    assert any("after 3 epochs" in sentence for sentence in small.sentences)


def test_the_optimism_of_picking_the_best_is_said(view):
    assert "picking the best of 60 trials" in verdict(view).sentences[-1]
    assert "validation examples" in verdict(view).sentences[-1]


def test_a_study_without_a_complete_trial_has_no_best(make_view):
    found = verdict(make_view(3, states={0: "diverged", 1: "diverged", 2: "pruned"}))
    assert found.number is None
    assert found.sentences == ()
    assert found.headline == "None of 3 trials has completed: there is no best configuration yet."


def test_one_trial_alone_is_no_winner_among_others(make_view):
    found = verdict(make_view(1))
    assert found.headline.startswith("Trial 0 is the only one: eval loss")
    assert found.default_note == "It is trial 0, the default configuration: no other trial has ended."
    assert not any("picking the best" in sentence for sentence in found.sentences)


def test_the_luck_of_a_run_is_said_wherever_an_interval_is(make_view):
    many, one = verdict(make_view(20)), verdict(make_view(1))
    assert many.base.interval is not None
    assert one.base.interval is not None
    assert any("luck of one training seed" in sentence for sentence in many.sentences)
    assert any("luck of one training run" in sentence for sentence in one.sentences)
    bare = verdict(dataclasses.replace(make_view(1), evaluations={}))
    assert not any("luck" in sentence for sentence in bare.sentences)


def test_a_study_that_goes_on_says_so_far(make_view):
    assert "is the best of 20 so far" in verdict(make_view(20, wanted=40)).headline
    assert verdict(make_view(0, wanted=10)).headline == "No trial has ended yet."


def test_a_missing_evaluation_leaves_the_losses_and_no_interval(view):
    bare = dataclasses.replace(view, evaluations={})
    found = verdict(bare)
    assert found.base.interval is None
    assert "too few common examples" in found.base.words
    assert found.ties == ()


def test_outcomes_count_every_state_and_what_was_saved(make_view):
    view = make_view(
        6,
        wanted=8,
        states={0: "complete", 1: "complete", 2: "pruned", 3: "diverged", 4: "running", 5: "failed"},
    )
    found = outcomes(view)
    assert found.counts == {
        "complete": 2,
        "pruned": 1,
        "diverged": 1,
        "infeasible": 0,
        "failed": 1,
        "running": 1,
        "waiting": 0,
    }
    assert found.examples == 192 * (8 + 8 + 2 + 1 + 1)
    assert found.full_examples == 5 * 1536
    assert found.saved == pytest.approx(1 - 20 / 40)
    assert "5 of 8 trials have ended: 2 complete, 1 pruned, 1 diverged and 1 failed." in found.words
    assert "saved 50\u00a0%" in found.words


def test_a_study_that_saved_nothing_does_not_boast(make_view):
    assert (
        "saved"
        not in outcomes(make_view(2, states={0: "complete", 1: "complete"}, params={1: params()})).words
    )


def below(make_view, base, **more):
    """A study whose base model has that loss."""
    view = make_view(2, params={0: params(), 1: params(learning_rate=0.002)}, **more)
    return with_facts(view, base_loss=base)


@pytest.mark.parametrize(("base", "words"), [(0.5, "better than"), (None, "as good as")])
def test_a_best_trial_that_is_no_better_than_the_base_model_is_warned_of_first(make_view, base, words):
    best = verdict(make_view(2, params={0: params(), 1: params(learning_rate=0.002)})).loss
    found = verdict(below(make_view, best if base is None else base))
    assert found.worse
    assert "but no better than the base model: eval loss" in found.headline
    assert found.sentences[0].startswith(f"Warning: the base model is {words} the best trial")


def test_a_best_trial_that_is_better_is_not_warned_of(make_view):
    found = verdict(below(make_view, 3.0))
    assert not found.worse
    assert found.warning is None
    assert "no better" not in found.headline
    assert not any("Warning" in sentence for sentence in found.sentences)


def test_a_page_warns_and_offers_no_export_where_the_base_model_is_as_good(make_view):
    page = render(below(make_view, 0.5))
    assert "Warning: the base model is better than the best trial" in page
    assert "tune export" not in page
    assert "tune export" in render(below(make_view, 3.0))


def test_what_an_interval_does_not_account_for_is_said_only_where_there_is_one(make_view):
    view = make_view(4, states={3: "running"}, wanted=4)
    words = "The intervals are over the validation examples"
    assert any(words in sentence for sentence in verdict(view).sentences)
    bare = dataclasses.replace(view, evaluations={})
    assert verdict(bare).base.interval is None
    assert not any("interval" in sentence and words in sentence for sentence in verdict(bare).sentences)
