"""Messages cross the pipe as they are."""

from __future__ import annotations

import dataclasses
import multiprocessing
from pathlib import Path

import pytest
from loratune.objectives.base import (
    Done,
    Evaluated,
    Generated,
    RoundProgress,
    Sample,
    SlotFailed,
    SlotProgress,
    SlotResult,
    WorkerFailed,
)
from loratune.objectives.workers import wire
from loratune.spaces.params import LoraParams
from made_up_studies import make_config, make_facts

PARAMS = LoraParams(learning_rate=1 / 3, batch_size=4, lora_rank=8, lora_alpha=16)
RESULT = SlotResult(
    trial=1,
    round=2,
    examples=64,
    train_loss=0.1,
    learning_rate=1 / 3,
    grad_norm=float("inf"),
    eval_losses=(0.1, 1e-300),
    diverged=None,
    tokens=7,
)
STANDING = SlotProgress(trial=1, examples=3, train_loss=1e-9, learning_rate=0.0, grad_norm=2.5)

MESSAGES: dict[str, list[object]] = {
    "command": [
        wire.Prepare(config=make_config().objective),
        wire.Add(trial=3, params=PARAMS, seed=1, attempt=2, resume_from=Path("a/b\udce9")),
        wire.Add(trial=3, params=PARAMS, seed=1, attempt=2, resume_from=None),
        wire.Remove(trial=3),
        wire.TrainRound(save_to=Path("folder")),
        wire.Evaluate(adapter=Path("adapter"), params=PARAMS, part="test"),
        wire.Generate(adapter=Path("adapter"), params=PARAMS, count=5, most=64),
        wire.Generate(adapter=None, params=PARAMS, count=5, most=64),
        wire.LogTo(file=Path("log")),
        wire.Close(),
    ],
    "answer": [
        wire.Ready(facts=make_facts()),
        wire.Refused(kind="DataError", message="no data"),
        RoundProgress(slots=(STANDING,), phase="eval", tokens_per_second=0.5, memory_bytes=9),
        Done(results=(RESULT,), seconds=0.25, memory_bytes=9),
        Evaluated(adapter=Path("adapter"), part="test", losses=(0.1, 1e-300), tokens=(1, 2)),
        Generated(adapter=None, samples=(Sample(prompt="2+2?", right="4", written="\ufffd …"),)),
        SlotFailed(trial=1, reason="unreadable"),
        WorkerFailed(reason="died", out_of_memory=True),
    ],
}


@pytest.mark.parametrize("message", [one for kind in MESSAGES.values() for one in kind])
def test_a_message_arrives_as_it_was_sent(message: object) -> None:
    here, there = multiprocessing.Pipe()
    here.send(message)
    assert there.recv() == message


@pytest.mark.parametrize(("kind", "union"), [("command", wire.Command), ("answer", wire.Message)])
def test_every_kind_of_message_is_tried_above(kind: str, union: object) -> None:
    assert {type(one) for one in MESSAGES[kind]} == set(union.__args__)  # type: ignore[attr-defined]


@pytest.mark.parametrize("message", [one for kind in MESSAGES.values() for one in kind])
def test_a_message_cannot_be_changed_on_its_way(message: object) -> None:
    for field in dataclasses.fields(message):  # type: ignore[arg-type]
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(message, field.name, None)
