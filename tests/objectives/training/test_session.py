"""Whole trials in one process: alone or among others, in one go or interrupted, the same bits."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loratune.errors import StorageError
from loratune.objectives.base import Done, RoundProgress
from loratune.objectives.training.session import Session
from loratune.objectives.workers.process import ProcessWorker
from loratune.spaces.params import LoraParams
from loratune.storage.study_files import write_adapter
from loratune.study.budget import ROUNDS
from loratune.study.config import DataConfig, ModelConfig, ObjectiveConfig
from trained_trials import PARAMS, Left, make_config, numbers, run, step


def test_a_trial_learns_and_is_measured_at_its_rungs(session: Session, alone, tmp_path: Path) -> None:
    budget = session.facts.budget
    results = alone[2]
    assert [result.round for result in results] == list(range(1, ROUNDS + 1))
    assert [result.examples for result in results] == [
        budget.round_examples * n for n in range(1, ROUNDS + 1)
    ]
    measured = {result.round: len(result.eval_losses) for result in results if result.eval_losses}
    assert measured == {
        1: budget.eval_examples,
        2: budget.eval_examples,
        4: budget.eval_examples,
        8: budget.final_eval_examples,
    }
    final = sum(results[-1].eval_losses) / sum(session.facts.eval_tokens)
    assert final < session.facts.base_loss - 0.1


@pytest.fixture(scope="module", name="multimodal")
def make_multimodal(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Gemma 3 that sees, whose context is told by its text configuration alone."""
    folder = Path(shutil.copytree(tiny_model, tmp_path_factory.mktemp("multimodal") / "model"))
    told = json.loads((folder / "config.json").read_text())
    config = transformers.Gemma3Config(
        text_config={
            "vocab_size": told["vocab_size"],
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "max_position_embeddings": 96,
        },
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        mm_tokens_per_image=4,
    )
    torch.manual_seed(0)
    transformers.Gemma3ForConditionalGeneration(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("recompute", [False, True])
def test_a_multimodal_model_trains_its_decoder_on_text(
    multimodal: Path, tiny_data: Path, tmp_path: Path, recompute: bool
) -> None:
    model = ModelConfig(name_or_path=str(multimodal), device="cpu", gradient_checkpointing=recompute)
    data = DataConfig(train=str(tiny_data))
    config = dataclasses.replace(make_config(multimodal, tiny_data), model=model, data=data)
    session = Session(config)
    assert session.facts.model.architecture == "Gemma3ForConditionalGeneration"
    assert session.facts.data.cutoff_len == 96  # of the text configuration; 1024 were allowed
    assert len(session.facts.geometry.targets) == 14
    assert all(name.startswith("model.language_model.") for name in session.facts.geometry.targets)
    session.add(1, PARAMS[1], seed=0, attempt=1)
    done = [event for _ in range(4) for event in session.train_round(tmp_path) if isinstance(event, Done)]
    session.close()
    losses = [it.results[0].train_loss for it in done]
    assert losses[-1] < losses[0]


def test_neighbours_do_not_change_a_trial_by_one_bit(session: Session, alone, tmp_path: Path) -> None:
    together = run(session, [3, 1, 2], tmp_path)
    for trial, results in together.items():
        assert [numbers(it) for it in results] == [numbers(it) for it in alone[trial]]


@given(st.lists(st.booleans(), min_size=ROUNDS, max_size=ROUNDS), st.permutations([1, 2, 3]))
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_trials_taken_up_by_another_session_go_on_to_the_bit(
    config: ObjectiveConfig,
    session: Session,
    alone,
    tmp_path_factory: pytest.TempPathFactory,
    kills: list[bool],
    order: list[int],
) -> None:
    folder = tmp_path_factory.mktemp("resumed")
    current = session
    attempt = 1
    for trial in order:
        current.add(trial, PARAMS[trial], seed=0, attempt=attempt)
    for index, killed in enumerate(kills):
        results = step(current, folder, attempt)
        for trial in order:
            assert numbers(results[trial]) == numbers(alone[trial][index])
        if killed:
            # The round after the checkpoint is begun and lost; then all are taken up elsewhere.
            next(current.train_round(folder))
            for trial in order:
                current.remove(trial)
            if current is not session:
                current.close()
            attempt += 1
            current = Session(dataclasses.replace(config, geometry=session.facts.geometry, slots=4))
            for trial in reversed(order):
                path = results[trial].file
                current.add(trial, PARAMS[trial], seed=0, attempt=attempt, resume_from=path)
    for trial in order:
        current.remove(trial)
    if current is not session:
        current.close()


@pytest.fixture(scope="module", name="one_token")
def make_one_token_config(
    tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], ObjectiveConfig]:
    """Configs of K slots for micro-steps of one example whose answer is a single token."""
    folder = tmp_path_factory.mktemp("one-token")
    model = Path(shutil.copytree(tiny_model, folder / "model"))
    template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    (model / "chat_template.jinja").write_text(template)
    sums = [{"instruction": f"{a}+{b}=", "output": str((a + b) % 10)} for a in range(15) for b in range(10)]
    data = folder / "sums.jsonl"
    data.write_text("\n".join(map(json.dumps, sums)))
    # An answer is a digit and its end: cut to four tokens, three of the question are kept and the digit.
    cut = DataConfig(train=str(data), cutoff_len=4)
    return lambda slots: make_config(
        model, data, data=cut, batch_sizes=(1, 2), lora_ranks=(1,), lora_targets=("all",), slots=slots
    )


