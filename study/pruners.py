"""Who may stop bad trials early, and what each goes by; ``search/pruners/`` has a file for each.

docs/search.md says in plain words what they do. Imports no library, so that help can name them at once.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import ClassVar

from .budget import RUNGS
from .settings import Registry, Settings, whole

STOP_RUNGS = RUNGS[:-1]
"""Where a trial may be stopped: after the last rung there is nothing left to save."""


WHOLE_AT_FIRST = 12
"""About so many trials run whole before there are others to be compared with, eight of them at once."""


def _after_the_first(share: float, trials: int) -> float:
    """Return the share of all trials where that of the later ones is ``share``."""
    return share + (1 - share) * min(1.0, WHOLE_AT_FIRST / max(1, trials))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrunerSettings(Settings):
    """What one pruner goes by."""

    stops: ClassVar[bool] = True
    """Whether it ever stops a trial."""

    def trained_share(self, trials: int) -> float:  # noqa: ARG002
        """Return what is trained of so many trials, as a share of all of them whole; see docs/log.md."""
        return 1.0

    def finishing_share(self, trials: int) -> float:
        """Return how many of so many trials run to their end, as a share; at most, where nobody counted."""
        return self.trained_share(trials)

    pausing: ClassVar[bool] = False
    """Whether it lets trials wait at a rung, without a place, until others prove worse."""

    @property
    def one_in(self) -> int:
        """One in so many of all that reached a rung goes on, where it is pausing."""
        return 1

    def pauses_at(self, round_number: int) -> bool:
        """Return whether trials give up their place after that round."""
        return self.pausing and self.compared_at <= round_number and round_number in STOP_RUNGS

    @property
    def compared_at(self) -> int:
        """The first rung where any trial is stopped, so that all have a loss there; 2 where none is."""
        return int(vars(self).get("first", 2))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Halving(PrunerSettings):
    """Asynchronous successive halving, the stopping variant."""

    name = "halving"

    factor: int = whole(2, low=2, high=64)
    """Eta, the reduction factor: one in this many of all trials that ever reached a rung goes on. A greater
    one saves more, but stops good trials whose loss falls late."""
    first: int = whole(2, among=STOP_RUNGS)
    """The first rung where trials are stopped. Not 1 by default, where warm-up and the first steps still
    show."""
    peers: int = whole(4, low=1)
    """Nobody is stopped before this many others have reached the rung."""

    def trained_share(self, trials: int) -> float:  # noqa: ARG002
        """See above: as two studies had it with a factor of 2, less with a greater one as in replays.

        Where the first rung stops too, less again, as in replays with three peers.
        """
        return float((0.47 if self.first == 1 else 0.65) * (2 / self.factor) ** 0.44)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Promote(PrunerSettings):
    """Asynchronous successive halving, the promoting variant: who is not among the best waits."""

    name = "promote"
    pausing = True

    factor: int = whole(3, low=2, high=64)
    """Eta: a trial goes on from a rung once it is among the best one in this many of all that reached it."""
    first: int = whole(1, among=STOP_RUNGS)
    """The first rung where trials wait. A loss that falls late is no loss here: the trial may go on later."""

    @property
    def one_in(self) -> int:
        """See above."""
        return self.factor

    def trained_share(self, trials: int) -> float:
        """See above: a tenth more than if just one in ``factor`` went on each time, as in replays.

        The default runs whole, whatever becomes of it.
        """
        rungs = [rung for rung in RUNGS if rung >= self.first]
        rounds = float(self.first)
        for place, (rung, following) in enumerate(itertools.pairwise(rungs), 1):
            rounds += (following - rung) / self.factor**place
        return min(1.0, 1.1 * rounds / RUNGS[-1] + 0.75 / max(1, trials))

    def finishing_share(self, trials: int) -> float:
        """See above: one in ``factor`` at each rung, and the default."""
        waits = sum(rung >= self.first for rung in STOP_RUNGS)
        return min(1.0, float(self.factor) ** -waits + 1 / max(1, trials))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Median(PrunerSettings):
    """Worse than the median of the complete trials, as Optuna has it."""

    name = "median"

    complete: int = whole(5, low=1)
    """Nobody is stopped before this many trials are complete; five is Optuna's default."""
    first: int = whole(1, among=STOP_RUNGS)
    """The first rung where trials are stopped; Optuna stops from the first on."""

    def trained_share(self, trials: int) -> float:
        """See above: as in replays, where the first trials all run whole."""
        return _after_the_first(0.36, trials)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hyperband(PrunerSettings):
    """Successive halving in brackets that begin to stop at different rungs."""

    name = "hyperband"

    factor: int = whole(2, low=2, high=64)
    """Eta: one in this many of a bracket's trials goes on at each of its rungs."""
    first: int = whole(1, among=STOP_RUNGS)
    """The first rung of the first bracket; each other one begins a rung later, the last never stops."""
    peers: int = whole(4, low=1)
    """Nobody is stopped before this many others of the same bracket have reached the rung."""

    def trained_share(self, trials: int) -> float:
        """See above: as in replays, where the first trials all run whole."""
        return _after_the_first(0.68, trials)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoPruning(PrunerSettings):
    """Every trial runs to its end."""

    name = "none"
    stops = False


PRUNERS: Registry[PrunerSettings] = Registry(
    Halving,
    Promote,
    Median,
    Hyperband,
    NoPruning,
    before={"asha": Halving(factor=2, first=2, peers=4), "none": NoPruning()},
)
"""All of them."""
