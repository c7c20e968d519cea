"""The seam between the search and the training: what is asked of a worker, and what it answers.

Everything here is a plain value that can cross a process boundary; nothing here imports torch.
``testing/fake.py`` answers in the same terms without training, ``workers/process.py`` starts the real one.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal, Protocol

from ..spaces.params import LoraParams
from ..study.config import ObjectiveConfig
from ..study.facts import Facts


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlotProgress:
    """Where one trial stands inside a round."""

    trial: int
    """The trial's number."""
    examples: int
    """Training examples seen so far."""
    train_loss: float
    """Mean loss over the target tokens of the round so far; may be NaN."""
    learning_rate: float
    """That of the last optimizer step."""
    grad_norm: float
    """Norm of the last gradient before clipping; may be NaN."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoundProgress:
    """A sign of life inside a round, about twice a second."""

    slots: tuple[SlotProgress, ...]
    """Every trial in the worker."""
    phase: str
    """``train`` or ``eval``."""
    tokens_per_second: float
    """Real tokens of all its trials."""
    memory_bytes: int
    """Peak memory so far."""
    passes: int = 0
    """Forward passes of evaluations so far, by which a long one is told from a worker that hangs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measures:
    """What was measured beside the losses of a final evaluation, for each of its examples."""

    correct: tuple[int, ...]
    """``[n]`` target tokens that were the likeliest ones."""
    label_losses: tuple[tuple[float, ...], ...] | None = None
    """``[k, labels]`` mean loss over the tokens of each label, were it the answer, of the first k examples;
    None where none was asked for or the data has no labels."""
    marks: tuple[float, ...] | None = None
    """``[n]`` mark of what the trial writes as the answer, 0 to 1; None where none was asked for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlotResult:
    """What one trial did in a round."""

    trial: int
    """The trial's number."""
    round: int
    """1 to 8: this many rounds are now done."""
    examples: int
    """Training examples seen so far."""
    train_loss: float
    """Mean loss over the round's target tokens; may not be finite."""
    learning_rate: float
    """That of the last optimizer step."""
    grad_norm: float
    """Mean norm of the gradient before clipping; may not be finite."""
    eval_losses: tuple[float, ...] | None
    """``[n]`` summed loss on each example of the evaluation set; None where no evaluation was due."""
    diverged: str | None
    """Why the trial cannot go on, such as ``the loss became NaN at example 384``; None where its state is on
    disk, synced, under the name of ``study.checkpoint_format``."""
    tokens: int
    """Real tokens it was trained on in this round."""
    final_losses: tuple[float, ...] | None = None
    """``[n]`` summed loss of the kept weights on each example of the final evaluation set; set where a trial
    of full length has ended, alone."""
    measures: Measures | None = None
    """What was measured beside the last of these losses, where they are final ones."""
    trainable: int | None = None
    """Weights that were trained, told where these are no adapter's."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Done:
    """A round has ended for every trial in the worker."""

    results: tuple[SlotResult, ...]
    """One for each trial."""
    seconds: float
    """How long the round took."""
    memory_bytes: int
    """Peak memory."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlotFailed:
    """A trial could not be taken up, such as one whose checkpoint is unreadable; the others go on."""

    trial: int
    """The trial's number."""
    reason: str
    """What is wrong."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkerFailed:
    """The worker is gone, and every trial in it stands where its last checkpoint left it."""

    reason: str
    """How it ended: an exit code, a signal, or its own last words."""
    out_of_memory: bool = False
    """Whether memory ran out."""
    storage: bool = False
    """Whether it could not write its checkpoints: no trial is to blame, and no restart helps."""
    killed: bool = False
    """Whether another process ended it, by a signal that a program does not send itself."""


Part = Literal["validation", "test"]
"""Examples that nobody trains on: those that trials are chosen by, and those that are looked at last."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluated:
    """An adapter was measured on all examples of a part of the data."""

    adapter: Path
    """Its file."""
    part: Part
    """Which examples."""
    losses: tuple[float, ...]
    """``[n]`` summed loss on each example, in the data's order."""
    tokens: tuple[int, ...]
    """``[n]`` target tokens of each."""
    measures: Measures | None = None
    """What the study selects by, of the same examples; None where that is the loss."""
    right: tuple[int, ...] = ()
    """``[n]`` each example's answer, as its place among the labels of the study, one past the last where it
    is none of them; empty where no labels were asked for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """What was written as the answer to a prompt."""

    prompt: str
    """The end of what is asked."""
    right: str
    """The beginning of the right answer."""
    written: str
    """What was written; it ends in ``…`` where it was cut."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generated:
    """An adapter, or the base model alone, has written answers."""

    adapter: Path | None
    """Its file; None: the base model."""
    samples: tuple[Sample, ...]
    """An answer for each of the first validation examples, in the data's order."""


WorkerEvent = RoundProgress | Done | SlotFailed | WorkerFailed | Evaluated | Generated


class Worker(Protocol):
    """A place where K trials train at once.

    Calls return at once, save for ``prepare``; what happens is heard from ``poll``.
    """

    def prepare(self, config: ObjectiveConfig) -> Facts:
        """Load data and model, check that they can be packed, and report what was found.

        Raises the ``DataError``, ``ModelError`` or ``BudgetError`` that the worker met, or
        ``WorkerError`` where it died.
        """

    def add(
        self, trial: int, params: LoraParams, *, seed: int, attempt: int, resume_from: Path | None
    ) -> None:
        """Put a trial into a free slot, from the start or from a checkpoint."""

    def start(self, save_to: Path) -> None:
        """Begin a round for every trial inside; checkpoints go to ``save_to``, made if missing.

        Their names are those of ``study.checkpoint_format.checkpoint_name``.
        """

    def poll(self, timeout: float) -> WorkerEvent | None:
        """Return what happened next, or None after ``timeout`` seconds without news."""

    def remove(self, trial: int) -> None:
        """Free the slot of a trial; only between rounds."""

    def evaluate(self, adapter: Path, params: LoraParams, part: Part) -> None:
        """Measure a kept adapter or a training state on a part of the data; only between rounds.

        Needs a free slot. ``Evaluated`` comes in the order in which it was asked for; ``WorkerFailed``
        where the file cannot be read.
        """

    def generate(self, adapter: Path | None, params: LoraParams, *, count: int, most: int) -> None:
        """Let a kept adapter, or the base model, answer the first ``count`` validation prompts, greedily.

        Each in ``most`` tokens at most. Needs a free slot; only between rounds. ``Generated`` comes in the
        order in which it was asked for; ``WorkerFailed`` where the file cannot be read.
        """

    def close(self) -> None:
        """End the worker, in the middle of a round if need be; never raises."""


def says_out_of_memory(words: str) -> bool:
    """Return whether an error's words are those of an allocator that has nothing left.

    >>> says_out_of_memory("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes")
    True
    """
    known = (
        "can't allocate memory",
        "cannot allocate memory",
        "not enough memory",
        "out of memory",
        "status_alloc_failed",
        "bad_alloc",
        "failed to map segment from shared object",
        "can't start new thread",
        "error return without exception set",  # an extension that could not even allocate its exception
    )
    return any(text in words.lower() for text in known)
