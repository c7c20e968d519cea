"""What a trial's hyperparameters are to PEFT and to Trainer."""

import dataclasses

import pytest
from loratune.spaces.arguments import lora_config, training_arguments
from loratune.spaces.params import LoraParams

TRIAL = LoraParams(
    learning_rate=1e-3,
    batch_size=4,
    lora_rank=8,
    lora_alpha=24.0,
    warmup_ratio=0.1,
    lora_target="v_proj,q_proj",
)


def test_peft_is_given_rank_alpha_dropout_and_layers_and_nothing_else():
    assert lora_config(TRIAL) == {
        "r": 8,
        "lora_alpha": 24,
        "lora_dropout": 0.0,
        "target_modules": ["q_proj", "v_proj"],
        "use_rslora": False,
    }
    assert lora_config(dataclasses.replace(TRIAL, lora_target="all"))["target_modules"] == "all-linear"


@pytest.mark.parametrize(("alpha", "given"), [(24.0, 24), (24, 24), (3.5, 3.5)])
def test_an_alpha_without_fraction_is_whole_to_peft(alpha, given):
    found = lora_config(dataclasses.replace(TRIAL, lora_alpha=alpha))["lora_alpha"]
    assert (found, type(found)) == (given, type(given))


def test_trainer_is_given_its_own_names():
    assert training_arguments(TRIAL) == {
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 4,
        "warmup_steps": 0.1,
        "weight_decay": 0.0,
        "lr_scheduler_type": "cosine",
    }
