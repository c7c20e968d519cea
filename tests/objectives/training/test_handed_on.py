"""A later worker takes over what the first one found, computes the same bits, and believes only its like."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from loratune.errors import ModelError
from loratune.objectives.base import Done, SlotResult
from loratune.objectives.training import handed_on, preparation
from loratune.objectives.training.evaluation import EvalSet
from loratune.objectives.training.pack import Pack
from loratune.objectives.training.session import Session
from loratune.search.study_record import compare_facts
from loratune.spaces.params import LoraParams
from loratune.study.config import ObjectiveConfig
from loratune.study.facts import Facts
from trained_trials import make_config

CPU = torch.device("cpu")


@pytest.fixture(scope="module", name="config")
def make_kept_config(
    tiny_model: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> ObjectiveConfig:
    cache = str(tmp_path_factory.mktemp("cache"))
    return make_config(tiny_model, tiny_data, lora_targets=("all",), cache_dir=cache)


@pytest.fixture(scope="module", name="first")
def make_first(config: ObjectiveConfig) -> Facts:
    session = Session(config)
    session.close()
    return session.facts


def told(config: ObjectiveConfig, first: Facts) -> ObjectiveConfig:
    return dataclasses.replace(config, geometry=first.geometry, found=first)


def rounds(session: Session, folder: Path) -> list[SlotResult]:
    params = LoraParams(learning_rate=1e-2, batch_size=4, lora_rank=8, lora_alpha=8)
    session.add(0, params, seed=0, attempt=1)
    found = []
    for _ in range(2):
        *_, done = session.train_round(folder)
        assert isinstance(done, Done)
        (result,) = done.results
        found.append(result)
    session.close()
    return found


def test_a_later_worker_measures_nothing_and_trains_to_the_same_bit(
    config: ObjectiveConfig, first: Facts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    alone = rounds(Session(dataclasses.replace(config, geometry=first.geometry)), tmp_path / "alone")

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("measured again")

    with monkeypatch.context() as patched:
        for place, name in (
            *((preparation, name) for name in ("load_tokenizer", "load_data", "check_pack", "measure_speed")),
            (Pack, "accumulate"),
            (EvalSet, "losses_and_correct"),
        ):
            patched.setattr(place, name, never)
        later = Session(told(config, first))
    for name in ("geometry", "budget", "data", "base_loss", "base_losses", "eval_tokens", "environment"):
        assert getattr(later.facts, name) == getattr(first, name)
    assert later.facts.rows_per_second == first.rows_per_second
    assert compare_facts(first, later.facts) == ()
    assert rounds(later, tmp_path / "later") == alone


def test_tokens_that_are_not_in_the_cache_are_made_again(
    config: ObjectiveConfig, first: Facts, tmp_path: Path
) -> None:
    later = Session(dataclasses.replace(told(config, first), cache_dir=str(tmp_path)))
    later.close()
    assert later.facts.data == first.data
    assert list(tmp_path.glob("tokens-*"))


def test_a_model_that_has_changed_meanwhile_is_still_found(
    config: ObjectiveConfig, first: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation.identity, "digests", lambda *_: {"model.safetensors": "0" * 64})
    later = Session(told(config, first))
    later.close()
    with pytest.raises(ModelError, match="was there when the study was made and is not now"):
        compare_facts(first, later.facts)


@pytest.mark.parametrize("other", ["device", "version", "instruction set", "geometry", "nothing found"])
def test_what_was_found_on_another_build_or_device_is_not_taken(
    config: ObjectiveConfig, first: Facts, other: str
) -> None:
    assert handed_on.found_before(told(config, first), CPU) == first
    found = {
        "device": dataclasses.replace(first, model=dataclasses.replace(first.model, device_name="NVIDIA L4")),
        "version": dataclasses.replace(first, environment={**first.environment, "torch": "2.0.0"}),
        "instruction set": dataclasses.replace(
            first, environment={**first.environment, "instruction_set": "AVX"}
        ),
        "geometry": dataclasses.replace(first, geometry=dataclasses.replace(first.geometry, rank_max=64)),
        "nothing found": None,
    }[other]
    given = dataclasses.replace(told(config, first), found=found)
    assert handed_on.found_before(given, CPU) is None


def test_how_many_gpus_a_worker_sees_is_no_other_build(config: ObjectiveConfig, first: Facts) -> None:
    found = dataclasses.replace(first, environment={**first.environment, "gpus": "4"})
    assert handed_on.found_before(dataclasses.replace(told(config, first), found=found), CPU) == found
