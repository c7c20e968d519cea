"""Training without adapters: the numbers of Transformers and torch, alone, interrupted, and as it ends."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers
from loratune.errors import DataError, ModelError, StorageError
from loratune.objectives.base import Done
from loratune.objectives.training import plain_training
from loratune.objectives.training.model import load_model, load_tokenizer
from loratune.objectives.training.plain_model import PlainModel
from loratune.objectives.training.plain_training import PlainSession, check_fits
from loratune.objectives.training.preparation import load_examples
from loratune.objectives.training.session import Session
from loratune.objectives.training.stream import Stream
from loratune.spaces.params import LoraParams
from loratune.study.budget import ROUNDS
from loratune.study.plain_method import PlainMethod
from loratune.study.stopping import Stopping

PARAMS = LoraParams(
    learning_rate=1e-2,
    batch_size=4,
    lora_rank=8,
    lora_alpha=4,
    weight_decay=0.1,
    warmup_ratio=0.1,
    lr_scheduler_type="linear",
)
FULL = PlainMethod(name="full", learning_rate=2e-3)
LAST = PlainMethod(name="freeze", layers=1, learning_rate=2e-3)


@pytest.fixture(name="make")
def make_plain(config, session: Session):
    """Make a session that trains plainly what that of a pack has looked at."""

    def make(method: PlainMethod = FULL, stopping: Stopping | None = None, **changes) -> PlainSession:
        facts = session.facts
        stopping = stopping or Stopping(keep="last")
        return PlainSession(
            dataclasses.replace(
                config, plain=method, found=facts, geometry=facts.geometry, stopping=stopping, **changes
            )
        )

    return make


def begin(
    session: PlainSession, resume_from: Path | None = None, params: LoraParams = PARAMS
) -> PlainSession:
    session.add(0, params, seed=0, attempt=1, resume_from=resume_from)
    return session


def one_round(session: PlainSession, folder: Path) -> Done:
    (done,) = session.train_round(folder)
    return done


def to_the_end(session: PlainSession, folder: Path) -> list[Done]:
    found = [one_round(session, folder)]
    while found[-1].results[0].final_losses is None:
        found.append(one_round(session, folder))
    return found


def witness(config, session: Session) -> tuple[list[float], list[float]]:
    """Return each round's loss and the final losses by Transformers' own loss and schedule."""
    base = load_model(config.model)
    data = load_examples(config, base, load_tokenizer(config.model))
    model, budget = base.model.requires_grad_(True), session.facts.budget
    optimizer = torch.optim.AdamW(model.parameters(), lr=FULL.learning_rate, weight_decay=PARAMS.weight_decay)
    total = budget.steps(PARAMS.batch_size)
    schedule = transformers.get_scheduler("linear", optimizer, math.ceil(total * 0.1), total)
    stream, losses = Stream(data.train.lengths, budget, 0), []

    def loss_of(split, index: int) -> tuple[torch.Tensor, int]:
        tokens, target = split.example(index)
        ids = torch.from_numpy(np.array(tokens, np.int64))
        labels = ids.masked_fill(~torch.from_numpy(np.array(target, bool)), -100)
        count = int(np.count_nonzero(target))
        return model(input_ids=ids[None], labels=labels[None], num_items_in_batch=1).loss, count

    for round_number in range(ROUNDS):
        examples = stream.round(round_number).reshape(-1, PARAMS.batch_size)
        summed = counted = 0.0
        for batch in examples:
            found = [loss_of(data.train, int(index)) for index in batch]
            tokens = sum(count for _, count in found)
            loss = sum(loss for loss, _ in found)
            (loss / tokens).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            summed, counted = summed + loss.item(), counted + tokens
        losses.append(summed / counted)
    with torch.no_grad():
        final = [float(loss_of(data.validation, n)[0]) for n in range(budget.final_eval_examples)]
    return losses, final


def test_it_trains_every_weight_as_torch_and_transformers_do(make, config, session, tmp_path):
    losses, final = witness(config, session)
    done = to_the_end(begin(make()), tmp_path)
    assert [one.results[0].train_loss for one in done] == pytest.approx(losses, rel=1e-4)
    assert done[-1].results[0].final_losses == pytest.approx(final, rel=1e-3, abs=1e-3)
    assert done[-1].results[0].trainable == session.facts.model.parameters
    assert losses[-1] < losses[0] - 0.5


def test_freeze_trains_the_last_layers_and_nothing_else(make, config, tmp_path):
    result = one_round(begin(make(LAST)), tmp_path).results[0]
    tensors = safetensors.torch.load_file(tmp_path / LAST.state_name)
    trained = {name.removeprefix("params/") for name in tensors if name.startswith("params/")}
    before = dict(load_model(config.model).model.named_parameters())
    assert trained == {name for name in before if ".layers.1." in name}
    assert result.trainable == sum(before[name].numel() for name in trained)
    assert all(not torch.equal(tensors[f"params/{name}"], before[name]) for name in trained)


def test_what_is_not_trained_stays_as_it_was(make, config, tmp_path):
    plain = begin(make(LAST))
    one_round(plain, tmp_path)
    before = load_model(config.model).model.state_dict()
    now = plain._base.model.state_dict()
    changed = {name for name, weight in before.items() if not torch.equal(weight, now[name])}
    assert changed
    assert all(".layers.1." in name for name in changed)


@pytest.mark.parametrize("method", [FULL, LAST])
def test_gone_on_with_from_a_file_it_ends_with_the_same_bits(make, tmp_path, method):
    whole = to_the_end(begin(make(method)), tmp_path / "whole")
    folder = tmp_path / "parts"
    first = begin(make(method))
    parts = [one_round(first, folder) for _ in range(3)]
    again = begin(make(method), folder / method.state_name)
    parts += to_the_end(again, folder)
    assert [one.results[0] for one in parts] == [one.results[0] for one in whole]
    states = [
        safetensors.torch.load_file(tmp_path / where / method.state_name) for where in ("whole", "parts")
    ]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_gone_on_with_after_its_end_it_tells_the_end_again(make, tmp_path):
    whole = to_the_end(begin(make()), tmp_path)
    (again,) = to_the_end(begin(make(), tmp_path / FULL.state_name), tmp_path)
    assert again.results[0].final_losses == whole[-1].results[0].final_losses
    assert (again.seconds, again.memory_bytes) == (whole[-1].seconds, whole[-1].memory_bytes)


def test_of_the_best_round_its_losses_are_kept_and_patience_ends_it(make, tmp_path):
    fast = PlainMethod(name="full", learning_rate=0.03)
    stopping = Stopping(keep="best", patience=2)
    plain, means, finals, result = begin(make(fast, stopping)), [], [], None
    while result is None or result.final_losses is None:
        (result,) = one_round(plain, tmp_path).results
        means.append(sum(result.eval_losses))
        finals.append(safetensors.torch.load_file(tmp_path / fast.state_name)["final"].tolist())
    best = stopping.kept_round(means)
    assert best < len(means) == best + 2 < ROUNDS
    assert list(result.final_losses) == finals[best - 1]


@pytest.mark.parametrize("where", ["accumulate", "losses"])
def test_a_loss_that_is_no_number_ends_it_and_leaves_no_state(make, tmp_path, monkeypatch, where):
    wrong = {"accumulate": lambda *_: math.nan, "losses": lambda *_: torch.full((1, 8), math.inf)}
    monkeypatch.setattr(PlainModel, where, wrong[where])
    (result,) = one_round(begin(make()), tmp_path).results
    assert "no longer finite after" in result.diverged
    assert result.final_losses is None
    assert not (tmp_path / FULL.state_name).exists()


def test_a_state_of_other_choices_or_of_other_bytes_is_refused(make, tmp_path):
    one_round(begin(make()), tmp_path)
    state = tmp_path / FULL.state_name
    with pytest.raises(StorageError, match="method is"):
        begin(make(dataclasses.replace(FULL, learning_rate=1e-3)), state)
    content = bytearray(state.read_bytes())
    content[-5] ^= 1
    state.write_bytes(content)
    with pytest.raises(StorageError, match="damaged"):
        begin(make(), state)


def test_more_layers_than_there_are_are_refused(make):
    with pytest.raises(ModelError, match="has 2 decoder layers, and --freeze-layers 3 are more"):
        make(dataclasses.replace(LAST, layers=3))


@pytest.mark.parametrize(("method", "numbers"), [(FULL, 4.0), (LAST, 1.0)])
def test_a_model_that_does_not_fit_is_refused_before_it_is_loaded(
    make, session, monkeypatch, method, numbers
):
    needed = int(numbers * 4 * session.facts.model.parameters)
    monkeypatch.setattr(plain_training, "free_memory", lambda _: needed - 1)
    monkeypatch.setattr(plain_training, "load_model", lambda _: pytest.fail("it was loaded"))
    with pytest.raises(ModelError, match=r"for weights, gradients and moments in float32, and .* are free"):
        make(method)


def test_what_just_fits_is_taken():
    check_fits("m", "full", 10, 40)
    with pytest.raises(ModelError, match="m: full takes 40 bytes"):
        check_fits("m", "full", 10, 39)


def test_of_a_study_on_few_bits_the_base_is_trained_as_it_was_before(make):
    pytest.importorskip("bitsandbytes")
    plain = make()
    model = dataclasses.replace(plain._config.model, quantization_bit=4)
    other = PlainSession(dataclasses.replace(plain._config, model=model))
    assert other._base.summary.bits is None
    weights = plain._base.model.state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in other._base.model.state_dict().items())


def test_other_data_are_refused(make, session):
    data = dataclasses.replace(session.facts.data, fingerprint="0" * 64)
    session_facts = dataclasses.replace(session.facts, data=data)
    with pytest.raises(DataError, match="have changed since"):
        PlainSession(dataclasses.replace(make()._config, found=session_facts))
