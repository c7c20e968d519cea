"""A worker that trains nothing: the seam of ``base.py`` on a made-up loss surface, at once, without torch.

Losses are a pure function of parameters, seed, round and of what the checkpoint says was trained
before; so a lost or mixed-up checkpoint changes every later number. A ``FakePlan`` tells workers when
to die, hang or run out of memory.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import safetensors

from ...errors import LoratuneError, OutOfMemory, StorageError
from ...spaces.params import LoraParams
from ...study.budget import ROUNDS
from ...study.checkpoint_format import checkpoint_name
from ...study.config import ObjectiveConfig
from ...study.facts import Facts
from ..base import (
    Done,
    Evaluated,
    Generated,
    Part,
    RoundProgress,
    Sample,
    SlotFailed,
    SlotProgress,
    SlotResult,
    WorkerEvent,
    WorkerFailed,
)
from . import fake_checkpoint
from .clock import Clock, RealClock
from .fake_slot import FakeSlot, measures
from .surface import Surface, eval_tokens, example_losses, make_facts, unit

Kind = Literal["die", "killed", "die_after_saving", "hang", "out_of_memory", "slot_fails", "diverge"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that goes wrong, wherever all of the conditions that are given hold."""

    kind: Kind
    """``die`` (in mid-round), ``killed`` (the same, by another process), ``die_after_saving``
    (checkpoints written, nothing said), ``hang`` (no news for ever), ``out_of_memory``, ``slot_fails``
    (on ``add``), ``diverge`` (needs ``trial``)."""
    worker: int | None = None
    """Only in the worker of this index."""
    nth: int | None = None
    """Only in the n-th round, from 1, that this index has started, over all its lives."""
    trial: int | None = None
    """Only where this trial is inside."""
    round: int | None = None
    """Only where that trial, or any if none is named, trains this round, 1 to 8. On ``add``: from it on."""
    slots_above: int | None = None
    """Only where more trials than this are inside."""
    times: int | None = 1
    """Happens this often in the whole fleet; None: whenever it applies."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FakePlan:
    """What a fleet of fake workers finds and does."""

    surface: Surface = dataclasses.field(default_factory=Surface)
    """The task."""
    faults: tuple[Fault, ...] = ()
    """What goes wrong, and where."""
    prepare_error: LoratuneError | None = None
    """Raised by ``prepare``."""
    prepares: int | None = None
    """With more slots than this ``prepare`` runs out of memory; None: with no number of them."""
    slots: int = 4
    """Slots of a worker where the config leaves them to it; also the most that fit."""
    train_examples: int = 2000
    """Training examples in the data."""
    validation_examples: int = 200
    """Validation examples in the data."""
    round_seconds: Callable[[int, int], float] | float = 0.0
    """How long a round takes; a function of (worker, trials inside), or one number."""
    progress: int = 1
    """Signs of life in a round."""
    clock: Clock = dataclasses.field(default_factory=RealClock)
    """Where time comes from."""


class FakeFleet:
    """Makes fake workers that share one plan; calling it with an index starts that worker anew."""

    def __init__(self, plan: FakePlan | None = None) -> None:
        self.plan = plan or FakePlan()
        self.made: list[FakeWorker] = []
        """Every worker ever made, in order."""
        self.calls: list[tuple[int, str, tuple[int, ...]]] = []
        """Every call that a worker took: its index, ``add`` or ``start`` and so on, the trials concerned."""
        self._rounds: dict[int, int] = {}
        self._happened: dict[Fault, int] = {}

    def __call__(self, index: int) -> FakeWorker:
        """Return a fresh worker of that index."""
        return FakeWorker(index, fleet=self)

    def workers(self, count: int) -> list[FakeWorker]:
        """Return that many fresh workers, of indices 0 to count - 1."""
        return [self(index) for index in range(count)]

    def round_begins(self, worker: int) -> int:
        """Count a round of that worker and return how many it has begun."""
        self._rounds[worker] = self._rounds.get(worker, 0) + 1
        return self._rounds[worker]

    def fault(self, kinds: tuple[Kind, ...], worker: int, inside: dict[int, int]) -> Fault | None:
        """Return the first fault for a worker with these trials (number → round), and count it."""
        for fault in self.plan.faults:
            at = {fault.trial: inside[fault.trial]} if fault.trial in inside else inside
            applies = (
                fault.kind in kinds
                and fault.worker in (None, worker)
                and fault.nth in (None, self._rounds.get(worker, 0))
                and (fault.trial is None or fault.trial in inside)
                and (fault.round is None or fault.round in at.values())
                and (fault.slots_above is None or len(inside) > fault.slots_above)
                and (fault.times is None or self._happened.get(fault, 0) < fault.times)
            )
            if applies:
                self._happened[fault] = self._happened.get(fault, 0) + 1
                return fault
        return None


class FakeWorker:
    """One fake worker; see ``base.Worker`` for its methods."""

    def __init__(
        self, index: int = 0, *, plan: FakePlan | None = None, fleet: FakeFleet | None = None
    ) -> None:
        self.index = index
        self.fleet = fleet or FakeFleet(plan)
        self.plan = self.fleet.plan
        self.fleet.made.append(self)
        self.slots: dict[int, FakeSlot] = {}
        self.facts: Facts | None = None
        self.config: ObjectiveConfig | None = None
        """What it was told to prepare."""
        self.dead = False
        self.closed = False
        self._events: list[WorkerEvent] = []
        self._save_to: Path | None = None
        self._fault: Fault | None = None
        self._begun = 0.0
        self._progress = 0

    def prepare(self, config: ObjectiveConfig) -> Facts:
        """Return made-up facts that fit the config."""
        self._heard("prepare")
        self.config = config
        if self.plan.prepare_error is not None:
            raise self.plan.prepare_error
        if self.plan.prepares is not None and (config.slots or self.plan.slots) > self.plan.prepares:
            raise OutOfMemory(f"worker {self.index}: out of memory")
        self.facts = make_facts(
            config,
            self.plan.surface,
            train_examples=self.plan.train_examples,
            validation_examples=self.plan.validation_examples,
            slots=self.plan.slots,
        )
        return self.facts

    def add(
        self, trial: int, params: LoraParams, *, seed: int, attempt: int, resume_from: Path | None
    ) -> None:
        """Take a trial up; what its checkpoint says goes into all its later losses."""
        assert self.facts is not None, "prepare comes before add"
        assert self._save_to is None, "add only between rounds"
        assert trial not in self.slots, f"trial {trial} is inside already"
        assert len(self.slots) < self.facts.slots, f"all {self.facts.slots} slots are taken"
        self._heard("add", trial)
        if self.dead or self.closed:
            return
        slot = FakeSlot(
            params=params,
            seed=seed,
            attempt=attempt,
            round=0,
            state=fake_checkpoint.beginning(params, seed),
        )
        if resume_from is not None:
            try:
                examples, slot.state, slot.losses, slot.kept = fake_checkpoint.load(
                    resume_from, trial, params, seed
                )
                slot.round = examples // self.facts.budget.round_examples
            except (OSError, ValueError, KeyError, StorageError, safetensors.SafetensorError) as error:
                reason = f"{resume_from}: the checkpoint cannot be read: {error}"
                self._events.append(SlotFailed(trial=trial, reason=reason))
                return
        if self.fleet.fault(("slot_fails",), self.index, {trial: slot.round + 1}):
            self._events.append(SlotFailed(trial=trial, reason=f"trial {trial} was told to fail"))
            return
        self.slots[trial] = slot

    def start(self, save_to: Path) -> None:
        """Begin a round."""
        assert self.facts is not None, "prepare comes before start"
        assert self._save_to is None, "a round is running"
        for trial, slot in self.slots.items():
            assert not slot.ended, f"trial {trial} has ended and is still inside"
        self._heard("start", *self.slots)
        self._save_to = save_to
        self._begun = self.plan.clock.now()
        self._progress = 0
        self.fleet.round_begins(self.index)
        inside = {trial: slot.round + 1 for trial, slot in self.slots.items()}
        kinds: tuple[Kind, ...] = ("die", "killed", "die_after_saving", "hang", "out_of_memory")
        self._fault = self.fleet.fault(kinds, self.index, inside)

    def poll(self, timeout: float) -> WorkerEvent | None:
        """Return the next event; lets the plan's clock run while there is none."""
        if self._events:
            return self._events.pop(0)
        if self._save_to is None or self.dead or self.closed:
            self.plan.clock.sleep(timeout)
            return None
        if self._fault is not None and self._fault.kind == "hang":
            self.plan.clock.sleep(timeout)
            return None
        seconds = self.plan.round_seconds
        seconds = seconds(self.index, len(self.slots)) if callable(seconds) else seconds
        share = (self._progress + 1) / (self.plan.progress + 1)
        wait = self._begun + share * seconds - self.plan.clock.now()
        if wait > timeout:
            self.plan.clock.sleep(timeout)
            return None
        if wait > 0:
            self.plan.clock.sleep(wait)
        if self._progress < self.plan.progress:
            self._progress += 1
            return self._progress_event(share)
        return self._end_round(seconds)

    def remove(self, trial: int) -> None:
        """Free a slot."""
        assert self._save_to is None or self.dead, "remove only between rounds"
        self._heard("remove", trial)
        self.slots.pop(trial, None)

    def evaluate(self, adapter: Path, params: LoraParams, part: Part) -> None:
        """Measure an adapter: its losses are those of the state that its file tells of."""
        found = self._look_at(adapter, params, "evaluate")
        if found is None:
            return
        assert self.facts is not None
        (rounds, state), data = found, self.facts.data
        size = data.test if part == "test" else data.validation
        # Other examples of the same kind: the same surface, other luck.
        luck = hashlib.sha256(f"{state} {part}".encode()).hexdigest() if part == "test" else state
        losses = example_losses(self.plan.surface, params, rounds, luck, size)
        found_there = Evaluated(
            adapter=adapter,
            part=part,
            losses=tuple(losses.tolist()),
            tokens=tuple(eval_tokens(size).tolist()),
            measures=measures(luck, size) if self.config and self.config.metric != "loss" else None,
        )
        self._events.append(found_there)

    def generate(self, adapter: Path | None, params: LoraParams, *, count: int, most: int) -> None:
        """Answer in made-up words, which tell of the state that the adapter's file tells of."""
        found = self._look_at(adapter, params, "generate")
        if found is None:
            return
        assert self.facts is not None
        samples = tuple(
            Sample(prompt=f"question {place}", right=f"answer {place}", written=f"{found[1]} {place}"[:most])
            for place in range(min(count, self.facts.data.validation))
        )
        self._events.append(Generated(adapter=adapter, samples=samples))

    def _look_at(self, adapter: Path | None, params: LoraParams, call: str) -> tuple[int, str] | None:
        """Return the rounds and the state of an adapter, or the base model; None where nobody is left to."""
        assert self.facts is not None, f"prepare comes before {call}"
        assert self._save_to is None, f"{call} only between rounds"
        assert len(self.slots) < self.facts.slots, f"all {self.facts.slots} slots are taken"
        self._heard(call)
        if self.dead or self.closed:
            return None
        if self.fleet.fault(("die", "killed", "out_of_memory"), self.index, {}) is not None:
            self._events.append(self._die("die"))
            return None
        try:
            return (0, "untrained") if adapter is None else fake_checkpoint.measured(adapter, params)
        except (OSError, ValueError, KeyError, StorageError, safetensors.SafetensorError) as error:
            self.dead = True
            self._events.append(WorkerFailed(reason=f"worker {self.index}: {adapter}: {error}"))
            return None

    def close(self) -> None:
        """End; a running round is dropped."""
        self._heard("close")
        self.closed = True
        self._events.clear()
        self._save_to = None

    def _heard(self, call: str, *trials: int) -> None:
        self.fleet.calls.append((self.index, call, trials))

    def _progress_event(self, share: float) -> RoundProgress:
        assert self.facts is not None
        round_examples = self.facts.budget.round_examples
        slots = tuple(
            SlotProgress(
                trial=trial,
                examples=int((slot.round + share) * round_examples),
                train_loss=self.plan.surface.loss(slot.params, slot.round),
                learning_rate=slot.params.learning_rate,
                grad_norm=1.0,
            )
            for trial, slot in self.slots.items()
        )
        return RoundProgress(slots=slots, phase="train", tokens_per_second=5000.0, memory_bytes=10**8)

    def _end_round(self, seconds: float) -> WorkerEvent:
        assert self._save_to is not None
        if self._fault is not None and self._fault.kind != "die_after_saving":
            return self._die(self._fault.kind)
        self._save_to.mkdir(parents=True, exist_ok=True)
        results = tuple(self._train(trial, slot, self._save_to) for trial, slot in self.slots.items())
        if self._fault is not None:
            return self._die(self._fault.kind)
        self._save_to = None
        return Done(results=results, seconds=seconds, memory_bytes=10**8)

    def _die(self, kind: Kind) -> WorkerFailed:
        self.dead = True
        self._save_to = None
        out_of_memory = kind == "out_of_memory"
        reason = "out of memory" if out_of_memory else "killed by SIGKILL"
        return WorkerFailed(
            reason=f"worker {self.index}: {reason}", out_of_memory=out_of_memory, killed=kind == "killed"
        )

    def _train(self, trial: int, slot: FakeSlot, save_to: Path) -> SlotResult:
        """Give a trial its round, write its checkpoint, and report."""
        assert self.facts is not None
        budget = self.facts.budget
        surface = self.plan.surface
        slot.round += 1
        slot.state = fake_checkpoint.after(slot.state, slot.round)
        breaks = surface.diverges_at(slot.params)
        diverged = (breaks is not None and breaks <= slot.round) or (
            self.fleet.fault(("diverge",), self.index, {trial: slot.round}) is not None
        )
        examples = slot.round * budget.round_examples
        slot.diverged = diverged
        stopping = None if self.config is None else self.config.stopping
        size = budget.eval_size(slot.round) if stopping is None else budget.eval_examples
        losses = final = None
        seen, state = slot.round, slot.state
        if size and not diverged:
            losses = example_losses(surface, slot.params, slot.round, slot.state, size)
            mean = float(losses.sum() / eval_tokens(size).sum())
            if stopping is not None and slot.end_if_over(mean, stopping):
                seen, state = stopping.kept_round(slot.losses), slot.kept
                final = example_losses(surface, slot.params, seen, state, budget.final_eval_examples)
        ends = final is not None or (stopping is None and slot.round == ROUNDS)
        path = save_to / checkpoint_name(trial, slot.round, slot.attempt)
        if not diverged:
            fake_checkpoint.save(
                path,
                trial=trial,
                round_number=seen,
                attempt=slot.attempt,
                seed=slot.seed,
                examples=examples,
                params=slot.params,
                state=state,
                kept=None if stopping is None else (slot.losses, slot.kept),
            )
        train_loss = surface.loss(slot.params, slot.round) + 0.02 * unit(slot.state, "train")
        return SlotResult(
            trial=trial,
            round=slot.round,
            examples=examples,
            train_loss=math.nan if diverged else train_loss,
            learning_rate=slot.params.learning_rate * (1 - slot.round / (ROUNDS + 1)),
            grad_norm=math.inf if diverged else 1.0 + 0.1 * unit(slot.state, "norm"),
            eval_losses=None if losses is None else tuple(losses.tolist()),
            diverged=f"the loss became NaN at example {examples}" if diverged else None,
            tokens=20 * budget.round_examples,
            final_losses=None if final is None else tuple(final.tolist()),
            measures=measures(state, budget.final_eval_examples) if ends and not diverged else None,
        )
