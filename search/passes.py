"""How a worker goes through a round of its trials: in one pass, or in several after it has died.

Pure: (state, what happened) → (state, what follows). In how many passes a round is trained changes no
number and no decision, because a round is judged when all of its trials have ended it. So a death costs
time alone; only memory that ran out changes how many trials there are at once, and that is recorded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Literal

from .bisect import ALONE_DEATHS, Suspicion, after_death, after_survival, without

ALONE_KILLS = 10
"""A trial alone fails after so many deaths in a row where another process ended the worker each time: that
says little of the trial, but a search must not go round for ever."""

LONGEST_WAIT = 64
"""Good rounds, at most, before a worker that died with many trials is given as many again."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Passes:
    """Where one worker stands."""

    slots: int
    """K: the most trials at once that its memory takes, as far as is known."""
    limit: int
    """The most at once for now: fewer than ``slots`` after deaths that no single trial was to blame for."""
    suspicion: Suspicion = dataclasses.field(default_factory=Suspicion)
    """Which trials are tried apart because the worker died."""
    halved: tuple[int, ...] = ()
    """The pack that was halved, as long as none of it was found to be to blame."""
    lived: int = 0
    """The most trials of it that lived through a pass together."""
    wait: int = 0
    """Good rounds to go before ``limit`` is doubled."""
    longer: int = 1
    """How many good rounds the next such wait takes; doubles, so that a true limit is seldom tried."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Response:
    """What follows from a worker's death."""

    passes: Passes
    """Where the worker stands now."""
    blamed: int | None = None
    """The trial that fails."""
    state: Literal["failed", "infeasible"] = "failed"
    """How it fails: ``infeasible`` where it does not fit into memory, even alone."""
    slots: int | None = None
    """K from now on, where memory ran out with more; None leaves it."""


def beginning(slots: int) -> Passes:
    """Return where a worker of so many slots begins."""
    return Passes(slots=slots, limit=slots)


def next_pass(passes: Passes, pending: Sequence[int]) -> tuple[int, ...]:
    """Return who is trained next, of the trials whose round has not ended.

    >>> next_pass(beginning(2), [3, 5, 8])
    (3, 5)
    """
    for group in passes.suspicion.groups:
        if left := tuple(number for number in group if number in pending):
            return left
    return tuple(pending[: passes.limit])


def after_worker_died(
    passes: Passes, pack: tuple[int, ...], *, out_of_memory: bool = False, killed: bool = False
) -> Response:
    """Return what follows where a worker died in a pass with that pack.

    ``killed`` says that another process ended it, which accuses a trial less.
    """
    if out_of_memory:
        if len(pack) == 1:
            return Response(passes=after_leaving(passes, pack[0]), blamed=pack[0], state="infeasible")
        fewer = after_prepare_ran_out(passes, len(pack))
        return Response(passes=fewer, slots=fewer.slots)
    lives = ALONE_KILLS if killed else ALONE_DEATHS
    suspicion, blamed = after_death(passes.suspicion, pack, lives)
    halved = passes.halved
    if blamed is None and not halved and suspicion.groups[0] != pack:
        halved = pack
    if blamed is not None:
        halved = ()
    lived = passes.lived if passes.suspicion.groups else 0
    after = dataclasses.replace(passes, suspicion=suspicion, halved=halved, lived=lived)
    return Response(passes=after, blamed=blamed)


def after_prepare_ran_out(passes: Passes, tried: int) -> Passes:
    """Return where a worker stands whose memory ran out with so many slots, more than one: half of them."""
    fewer = max(1, tried // 2)
    return dataclasses.replace(passes, slots=fewer, limit=fewer, suspicion=Suspicion(), halved=())


def after_pass(passes: Passes, pack: int) -> Passes:
    """Return where a worker stands after a pass that it lived through with so many trials."""
    if not passes.suspicion.groups:
        return passes
    suspicion = after_survival(passes.suspicion)
    passes = dataclasses.replace(passes, suspicion=suspicion, lived=max(passes.lived, pack))
    if suspicion.groups:
        return passes
    if len(passes.halved) > 1:
        # Each part lives and the whole died: chance, or their number, as where memory runs out unsaid.
        passes = dataclasses.replace(
            passes,
            limit=max(1, min(passes.lived, len(passes.halved) - 1)),
            wait=passes.longer,
            longer=min(2 * passes.longer, LONGEST_WAIT),
        )
    return dataclasses.replace(passes, halved=(), lived=0)


def after_round(passes: Passes) -> Passes:
    """Return where a worker stands after a whole round of its trials: in time it is given more again."""
    if passes.limit >= passes.slots:
        return passes if passes.longer == 1 else dataclasses.replace(passes, longer=1)
    if passes.wait > 1:
        return dataclasses.replace(passes, wait=passes.wait - 1)
    return dataclasses.replace(passes, limit=min(passes.slots, 2 * passes.limit), wait=0)


def after_leaving(passes: Passes, trial: int) -> Passes:
    """Return where a worker stands once a trial has left it for another reason."""
    return dataclasses.replace(passes, suspicion=without(passes.suspicion, trial))


def spread(places: Sequence[Sequence[int]], loose: Collection[int], *, level: bool) -> list[list[int]]:
    """Return who is to be trained by which worker, ``loose`` trials included.

    Everyone stays, unless the loads are to be made ``level``. Where a trial is trained changes nothing.

    >>> spread([[0, 1, 2], []], [5], level=True)
    [[0, 1], [2, 5]]
    """
    found = [sorted(place) for place in places]
    moving = set(loose)
    if level:
        most = -(-(sum(map(len, found)) + len(moving)) // len(found))
        moving.update(number for place in found for number in place[most:])
        found = [place[:most] for place in found]
    for number in sorted(moving):
        min(found, key=len).append(number)
    return [sorted(place) for place in found]
