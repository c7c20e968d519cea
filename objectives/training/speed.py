"""How fast a worker trains with all its slots in use: a few micro-steps that are thrown away.

They are there for the plan's hours and a search's patience, so no more are trained than that needs. On a
GPU all slots are filled, so that memory runs out here or not at all. On a CPU that arithmetic keeps busy,
trials do not make each other faster, and filling the slots would take as long as a piece of training.
"""

from __future__ import annotations

import statistics
import time

from ...study.facts import Geometry
from ..data.dataset import TokenizedData
from .batches import collate
from .groups import groups
from .pack import Pack
from .probe import longest_micro_step
from .replay import SEEN
from .stream import Indices

LONG_ENOUGH = 0.5
"""Seconds of one trial's micro-step past which it alone tells a CPU's speed: little of it is warming up."""
BUSY = 0.05
"""Seconds of one trial's micro-step past which a CPU is busy with arithmetic: two trials tell the rest."""


def measure_speed(
    pack: Pack,
    data: TokenizedData,
    order: Indices,
    geometry: Geometry,
    pass_tokens: int,
    known: float | None = None,
    *,
    trials: int | None = None,
    brief: bool = False,
) -> float:
    """Return training examples per second with all slots in use, or with so many ``trials``.

    Measured on three micro-steps of middling length after the longest, which warms up, or on one where it is
    to be ``brief``; on a CPU by as few trials as tell. Where the speed is ``known``, only what may run out of
    memory is tried. ``order`` is ``[micro_steps, m]`` the examples of one round.
    """
    trials = trials or pack.slots
    micro_batch: int = order.shape[1]
    device = pack.params.device
    lengths = geometry.micro_step_lengths
    micro_steps = sorted(range(len(order)), key=lambda micro_step: lengths[micro_step])
    longest = longest_micro_step(geometry)
    chosen = [micro_steps[len(micro_steps) * share // 4] for share in ((2,) if brief else (1, 2, 3))]

    def train(trials: int, *numbers: int) -> float:
        pack.active = trials
        started = time.perf_counter()
        for micro_step in numbers:
            length = lengths[micro_step]
            for rows in groups(trials, micro_batch * length, pass_tokens):
                together = rows.stop - rows.start
                batch = collate(data.train, [order[micro_step]] * together, length, device)
                losses = pack.accumulate(batch, [None] * together, rows)
            losses[0, 0].item()
        return time.perf_counter() - started

    def measure() -> float:
        if device.type == "cpu":
            alone = train(1, longest)
            if alone > LONG_ENOUGH:
                return micro_batch / alone * lengths[longest] / statistics.mean(lengths)
            if alone > BUSY:
                two = min(2, trials)
                return two * micro_batch / train(two, chosen[len(chosen) // 2])
        train(trials, longest)
        if pack.replays is not None:  # as fast as it will be once its shapes have come a few times
            # What is recorded is compared with what was run, and zeros would hide an adapter's part of it.
            pack.params.normal_(std=0.02)
            pack.scales.fill_(1.0)
            train(trials, *chosen * (SEEN + 1))
        return len(chosen) * trials * micro_batch / train(trials, *chosen)

    if known is None:
        speed = measure()
    else:
        speed = known
        train(trials, longest)
    for row in range(pack.slots):
        pack.clear(row)
    pack.active = 0
    return speed