@pytest.mark.parametrize("slots", [1, 3, 8])
def test_trials_go_on_to_the_bit_when_their_process_is_killed(
    one_token: Callable[[int], ObjectiveConfig], tmp_path: Path, slots: int
) -> None:
    params = {
        trial: LoraParams(
            learning_rate=1e-3 * 2**trial, batch_size=1 + trial % 2, lora_rank=1, lora_alpha=1 + trial
        )
        for trial in range(slots)
    }
    alone = Session(one_token(1))
    assert alone.facts.budget.micro_batch == 1
    assert set(alone.facts.eval_tokens) == {1}
    expected = {}
    for trial, own in params.items():
        alone.add(trial, own, seed=trial, attempt=1)
        expected[trial] = [numbers(step(alone, tmp_path)[trial]) for _ in range(3)]
        alone.remove(trial)
    alone.close()

    checkpoints: dict[int, Path | None] = dict.fromkeys(params)
    for attempt, rounds in ((2, range(1)), (3, range(1, 3))):
        worker = ProcessWorker(0, tmp_path / "worker.log")
        try:
            worker.prepare(dataclasses.replace(one_token(slots), geometry=alone.facts.geometry))
            for trial, own in params.items():
                worker.add(trial, own, seed=trial, attempt=attempt, resume_from=checkpoints[trial])
            for index in rounds:
                results = finish(worker, tmp_path, attempt)
                assert {trial: numbers(results[trial]) for trial in params} == {
                    trial: expected[trial][index] for trial in params
                }
            checkpoints = {trial: results[trial].file for trial in params}
            worker.start(tmp_path)  # a round that is lost
            worker.poll(0.05)
            os.kill(worker.pid, signal.SIGKILL)
        finally:
            worker.close()


def finish(worker: ProcessWorker, folder: Path, attempt: int) -> dict[int, Left]:
    worker.start(folder)
    while not isinstance(event := worker.poll(1.0), Done):
        assert event is None or isinstance(event, RoundProgress), event
    return Left.of(event, folder, attempt)


def test_a_trial_that_loses_its_numbers_is_told_and_leaves_the_others_alone(
    session: Session, alone, tmp_path: Path
) -> None:
    wild = LoraParams(learning_rate=1e30, batch_size=2, lora_rank=8, lora_alpha=64)
    session.add(9, wild, seed=0, attempt=1)
    session.add(1, PARAMS[1], seed=0, attempt=1)
    results = [step(session, tmp_path) for _ in range(2)]
    session.remove(9)
    session.remove(1)
    assert "no longer finite" in results[0][9].diverged
    assert not results[0][9].file.exists()
    assert results[0][9].eval_losses is None
    for index in range(2):
        assert numbers(results[index][1]) == numbers(alone[1][index])


def test_progress_is_told_while_a_round_runs(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loratune.objectives.training.session.PROGRESS_SECONDS", 0.0)
    session.add(1, PARAMS[1], seed=0, attempt=1)
    events = list(session.train_round(tmp_path))
    session.remove(1)
    seen = [event.slots[0].examples for event in events[:-1] if isinstance(event, RoundProgress)]
    assert seen == sorted(seen)
    assert seen[0] == session.facts.budget.micro_batch
    assert isinstance(events[-1], Done)


def test_a_longer_trial_goes_on_from_a_shorter_ones_state_in_rounds_of_its_own(
    config: ObjectiveConfig, session: Session, alone, tmp_path: Path
) -> None:
    path = alone[1][1].file  # after its second round
    longer = Session(dataclasses.replace(config, examples=2 * session.facts.budget.examples))
    longer.add(1, PARAMS[1], seed=0, attempt=2, resume_from=path)
    (result,) = step(longer, tmp_path).values()
    assert result.round == 2
    assert result.examples == alone[1][1].examples + longer.facts.budget.round_examples
    longer.remove(1)
    with pytest.raises(StorageError, match=r"does not say where it stood: \d+ examples are no whole rounds"):
        longer.add(1, PARAMS[1], seed=0, attempt=2, resume_from=alone[1][0].file)
    longer.close()


def test_an_adapter_on_a_part_of_the_data_has_the_losses_that_its_trial_had(
    session: Session, alone, tmp_path: Path
) -> None:
    for trial, results in alone.items():
        adapter = tmp_path / f"{trial}.safetensors"
        state = results[-1].file
        write_adapter(state, adapter)
        found = session.evaluate(adapter, PARAMS[trial], "validation")
        seen = results[-1].eval_losses
        assert found.losses[: len(seen)] == pytest.approx(seen, rel=1e-5)
        assert found.tokens[: len(seen)] == session.facts.eval_tokens
        assert len(found.losses) == session.facts.data.validation
        test = session.evaluate(adapter, PARAMS[trial], "test")
        assert len(test.losses) == session.facts.data.test
        assert session.evaluate(state, PARAMS[trial], "test") == dataclasses.replace(test, adapter=state)
    with pytest.raises(StorageError, match="params is"):
        session.evaluate(adapter, PARAMS[1], "test")


def test_it_is_known_how_many_weights_an_adapter_has(session: Session, alone) -> None:
    for trial, results in alone.items():
        tensors = safetensors.torch.load_file(results[-1].file)
        weights = sum(tensor.numel() for name, tensor in tensors.items() if name.startswith("params/"))
        assert session.facts.model.trainable(PARAMS[trial]) == weights
