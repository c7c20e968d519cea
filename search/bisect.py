"""Which trial kills its worker: found by halving the pack, as pure steps on tuples of numbers."""

from __future__ import annotations

import dataclasses

PACK_DEATHS = 2
"""After this many deaths in a row a pack is halved: the first one may be mere chance."""

ALONE_DEATHS = 3
"""A trial alone in its worker fails once it has seen this many deaths in a row; a halved pack's trials
begin with one, so this is two deaths alone."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suspicion:
    """Which packs of one worker are to be tried apart, the first of them now."""

    groups: tuple[tuple[int, ...], ...] = ()
    """Trials to run apart, group after group; empty while there is nothing to suspect."""
    deaths: int = 0
    """Deaths in a row that the trials of the first group have seen."""


def after_death(
    suspicion: Suspicion, pack: tuple[int, ...], lives: int = ALONE_DEATHS
) -> tuple[Suspicion, int | None]:
    """Return what to try next after a worker died with that pack, and the trial that is to blame if clear.

    A trial alone is blamed after ``lives`` deaths in a row.

    >>> first, _ = after_death(Suspicion(), (1, 2, 3))
    >>> second, _ = after_death(first, (1, 2, 3))
    >>> second.groups
    ((1,), (2, 3))
    """
    assert pack, "a worker without trials accuses none"
    others = suspicion.groups[1:]
    deaths = suspicion.deaths + 1
    if len(pack) == 1:
        if deaths < lives:
            return Suspicion(groups=(pack, *others), deaths=deaths), None
        return Suspicion(groups=others, deaths=1 if others else 0), pack[0]
    if deaths < PACK_DEATHS:
        return Suspicion(groups=(pack, *others), deaths=deaths), None
    half = len(pack) // 2
    return Suspicion(groups=(pack[:half], pack[half:], *others), deaths=1), None


def after_survival(suspicion: Suspicion) -> Suspicion:
    """Return what to try next after the first group ended a round alive: it is cleared."""
    others = suspicion.groups[1:]
    return Suspicion(groups=others, deaths=1 if others else 0)


def without(suspicion: Suspicion, trial: int) -> Suspicion:
    """Return the suspicion without a trial that has left the worker for another reason."""
    groups = tuple(tuple(other for other in group if other != trial) for group in suspicion.groups)
    left = tuple(group for group in groups if group)
    return Suspicion(groups=left, deaths=suspicion.deaths if left else 0)
