"""How fast a worker trains with all its slots in use: a few micro-steps that are thrown away.

They are there for the plan's hours and a search's patience, so no more are trained than that needs.
"""

from __future__ import annotations

import statistics
import time

from ...study.budget import Budget
from ...study.facts import Geometry
from ..data.dataset import TokenizedData
from .batches import collate
from .pack import Pack
from .probe import longest_micro_step
from .replay import SEEN
from .stream import Stream

LONG_ENOUGH = 0.5
"""Seconds of a micro-step past which a CPU's speed is read from it alone: warming up is little of it."""


def measure_speed(
    pack: Pack, data: TokenizedData, budget: Budget, geometry: Geometry, known: float | None = None
) -> float:
    """Return training examples per second with all slots in use, from three micro-steps of middling length.

    The longest goes before them, as a warm-up, so that memory runs out here or not at all; it goes alone
    where the speed is ``known``, and where it says enough.
    """
    device = pack.params.device
    order = Stream(data.train.lengths, budget, 0).round(0)
    lengths = geometry.micro_step_lengths
    micro_steps = sorted(range(budget.micro_steps), key=lambda micro_step: lengths[micro_step])
    longest, chosen = (
        longest_micro_step(geometry),
        [micro_steps[len(micro_steps) * share // 4] for share in (1, 2, 3)],
    )
    rows = pack.slots * budget.micro_batch
    pack.fill()

    def train(*numbers: int) -> float:
        started = time.perf_counter()
        for micro_step in numbers:
            batch = collate(data.train, [order[micro_step]] * pack.slots, lengths[micro_step], device)
            pack.accumulate(batch, [None] * pack.slots)[0, 0].item()
        return time.perf_counter() - started

    seconds = train(longest)
    if known is not None:
        speed = known
    elif device.type == "cpu" and seconds > LONG_ENOUGH:
        speed = rows / seconds * lengths[longest] / statistics.mean(lengths)
    else:
        if pack.replays is not None:  # as fast as it will be once its shapes have come a few times
            # What is recorded is compared with what was run, and zeros would hide an adapter's part of it.
            pack.params.normal_(std=0.02)
            pack.scales.fill_(1.0)
            train(*chosen * (SEEN + 1))
        speed = len(chosen) * rows / train(*chosen)
    for row in range(pack.slots):
        pack.clear(row)
    pack.active = 0
    return speed
