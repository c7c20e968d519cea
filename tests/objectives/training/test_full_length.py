"""A trial of full length ends by its own patience, and keeps the weights of its best round or its last."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import safetensors.torch
from loratune.objectives.training.session import Session
from loratune.study.budget import ROUNDS
from loratune.study.config import ObjectiveConfig
from loratune.study.stopping import Stopping, best_round
from trained_trials import PARAMS, Left, make_config, numbers, step


@pytest.fixture(scope="module", name="config")
def make_study_config(tiny_model: Path, tiny_data: Path) -> ObjectiveConfig:
    return make_config(tiny_model, tiny_data)


FULL = 2
"""The trial, whose learning rate is so high that its loss goes up and down."""


def full_length(config: ObjectiveConfig, stopping: Stopping) -> Session:
    return Session(dataclasses.replace(config, eval_examples=20, examples=64, stopping=stopping))


def train_to_its_end(session: Session, folder: Path, *, stop_each_round: bool = False) -> list[Left]:
    """Train trial 2 under a rate that is far too high, until it ends."""
    params = dataclasses.replace(PARAMS[FULL], learning_rate=0.5)
    session.add(FULL, params, seed=0, attempt=1)
    results: list[Left] = []
    while not results or results[-1].final_losses is None:
        results.append(step(session, folder)[FULL])
        assert results[-1].diverged is None
        if stop_each_round and results[-1].final_losses is None:
            session.remove(FULL)
            session.add(FULL, params, seed=0, attempt=1, resume_from=results[-1].file)
    session.remove(FULL)
    return results


def losses_after_each_round(session: Session, results: list[Left]) -> list[float]:
    tokens = session.facts.eval_tokens[: session.facts.budget.eval_examples]
    return [sum(result.eval_losses or ()) / sum(tokens) for result in results]


def weights_in(path: Path, prefix: str = "params/") -> dict[str, bytes]:
    tensors = safetensors.torch.load_file(path)
    return {
        name.removeprefix(prefix): tensor.numpy().tobytes()
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def test_the_last_file_of_a_full_length_holds_the_weights_of_its_best_round(
    config: ObjectiveConfig, tmp_path: Path
) -> None:
    session = full_length(config, Stopping(keep="best"))
    results = train_to_its_end(session, tmp_path)
    losses = losses_after_each_round(session, results)
    best = best_round(losses)
    assert best < len(results) == ROUNDS
    assert weights_in(results[-1].file) == weights_in(results[best - 1].file)
    assert weights_in(results[-2].file, "kept/") == weights_in(results[best - 1].file)
    whole, part = results[-1].final_losses, results[best - 1].eval_losses
    assert whole is not None
    assert part is not None
    assert len(whole) == session.facts.budget.final_eval_examples > len(part)
    assert whole[: len(part)] == pytest.approx(part, rel=1e-5)
    session.close()


def test_the_last_weights_are_kept_where_that_is_asked_for(config: ObjectiveConfig, tmp_path: Path) -> None:
    session = full_length(config, Stopping(keep="last"))
    last = train_to_its_end(session, tmp_path)[-1]
    whole, part = last.final_losses, last.eval_losses
    assert whole is not None
    assert part is not None
    assert whole[: len(part)] == pytest.approx(part, rel=1e-5)
    session.close()


def test_an_interruption_changes_neither_when_it_ends_nor_what_is_kept(
    config: ObjectiveConfig, tmp_path: Path
) -> None:
    session = full_length(config, Stopping(keep="best", patience=2))
    whole = train_to_its_end(session, tmp_path / "whole")
    parts = train_to_its_end(session, tmp_path / "parts", stop_each_round=True)
    assert len(whole) < ROUNDS
    assert [numbers(one) for one in parts] == [numbers(one) for one in whole]
    assert parts[-1].final_losses == whole[-1].final_losses
    session.close()
