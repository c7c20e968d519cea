"""How many slots fit into memory and how many of them train at once: as predicted, and as it was seen.

Pure arithmetic on a study's demand and a device's free bytes.
"""

from __future__ import annotations

import dataclasses

from ...study.memory import MemoryFacts
from .. import memory
from .demand import Demand
from .groups import at_once
from .probe import Footprint

SLOTS_GPU = 32
"""Slots of a worker on a GPU, at most."""


def predicted(demand: Demand, pass_tokens: int, available: int) -> MemoryFacts:
    """Return what a worker holds, as it is predicted, and how many slots of it fit."""
    one, two = demand.parts(slots=1, pass_tokens=0), demand.parts(slots=2, pass_tokens=0)
    row = two.always - one.always
    training = max(1, two.peak - one.peak - row)
    once = one.peak - row - training
    slots, together = memory.slots_and_groups(
        available, once, row=row, training=training, at_once=at_once(SLOTS_GPU, demand.tokens, pass_tokens)
    )
    return MemoryFacts(
        base_bytes=demand.weights,
        slot_bytes=row + training,
        available_bytes=available,
        slots_max=slots if pass_tokens else together,  # without groups, all train at once
        worker_bytes=max(0, once - demand.weights),
        row_bytes=row,
        together=together,
    )


def with_process(held: MemoryFacts, process: int, before: int) -> MemoryFacts:
    """Return what a worker on a CPU holds with its own ``process`` in it, which held ``before`` at first."""
    return dataclasses.replace(
        held,
        worker_bytes=held.worker_bytes + process,
        available_bytes=held.available_bytes + before,
    )


def measured(estimated: MemoryFacts, seen: Footprint, demand: Demand, pass_tokens: int) -> MemoryFacts:
    """Return what a worker holds as it was seen, in place of what was estimated."""
    row = min(estimated.row_bytes, seen.slot_bytes)
    fits, together = memory.slots_and_groups(
        estimated.available_bytes,
        seen.once_bytes,
        row=row,
        training=seen.slot_bytes - row,
        at_once=at_once(SLOTS_GPU, demand.tokens, pass_tokens) if seen.fits_two else 1,
    )
    return dataclasses.replace(
        estimated,
        slot_bytes=seen.slot_bytes,
        row_bytes=row,
        together=together,
        worker_bytes=seen.once_bytes - estimated.base_bytes,
        slots_max=fits if pass_tokens else together,
    )


def takes_twice(held: MemoryFacts, slots: int) -> bool:
    """Say whether twice the slots would fit, twice as many of them at once."""
    twice = dataclasses.replace(held, together=2 * min(slots, held.together or slots))
    return twice.held(2 * slots) <= held.available_bytes * (1 - memory.HEADROOM)
