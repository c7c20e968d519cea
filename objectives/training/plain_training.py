"""Training without adapters, in a worker: the yardstick of a trial of full length.

Data, order, micro-steps, schedule, clipping and evaluation sets are those of the trial; which weights are
trained and the peak rate are the method's. Knows nothing of processes or databases.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from ...errors import DataError, ModelError, StorageError
from ...spaces.params import LoraParams
from ...study.budget import ROUNDS
from ...study.config import ObjectiveConfig
from ...study.format import show_bytes
from ..base import Done, Evaluated, Generated, Part, RoundProgress, SlotResult
from . import checkpoint
from .batches import collate
from .determinism import compute_deterministically
from .device import find_device
from .evaluation import EvalSet, mean_loss
from .handed_on import tokens_of
from .model import load_model, load_tokenizer
from .optimizer import next_step
from .plain_model import PlainModel, Tensors, trained_weights
from .preparation import free_memory, load_examples, peak_memory
from .recomputing import recompute_activations
from .slot import RoundSums
from .stream import Stream

NUMBER_BYTES = 4
"""Bytes of a float32."""

COPIES = 4
"""Of each weight that is trained: itself, its gradient and its two moments."""

_logger = logging.getLogger(__name__)

_ONE = slice(0, 1)
_FINAL = "final"
_HISTORY = "history"


@dataclasses.dataclass(kw_only=True)
class _History:
    """What a run carries from round to round beside its weights and moments, through the same file."""

    losses: list[float] = dataclasses.field(default_factory=list)
    """Its eval loss after each round so far."""
    seconds: float = 0.0
    """How long these rounds took."""
    memory_bytes: int = 0
    """The most that its processes have held."""


class PlainSession:
    """One run in this process, as a worker serves it.

    Args:
        config: with ``plain``, and with what the trial's study found in ``found``.

    Raises:
        LoratuneError: model or data are not there, have changed, or do not fit into memory.
    """

    def __init__(self, config: ObjectiveConfig) -> None:
        assert config.plain is not None, "it is no plain training"
        assert config.found is not None, "it has a study"
        assert config.stopping is not None, "that is of full length"
        self.facts = dataclasses.replace(config.found, slots=1)
        self._config, self._method, self._stopping = config, config.plain, config.stopping
        self._budget, self._geometry = self.facts.budget, self.facts.geometry
        device = find_device(config.model.device)
        if config.deterministic:
            compute_deterministically(device)
        name, parameters = config.model.name_or_path, self.facts.model.parameters
        copies = COPIES if self._method.layers is None else 1
        check_fits(name, self._method.words, copies * parameters, free_memory(str(device)))
        data = tokens_of(self.facts, config)
        tokenizer = load_tokenizer(config.model) if data is None else None
        # Rounded weights cannot be trained themselves: it is the base as it was before it was quantized.
        self._base = load_model(dataclasses.replace(config.model, dtype="float32", quantization_bit=None))
        self._weights = trained_weights(self._base, self._method)
        self._trainable = sum(weight.numel() for weight in self._weights.values())
        if self._method.layers is not None:
            more, free = (COPIES - 1) * self._trainable, free_memory(str(device))
            check_fits(name, self._method.words, more, free)
        self._data = data if data is not None else load_examples(config, self._base, tokenizer)
        if self._data.summary.fingerprint != self.facts.data.fingerprint:
            raise DataError("its data, template or tokenizer have changed since; restore them")
        if self._geometry.gradient_checkpointing:
            recompute_activations(self._base)
        self._eval_sets = {
            size: EvalSet(self._data.validation, size, self._geometry.eval_rows, device)
            for size in {self._budget.eval_examples, self._budget.final_eval_examples}
        }
        self._history, self._final = _History(), torch.zeros(0)

    def add(
        self, trial: int, params: LoraParams, *, seed: int, attempt: int, resume_from: Path | None
    ) -> None:
        """Take the trial whose yardstick it is; raises ``StorageError`` where its state cannot be read."""
        _logger.info("trial %d, attempt %d: %s", trial, attempt, self._method.words)
        self._trial, self._params = trial, params
        self._model = PlainModel(self._base, self._weights, weight_decay=params.weight_decay)
        self._stream = Stream(self._data.train.lengths, self._budget, seed)
        self._owner = {
            **checkpoint.owner(trial, seed, params, self.facts.data.fingerprint),
            "method": json.dumps(dataclasses.asdict(self._method)),
            "examples": str(self._budget.examples),
        }
        if resume_from is not None:
            self._resume(resume_from)

    def remove(self, trial: int) -> None:
        """Have it end with its process: nothing else can take its place."""

    def evaluate(self, adapter: Path, params: LoraParams, part: Part) -> Evaluated:
        """Refuse: there are no adapters here."""
        raise AssertionError(f"{adapter}, {params}, {part}: a plain training has no adapters")

    def generate(self, adapter: Path | None, params: LoraParams, *, count: int, most: int) -> Generated:
        """Refuse, as ``evaluate`` does."""
        raise AssertionError(f"{adapter}, {params}, {count}, {most}: a plain training has no adapters")

    @property
    def _rounds(self) -> int:
        return len(self._history.losses)

    @property
    def _over(self) -> bool:
        return self._rounds == ROUNDS or self._stopping.is_over(self._history.losses)

    def train_round(self, save_to: Path) -> Iterator[RoundProgress | Done]:
        """Train for a round; ``Done`` has the seconds of all rounds so far, and their peak memory.

        Of a run that was over already it tells the end again.
        """
        if self._over:
            yield self._done(RoundSums())
            return
        began = time.monotonic()
        sums, rate = RoundSums(), 0.0
        taken = self._rounds * self._budget.round_examples // self._params.batch_size
        per_step = self._params.batch_size // self._budget.micro_batch
        order = self._stream.round(self._rounds)
        for first in range(0, len(order), per_step):
            micro_steps = range(first, first + per_step)
            target_tokens = int(self._data.train.target_tokens[order[micro_steps]].sum())
            for index in micro_steps:
                batch = collate(
                    self._data.train,
                    [order[index]],
                    self._geometry.micro_step_lengths[index],
                    self._base.device,
                )
                sums.loss += self._model.accumulate(batch, target_tokens)
                sums.tokens += batch.real_tokens[0]
            sums.target_tokens += target_tokens
            planned = next_step(
                self._params, taken=taken + sums.steps, total=self._budget.steps(self._params.batch_size)
            )
            # The schedule is the trial's, the peak the method's own.
            rate = planned.learning_rate / self._params.learning_rate * self._method.learning_rate
            norm = self._model.step(rate, self._config.max_grad_norm)
            sums.norms += norm
            sums.steps += 1
            if not (math.isfinite(sums.loss) and math.isfinite(norm)):
                examples = self._rounds * self._budget.round_examples + sums.steps * self._params.batch_size
                yield self._done(
                    sums, rate, diverged=f"the loss was no longer finite after {examples} examples"
                )
                return
        rung = self._eval_sets[self._budget.eval_examples]
        losses = rung.losses(self._model, _ONE)[0]
        if not bool(torch.isfinite(losses).all()):
            words = f"the eval loss was no longer finite after round {self._rounds + 1}"
            yield self._done(sums, rate, diverged=words)
            return
        history = self._history
        history.losses.append(mean_loss(losses, rung.target_tokens))
        history.seconds += time.monotonic() - began
        self._keep()
        history.memory_bytes = max(history.memory_bytes, peak_memory(self._base.device))
        self._save(save_to / self._method.state_name)
        yield self._done(sums, rate, losses)

    def _keep(self) -> None:
        """Measure the weights on the whole set where they are those to be kept, as far as is known now.

        The weights are not kept, so what they are worth is: of the best round so far, or of the last.
        """
        if self._stopping.kept_round(self._history.losses) == self._rounds and (
            self._stopping.keep == "best" or self._over
        ):
            began = time.monotonic()
            self._final = self._eval_sets[self._budget.final_eval_examples].losses(self._model, _ONE)[0]
            if self._over:  # the trial, too, is measured on all of them once
                self._history.seconds += time.monotonic() - began

    def _done(
        self,
        sums: RoundSums,
        rate: float = 0.0,
        losses: torch.Tensor | None = None,
        *,
        diverged: str | None = None,
    ) -> Done:
        history = self._history
        result = SlotResult(
            trial=self._trial,
            round=self._rounds,
            examples=self._rounds * self._budget.round_examples,
            train_loss=sums.mean_loss,
            learning_rate=rate,
            grad_norm=sums.mean_norm,
            eval_losses=None if losses is None else tuple(losses.tolist()),
            diverged=diverged,
            tokens=sums.tokens,
            final_losses=tuple(self._final.tolist()) if self._over and diverged is None else None,
            trainable=self._trainable,
        )
        return Done(results=(result,), seconds=history.seconds, memory_bytes=history.memory_bytes)

    def _save(self, path: Path) -> None:
        tensors: Tensors = {**self._model.to_tensors(), _FINAL: self._final}
        metadata = {**self._owner, _HISTORY: json.dumps(dataclasses.asdict(self._history))}
        checkpoint.write(path, tensors, metadata)

    def _resume(self, path: Path) -> None:
        tensors, metadata = checkpoint.read(path, self._owner)
        try:
            self._history = _History(**json.loads(metadata[_HISTORY]))
            self._final = tensors.pop(_FINAL)
            steps = self._rounds * self._budget.round_examples // self._params.batch_size
            self._model.load(tensors, steps)
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(f"{path}: is no state of such a training ({error})") from error


def check_fits(name: str, method: str, numbers: int, free: int) -> None:
    """Raise ``ModelError`` where so many float32 numbers are more than the bytes that are free."""
    needed = numbers * NUMBER_BYTES
    if needed > free:
        raise ModelError(
            f"{name}: {method} takes {show_bytes(needed)} for weights, gradients and moments in float32, and "
            f"{show_bytes(free)} are free; take --method freeze with fewer layers, or more memory"
        )
