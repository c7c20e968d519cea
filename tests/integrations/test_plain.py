import dataclasses
import json

import pytest
import yaml
from loratune.app.exporting import handover
from loratune.errors import ReportError
from loratune.integrations import plain
from loratune.spaces.params import LoraParams
from loratune.study.full_run import FullRun


def export_yaml(view, number=None, **options):
    return plain.export_yaml(handover(view, number, **options))


def test_the_best_configuration_reads_back_exactly(view):
    loaded = yaml.safe_load(export_yaml(view))
    best = view.best()
    params = dict(loaded["hyperparameters"])
    assert params.pop("max_grad_norm") == 1.0
    assert LoraParams.from_dict(params) == best.params
    assert loaded["trial"] == best.number
    assert loaded["eval_loss"] == best.value
    assert loaded["model"]["name_or_path"] == "demo-model"


def test_it_says_at_what_share_of_a_full_run_it_was_selected(view):
    text = export_yaml(view)
    loaded = yaml.safe_load(text)
    assert loaded["selected_at"] == {
        "examples": 1536,
        "train_examples": 2800,
        "epochs": 0.5486,
        "share_of_full_run": 0.1829,
    }
    assert "18\u00a0% of a run of 3 epochs of 2,800 examples." in text
    assert "55\u00a0% of a run of 1 epoch of " in export_yaml(view, epochs=1.0)
    assert "learning rate of a short trial runs high" in text
    half = yaml.safe_load(export_yaml(view, epochs=1.0))
    assert half["selected_at"]["share_of_full_run"] == 0.5486


def test_a_small_learning_rate_stays_a_number_for_every_reader(make_view):
    params = LoraParams(learning_rate=3e-4, batch_size=8, lora_rank=8, lora_alpha=16.0)
    text = export_yaml(make_view(1, params={0: params}), 0)
    assert "learning_rate: 0.0003" in text
    assert plain.dump_yaml({"learning_rate": 1e-05}) == "learning_rate: 1.0e-05\n"


@pytest.mark.parametrize(
    ("train", "batch", "epochs", "ratio", "steps", "warmup"),
    [
        (2800, 8, 3.0, 0.1, 1050, 105),
        (2801, 8, 1.0, 0.1, 351, 36),
        (10, 32, 3.0, 0.0, 3, 0),
        (100, 7, 0.5, 0.5, 8, 4),
    ],
)
def test_steps_and_warm_up_are_counted_as_trainer_counts_them(train, batch, epochs, ratio, steps, warmup):
    run = FullRun(
        epochs=epochs, train_examples=train, batch_size=batch, warmup_ratio=ratio, trial_examples=100
    )
    assert (run.steps, run.warmup_steps) == (steps, warmup)


def test_a_trial_by_number_says_how_it_ended(make_view):
    view = make_view(3, states={0: "complete", 1: "pruned"})
    assert yaml.safe_load(export_yaml(view, 1))["state"] == "pruned"
    assert "it ended as pruned, so it has no final loss" in export_yaml(view, 1)


def test_a_missing_trial_and_a_study_without_a_best_are_one_line(make_view):
    with pytest.raises(ReportError, match=r"has no trial 7; its trials are 0 to 2"):
        export_yaml(make_view(3), 7)
    begun = make_view(2, states={0: "pruned", 1: "running"})
    with pytest.raises(ReportError, match="no complete trial yet; its search goes on, so wait"):
        export_yaml(begun)
    with pytest.raises(ReportError, match="no complete trial yet; go on with: tune resume demo"):
        export_yaml(dataclasses.replace(begun, live=False))


def test_json_says_the_same(view):
    loaded = json.loads(plain.export_json(handover(view)))
    notes = loaded.pop("notes")
    assert loaded == plain.configuration(handover(view))
    assert any("runs high" in note for note in notes)


def test_a_line_break_in_a_name_cannot_leave_the_comments(make_view):
    text = export_yaml(make_view(1, name="a\nlearning_rate: 9"))
    assert yaml.safe_load(text)["hyperparameters"]["learning_rate"] == 0.01
    assert "learning_rate: 9" not in yaml.safe_load(text)
