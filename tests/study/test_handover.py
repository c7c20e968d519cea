"""What an exporter is told of a trial, and what every export says of it."""

import pytest
from loratune.app.exporting import handover
from loratune.errors import ReportError
from loratune.integrations.plain import export_json, export_yaml
from loratune.spaces.params import LoraParams
from loratune.study.handover import check_gain, provenance
from made_up_studies import with_facts

PARAMS = LoraParams(learning_rate=0.02, batch_size=8, lora_rank=8, lora_alpha=16.0, warmup_ratio=0.05)


@pytest.fixture
def handed(make_view):
    """The best trial of a study whose base model has that loss."""

    def make(base, number=None):
        return handover(with_facts(make_view(2, params={0: PARAMS, 1: PARAMS}), base_loss=base), number)

    return make


def test_the_best_is_not_handed_over_where_the_base_model_is_as_good(handed):
    with pytest.raises(
        ReportError, match=r"trial 0 is the best with an eval loss of 1\.\d+, and the base model"
    ):
        check_gain(handed(0.5))
    check_gain(handed(3.0))


def test_an_export_says_that_the_base_model_is_as_good(handed):
    warning = "Warning: it is no better than the base model"
    assert warning in export_yaml(handed(0.5))
    assert warning in export_json(handed(0.5))
    assert warning not in export_yaml(handed(3.0))


def test_the_best_trial_alone_is_called_the_best(handed):
    assert provenance(handed(3.0))[0].startswith("Trial 0 of study demo, the best: eval loss ")
    assert provenance(handed(3.0, 1))[0].startswith("Trial 1 of study demo: eval loss ")
