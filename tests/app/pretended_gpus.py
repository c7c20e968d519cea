"""A session whose device is pretended: the GPU that its process is shown, by name; what it is like is said.

``PRETENDED`` in the environment says what some GPUs are like: ``name=lost,name=full:2`` is one that does not
answer and one whose memory takes two trials. The processes that are made say what they see in their logs.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from loratune.errors import ModelError
from loratune.objectives.base import Done, RoundProgress
from loratune.objectives.testing.fake import FakePlan, FakeWorker
from loratune.spaces.params import LoraParams
from loratune.study.config import ObjectiveConfig

PLAN = FakePlan(slots=4)


class PretendedSession:
    """Trains nothing, on the GPU that this process sees."""

    def __init__(self, config: ObjectiveConfig) -> None:
        sees = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
        found = config.found is not None
        print(f"sees {sees}, asked for {config.model.device}, told {found}, slots {config.slots}")  # noqa: T201
        like = dict(one.split("=") for one in os.environ.get("PRETENDED", "").split(",") if one)
        what, _, number = like.get(sees, "").partition(":")
        if what == "lost":
            error = RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable")
            raise ModelError("model: cannot be loaded") from error
        if what == "full" and (config.slots or PLAN.slots) > int(number):
            raise MemoryError("CUDA out of memory")
        if what == "other" and found:
            raise ModelError("model: its number type is not that of the study")
        self.fake = FakeWorker(plan=PLAN)
        facts = self.fake.prepare(config)
        model = dataclasses.replace(facts.model, device="cuda:0", device_name="a pretended GPU")
        geometry = dataclasses.replace(facts.geometry, dtype="bfloat16")
        environment = {**facts.environment, "gpus": str(len(sees.split(",")))}
        self.facts = dataclasses.replace(facts, model=model, geometry=geometry, environment=environment)

    def add(
        self, trial: int, params: LoraParams, *, seed: int, attempt: int, resume_from: Path | None
    ) -> None:
        self.fake.add(trial, params, seed=seed, attempt=attempt, resume_from=resume_from)

    def remove(self, trial: int) -> None:
        self.fake.remove(trial)

    def train_round(self, save_to: Path) -> Iterator[RoundProgress | Done]:
        self.fake.start(save_to)
        event = None
        while not isinstance(event, Done):
            event = self.fake.poll(0)
            assert isinstance(event, RoundProgress | Done)
            yield event
