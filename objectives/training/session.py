"""Training in one process: a pack of trials goes through its rounds.

Holds what belongs to a trial but not to its row (its place in the data, its schedule) and turns
micro-steps into results. Knows nothing of processes, databases, or of which trial comes next.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import torch
from transformers import modeling_utils  # noqa: F401 - loading a model takes it; workers that wait have time

from ...errors import StorageError
from ...spaces.params import LoraParams
from ...study.budget import ROUNDS
from ...study.checkpoint_format import checkpoint_name
from ...study.config import ObjectiveConfig
from ...study.facts import Facts
from ..base import Done, Evaluated, Generated, Part, RoundProgress, SlotProgress, SlotResult
from . import checkpoint
from .batches import collate
from .beside import Beside
from .evaluation import EvalSet, Measured, Passes, T, mean_loss
from .groups import groups
from .kept import Kept
from .loaded import loaded
from .loss_scale import LossScaling
from .optimizer import adamw, clip_by_row_norm, next_step
from .preparation import peak_memory, prepare
from .slot import RoundSums, Slot
from .stream import Stream

PROGRESS_SECONDS = 0.5

_logger = logging.getLogger(__name__)


class Session:
    """A base model, its data and a pack of trials.

    Raises ``DataError``, ``ModelError`` or ``BudgetError`` where they cannot be had.
    """

    def __init__(self, config: ObjectiveConfig) -> None:
        prepared = prepare(config)
        self.facts: Facts = prepared.facts
        self._config = config
        self._base, self._data = prepared.base, prepared.data
        self._budget, self._lengths = self.facts.budget, self.facts.geometry.micro_step_lengths
        self._eval_sets, self._pack = prepared.eval_sets, prepared.pack
        self._beside = Beside(config, prepared.facts, prepared.base, prepared.data)
        if config.geometry is None:  # a study is being made, and what is found is stored with it
            self.facts = dataclasses.replace(self.facts, answers=self._beside.base(self._pack))
        self._writer = checkpoint.Writer.of(prepared.pack)
        self._scaling = LossScaling(self._base, self._data.train)
        self._slots: list[Slot] = []
        self._streams: dict[int, Stream] = {}
        self._has_trained = False
        self._passes = 0

    def close(self) -> None:
        """Take the pack off the base model."""
        self._pack.close()

    def add(
        self, trial: int, params: LoraParams, *, seed: int, attempt: int, resume_from: Path | None = None
    ) -> None:
        """Put a trial into the pack; raises ``StorageError`` for a checkpoint that is not its own."""
        slot = Slot(trial=trial, params=params, seed=seed, attempt=attempt)
        stopping = self._config.stopping
        slot.kept = None if stopping is None else Kept(stopping=stopping)
        tensors = None
        if resume_from is not None:
            whose = checkpoint.owner(trial, seed, params, self.facts.data.fingerprint)
            tensors, metadata = checkpoint.read(resume_from, whose)
            try:
                slot.steps, slot.examples = int(metadata["steps"]), int(metadata["examples"])
                # A longer trial that goes on from a shorter one has longer rounds.
                slot.rounds, within = divmod(slot.examples, self._budget.round_examples)
                if within:
                    raise ValueError(f"{slot.examples} examples are no whole rounds")
                slot.scale = self._scaling.taken_up(metadata)
                if stopping is not None:
                    slot.kept = Kept.from_file(stopping, tensors, metadata)
            except (KeyError, ValueError) as error:
                raise StorageError(
                    f"checkpoint {resume_from} does not say where it stood: {error}"
                ) from error
        row = self._pack.add(params, seed)
        if tensors is not None:
            try:
                checkpoint.tensors_to_row(tensors, self._pack, row, params)
            except (KeyError, RuntimeError) as error:
                self._pack.remove(row)
                raise StorageError(f"checkpoint {resume_from} does not fit the study: {error}") from error
        self._slots.append(slot)

    def remove(self, trial: int) -> None:
        """Take a trial out of the pack."""
        row = next(row for row, slot in enumerate(self._slots) if slot.trial == trial)
        moved = self._pack.remove(row)
        if moved is None:
            del self._slots[row]
        else:
            self._slots[row] = self._slots.pop(moved)

    def train_round(self, save_to: Path) -> Iterator[RoundProgress | Done]:
        """Train every trial for a round, evaluate those that are due, write their checkpoints.

        Yields ``RoundProgress`` about twice a second, and ``Done`` last.
        """
        started = told = time.monotonic()
        # Those together that are measured together after this round.
        order = self._pack.arrange([self._due(slot, slot.rounds + 1) for slot in self._slots])
        self._slots = [self._slots[row] for row in order]
        for slot in self._slots:
            slot.sums = RoundSums()
        orders = [self._stream(slot.seed).round(slot.rounds) for slot in self._slots]
        for micro_step, length in enumerate(self._lengths):
            self._pack.loss_factors = self._scaling.sent([self._factor(slot) for slot in self._slots])
            batches, found = [], []
            for rows in groups(len(self._slots), self._budget.micro_batch * length, self.facts.pass_tokens):
                chosen = [order[micro_step] for order in orders[rows]]
                batch = collate(self._data.train, chosen, length, self._base.device)
                dropout = [slot.dropout for slot in self._slots[rows]]
                batches.append(batch)
                found.append(self._pack.accumulate(batch, dropout, rows).sum(dim=1))
            # Read once, so that a GPU has the next group before the last one's losses are waited for.
            losses = torch.cat(found).tolist()
            real_tokens = [count for batch in batches for count in batch.real_tokens]
            target_tokens = [count for batch in batches for count in batch.target_tokens]
            if not self._has_trained:
                self._has_trained = True
                _logger.info("the first micro-step has ended")
            for row, slot in enumerate(self._slots):
                slot.examples += self._budget.micro_batch
                slot.sums.tokens += real_tokens[row]
                slot.sums.target_tokens += target_tokens[row]
                slot.pending_tokens += target_tokens[row]
                slot.sums.loss += losses[row]
                if not math.isfinite(losses[row]):
                    self._diverge(row, "loss")
            self._step()
            if time.monotonic() - told > PROGRESS_SECONDS:
                told = time.monotonic()
                yield self._progress("train", told - started)
        for slot in self._slots:
            slot.rounds += 1
        yield self._progress("eval", time.monotonic() - started)
        measured = yield from self._evaluate(started)
        with self._writer:
            results = []
            for row, slot in enumerate(self._slots):
                ending = self._finish(row, measured.get(slot.trial), save_to)
                results.append((yield from self._told(ending, started)))
        yield Done(
            results=tuple(results),
            seconds=time.monotonic() - started,
            memory_bytes=peak_memory(self._base.device),
        )

    def evaluate(self, adapter: Path, params: LoraParams, part: Part) -> Evaluated:
        """Measure an adapter, or a training state, in a free slot, on all examples of a part of the data.

        Raises ``StorageError`` for a file that cannot be read or is no adapter of these hyperparameters.
        """
        split = getattr(self._data, part)
        examples = EvalSet(split, len(split), self.facts.geometry.eval_rows, self._base.device)
        with loaded(self._pack, adapter, params, self.facts.data.fingerprint) as row:
            return self._beside.evaluated(self._pack, row, examples, adapter=adapter, part=part)

    def generate(self, adapter: Path | None, params: LoraParams, *, count: int, most: int) -> Generated:
        """Let an adapter, or the base model where there is none, answer the first validation prompts.

        Raises ``StorageError`` as ``evaluate`` does.
        """
        with loaded(self._pack, adapter, params, self.facts.data.fingerprint) as row:
            samples = self._beside.samples(self._pack, row, count=count, most=most)
        return Generated(adapter=adapter, samples=samples)

    def _stream(self, seed: int) -> Stream:
        if seed not in self._streams:
            self._streams[seed] = Stream(self._data.train.lengths, self._budget, seed)
        return self._streams[seed]

    def _factor(self, slot: Slot) -> float:
        """Return what a trial's gradients are multiplied by until its next step."""
        return self._scaling.factor(slot.scale, slot.params.batch_size)

    def _step(self) -> None:
        """Update every trial whose effective batch is complete."""
        pack, slots = self._pack, self._slots
        ready = [
            row
            for row, slot in enumerate(slots)
            if slot.diverged is None and slot.examples % slot.params.batch_size == 0
        ]
        if not ready:
            return
        gradients = [pack.grads[row] for row in ready]
        by = [self._factor(slots[row]) * slots[row].pending_tokens for row in ready]
        torch._foreach_div_(gradients, by)
        norms = clip_by_row_norm(gradients, self._config.max_grad_norm)
        rows, steps = [], []
        for row, norm in zip(ready, norms, strict=True):
            slot = slots[row]
            slot.pending_tokens = 0
            slot.scale, left_out = self._scaling.after(slot.scale, norm, slot.trial)
            if left_out:
                continue
            slot.norm = norm
            slot.sums.norms += norm
            slot.sums.steps += 1
            if not math.isfinite(norm):
                self._diverge(row, "gradient")
                continue
            total = self._budget.steps(slot.params.batch_size)
            step = next_step(slot.params, taken=slot.steps, total=total)
            slot.steps, slot.learning_rate = step.number, step.learning_rate
            rows.append(row)
            steps.append(step)
        adamw(
            [pack.params[row] for row in rows],
            [pack.grads[row] for row in rows],
            [pack.exp_avg[row] for row in rows],
            [pack.exp_avg_sq[row] for row in rows],
            steps,
            b_start=pack.layout.b_start,
        )
        torch._foreach_zero_([pack.grads[row] for row in ready])  # of steps that were left out as well

    def _diverge(self, row: int, what: str) -> None:
        """End a trial that lost its numbers; its row runs on as the plain base model."""
        slot = self._slots[row]
        if slot.diverged is None:
            slot.diverged = f"the {what} was no longer finite after {slot.examples} examples"
        self._pack.clear(row)

    def _evaluate(self, started: float) -> Generator[RoundProgress, None, dict[int, Measured]]:
        """Measure the trials that are due, neighbours of one set together; return what was found by trial."""
        found: dict[int, Measured] = {}
        due = [self._due(slot, slot.rounds) for slot in self._slots]
        row = 0
        while row < len(self._slots):
            size, ends = due[row]
            stop = row + 1
            while stop < len(due) and due[stop] == due[row]:
                stop += 1
            if size:
                measured = yield from self._told(self._measure(size, slice(row, stop), final=ends), started)
                found.update(
                    (slot.trial, one) for slot, one in zip(self._slots[row:stop], measured, strict=True)
                )
            row = stop
        return found

    def _told(self, passes: Passes[T], started: float) -> Generator[RoundProgress, None, T]:
        """Do work that goes on by passes, and tell now and then that it does: it may take minutes."""
        told = time.monotonic()
        while True:
            try:
                next(passes)
            except StopIteration as stop:
                found: T = stop.value
                return found
            self._passes += 1
            if time.monotonic() - told > PROGRESS_SECONDS:
                told = time.monotonic()
                yield self._progress("eval", told - started)

    def _measure(self, size: int, rows: slice, *, final: bool) -> Passes[list[Measured]]:
        """Measure the trials in some rows, of a ``final`` evaluation more than the losses."""
        examples, found = self._eval_sets[size], list[Measured]()
        for group in groups(rows.stop - rows.start, examples.tokens, self.facts.pass_tokens, rows.start):
            if not final:
                losses = yield from examples.measuring(self._pack, group)
                found += [Measured(losses=own) for own in losses]
                continue
            losses, correct = yield from examples.measuring_both(self._pack, group)
            for row, own, right in zip(range(group.start, group.stop), losses, correct, strict=True):
                beside = yield from self._beside.measuring(self._pack, row, right)
                found.append(Measured(losses=own, measures=beside))
        return found

    def _due(self, slot: Slot, rounds: int) -> tuple[int, bool]:
        """Return on how many examples a trial of so many rounds is measured, and whether that is the end."""
        if slot.diverged is not None:
            return 0, False
        if slot.kept is not None:
            # The same examples after each round, so that a trial's own losses can be compared.
            return self._budget.eval_examples, False
        return self._budget.eval_size(rounds), rounds == ROUNDS

    def _end_if_over(self, row: int, kept: Kept, losses: torch.Tensor) -> Passes[Measured | None]:
        """Measure what a trial of full length keeps on the whole set, if it has ended; its row holds that."""
        slot = self._slots[row]
        tokens = self._eval_sets[len(losses)].target_tokens
        kept.note(mean_loss(losses, tokens), self._pack, row, slot.params)
        if not kept.is_over(slot.rounds, ROUNDS):
            return None
        kept.restore(self._pack, row, slot.params)
        (found,) = yield from self._measure(self._budget.final_eval_examples, slice(row, row + 1), final=True)
        return found

    def _finish(self, row: int, measured: Measured | None, save_to: Path) -> Passes[SlotResult]:
        slot = self._slots[row]
        losses = None if measured is None else measured.losses
        final: Measured | None = None
        if losses is not None:
            finite = bool(torch.isfinite(losses).all())
            if finite and slot.kept is not None:
                final = yield from self._end_if_over(row, slot.kept, losses)
                finite = final is None or bool(torch.isfinite(final.losses).all())
            if not finite:
                slot.diverged = f"the eval loss was no longer finite after {slot.examples} examples"
                final = None
        if slot.diverged is None:
            path = save_to / checkpoint_name(slot.trial, slot.rounds, slot.attempt)
            metadata = checkpoint.owner(slot.trial, slot.seed, slot.params, self.facts.data.fingerprint)
            metadata |= {"quantum": str(slot.rounds), "attempt": str(slot.attempt)}
            metadata |= {"steps": str(slot.steps), "examples": str(slot.examples)}
            metadata |= self._scaling.to_file(slot.scale)
            tensors = checkpoint.row_to_tensors(self._pack, row, slot.params, into=self._writer.memory())
            if slot.kept is not None and final is None:
                carried, losses_so_far = slot.kept.to_file()
                tensors |= carried
                metadata |= losses_so_far
            self._writer.write(path, tensors, metadata)
        return SlotResult(
            trial=slot.trial,
            round=slot.rounds,
            examples=slot.examples,
            train_loss=slot.sums.mean_loss,
            learning_rate=slot.learning_rate,
            grad_norm=slot.sums.mean_norm,
            eval_losses=None if losses is None else tuple(losses.tolist()),
            diverged=slot.diverged,
            tokens=slot.sums.tokens,
            final_losses=None if final is None else tuple(final.losses.tolist()),
            measures=None if (last := final or measured) is None else last.measures,
        )

    def _progress(self, phase: str, seconds: float) -> RoundProgress:
        return RoundProgress(
            slots=tuple(
                SlotProgress(
                    trial=slot.trial,
                    examples=slot.examples,
                    train_loss=slot.sums.mean_loss,
                    learning_rate=slot.learning_rate,
                    grad_norm=slot.norm,
                )
                for slot in self._slots
            ),
            phase=phase,
            passes=self._passes,
            tokens_per_second=sum(slot.sums.tokens for slot in self._slots) / max(seconds, 1e-9),
            memory_bytes=peak_memory(self._base.device),
        )
