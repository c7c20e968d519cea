"""How much memory a slot really takes: a study's heaviest moments, lived with one slot and with two.

The prediction of ``objectives/memory.py`` knows nothing of a library's own temporaries. Two measurements make
a line: what is there once per worker, and what each slot adds. Does not know how much memory there is.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import torch

from ...study.facts import Geometry
from ..data.dataset import TokenizedData
from ..out_of_memory import ran_out_of_memory
from .batches import collate
from .evaluation import EvalSet
from .groups import groups
from .model import BaseModel
from .optimizer import Step, adamw
from .pack import Pack
from .quantized import weight_bytes
from .stream import Indices
from .update import Dropout


class Meter(Protocol):
    """Reads the most memory that was held on a device."""

    def reset(self) -> None:
        """Begin anew, from what is held now."""

    def peak(self) -> int:
        """Return the most bytes held since."""


class CudaMeter:
    """The meter of a GPU: what PyTorch's allocator handed out."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def reset(self) -> None:
        """Begin anew, from what is held now."""
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self._device)

    def peak(self) -> int:
        """Return the most bytes held since."""
        return int(torch.cuda.max_memory_allocated(self._device))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Footprint:
    """What a worker was seen to hold."""

    once_bytes: int
    """There once, however many slots: weights, a chunk at the head, workspaces."""
    slot_bytes: int
    """What one more slot adds."""
    fits_two: bool
    """Whether two slots fitted; where they did not, ``slot_bytes`` is all that one was seen to add."""


def meter_of(device: torch.device) -> Meter | None:
    """Return the meter of a device, None for a CPU, whose allocator keeps no account."""
    return CudaMeter(device) if device.type == "cuda" else None


def fit(*, weights: int, one: int, two: int | None) -> Footprint:
    """Return the line through the peaks of one slot and of two; ``two`` is None where they did not fit.

    >>> fit(weights=100, one=130, two=155)
    Footprint(once_bytes=105, slot_bytes=25, fits_two=True)
    >>> fit(weights=100, one=130, two=None)
    Footprint(once_bytes=100, slot_bytes=30, fits_two=False)
    """
    slot = one - weights if two is None else two - one
    # What is there once is no less than the weights: a first slot that seems cheap is noise.
    slot = max(1, min(slot, one - weights))
    return Footprint(once_bytes=one - slot, slot_bytes=slot, fits_two=two is not None)


def measure(
    base: BaseModel,
    geometry: Geometry,
    data: TokenizedData,
    order: Indices,
    eval_sets: dict[int, EvalSet],
    meter: Meter,
    *,
    dropout: bool = True,
) -> Footprint:
    """Live the heaviest moments with one slot, then with two; raises where not even one fits.

    ``order`` is ``[micro_steps, m]`` the examples of one round.
    """

    def peak(slots: int) -> int:
        meter.reset()
        pack = Pack(base, geometry, slots)
        try:
            live(pack, geometry, data, order, eval_sets, pass_tokens=0, dropout=dropout)
            return meter.peak()
        finally:
            pack.close()

    weights = weight_bytes(base.model)
    one = peak(1)
    two = None
    try:
        two = peak(2)
    except RuntimeError as error:  # libraries of CUDA say it in words alone
        if not ran_out_of_memory(error):
            raise
    meter.reset()  # hands back what the two needed, whose shapes nobody needs again
    return fit(weights=weights, one=one, two=two)


def live(
    pack: Pack,
    geometry: Geometry,
    data: TokenizedData,
    order: Indices,
    eval_sets: dict[int, EvalSet],
    *,
    pass_tokens: int,
    dropout: bool,
) -> None:
    """Live a study's heaviest moments with all slots: its longest micro-step, a step, its longest evaluation.

    Slots go through the base model in groups, as in a session. ``order`` is as of ``measure``.
    """
    pack.fill()
    slots, device = pack.slots, pack.params.device
    micro_step = longest_micro_step(geometry)
    chosen = order[micro_step]
    # Dropout keeps a copy of what each layer is given.
    own = Dropout(p=0.1, seed=0, position=0) if dropout else None
    length = geometry.micro_step_lengths[micro_step]
    for rows in groups(slots, len(chosen) * length, pass_tokens):
        trials = rows.stop - rows.start
        batch = collate(data.train, [chosen] * trials, length, device)
        pack.accumulate(batch, [own] * trials, rows)
    still = Step(number=1, learning_rate=0.0, weight_decay=0.0, lr_ratio_b=1.0)
    adamw(
        list(pack.params),
        list(pack.grads),
        list(pack.exp_avg),
        list(pack.exp_avg_sq),
        [still] * slots,
        b_start=pack.layout.b_start,
    )
    for eval_set in eval_sets.values():
        for rows in groups(slots, eval_set.tokens, pass_tokens):
            eval_set.measure_longest(pack, rows)


def longest_micro_step(geometry: Geometry) -> int:
    """Return the number of the micro-step whose rows are longest."""
    return max(
        range(len(geometry.micro_step_lengths)),
        key=lambda micro_step: geometry.micro_step_lengths[micro_step],
    )
