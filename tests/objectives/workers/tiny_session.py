"""A session without torch for the tests of worker processes: a fake's numbers, and misbehaviour on demand."""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import logging
import os
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from loratune.errors import ModelError, StorageError
from loratune.objectives.base import Done, Evaluated, Generated, Part, RoundProgress, SlotFailed, WorkerFailed
from loratune.objectives.testing.fake import FakeWorker
from loratune.spaces.params import LoraParams
from loratune.study.config import ObjectiveConfig


class UnknownToTheParentError(ModelError):
    """An error of a class that only this module knows."""


class TinySession:
    """What it does in a round is the name of the config's model."""

    def __init__(self, config: ObjectiveConfig) -> None:
        self.act = config.model.name_or_path
        if self.act != "say nothing":
            print("loading", self.act)  # noqa: T201
        if self.act == "refuse":
            raise UnknownToTheParentError("model: 'refuse' cannot be packed; name another")
        if self.act == "hang in prepare":
            time.sleep(600)
        if self.act == "die in prepare":
            os._exit(5)
        if self.act == "two slots fit" and (config.slots or 8) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")
        causes = {
            "a model too large": MemoryError("std::bad_alloc"),
            "a file that cannot be mapped": SystemError("error return without exception set"),
        }
        if self.act in causes:
            try:
                raise causes[self.act]
            except (MemoryError, SystemError) as error:
                raise ModelError("model: cannot be loaded") from error
        self.fake = FakeWorker()
        facts = self.fake.prepare(config)
        told = {
            "threads": os.environ["OMP_NUM_THREADS"],
            "devices": os.environ.get("CUDA_VISIBLE_DEVICES", "all"),
            "device": config.model.device,
            "torch": str("torch" in sys.modules),
        }
        self.facts = dataclasses.replace(facts, environment=told)

    def add(
        self, trial: int, params: LoraParams, *, seed: int, attempt: int, resume_from: Path | None
    ) -> None:
        self.fake.add(trial, params, seed=seed, attempt=attempt, resume_from=resume_from)
        if trial not in self.fake.slots:
            failed = self.fake.poll(0)
            assert isinstance(failed, SlotFailed)
            raise StorageError(failed.reason)

    def remove(self, trial: int) -> None:
        self.fake.remove(trial)

    def evaluate(self, adapter: Path, params: LoraParams, part: Part) -> Evaluated:
        self.fake.evaluate(adapter, params, part)
        event = self.fake.poll(0)
        if isinstance(event, WorkerFailed):
            raise StorageError(event.reason)
        assert isinstance(event, Evaluated)
        return event

    def generate(self, adapter: Path | None, params: LoraParams, *, count: int, most: int) -> Generated:
        self.fake.generate(adapter, params, count=count, most=most)
        event = self.fake.poll(0)
        if isinstance(event, WorkerFailed):
            raise StorageError(event.reason)
        assert isinstance(event, Generated)
        return event

    def train_round(self, save_to: Path) -> Iterator[RoundProgress | Done]:
        assert self.fake.slots, "a pack of nothing cannot train"
        self.fake.start(save_to)
        progress = self.fake.poll(0)
        assert isinstance(progress, RoundProgress)
        yield progress
        if self.act in ("hang", "say nothing"):
            time.sleep(600)
        if self.act == "slow":
            time.sleep(0.1)
        if self.act == "raise":
            raise RuntimeError("the tensors\nare of different sizes")
        if self.act == "run out of memory":
            raise MemoryError("no 3 GB more")
        if self.act == "fill the disk":
            raise StorageError(f"no space left on the disk of {save_to}")
        if self.act == "crash":
            ctypes.string_at(0)
        if self.act == "talk nonsense":
            (pipe,) = (found for found in gc.get_objects() if isinstance(found, Connection))
            pipe.send_bytes(b"nonsense")
            time.sleep(600)
        if self.act == "exit":
            logging.warning("about to leave")
            os._exit(7)
        done = self.fake.poll(0)
        assert isinstance(done, Done)
        yield done
