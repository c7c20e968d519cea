"""To which rank a trial's adapter is computed: the least of the study's groups that holds its own rank.

A trial's group follows from its own rank alone, so on a CPU, where another rank of the product may give
other last digits, its numbers do not depend on who shares the pack. On a GPU, whose products round by how
many rows they have in any case, all trials of a pass are computed to the highest group among them: one
product for all of them is handed out sooner than one for each group. Knows ranks only; holds no numbers.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

LEAST = 16
"""The first group. Fewer columns take a CPU no less time, and round otherwise (docs/log.md)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """Trials next to each other that are computed to one rank, in one product."""

    start: int
    """The first of their rows of the pack."""
    stop: int
    """The row after the last."""
    rank: int
    """The rank."""

    @property
    def rows(self) -> slice:
        """Their rows of the pack."""
        return slice(self.start, self.stop)


def rank_groups(rank_max: int) -> tuple[int, ...]:
    """Return the groups of a new study: 16 and its doubles below the highest rank, and that.

    Example:
        >>> rank_groups(64), rank_groups(8)
        ((16, 32, 64), (8,))
    """
    doubles = itertools.takewhile(
        lambda rank: rank < rank_max, (LEAST << times for times in itertools.count())
    )
    return (*doubles, rank_max)


def group_of(rank: int, groups: Sequence[int]) -> int:
    """Return the least of the groups that holds a rank."""
    return min(group for group in groups if group >= rank)


def runs(groups: Sequence[int], rows: slice, *, together: bool) -> tuple[Run, ...]:
    """Cut a pass into runs.

    Args:
        groups: ``[K]`` the group of each row of the pack.
        rows: those of the pass.
        together: whether all of them are computed to the highest group among them.
    """
    own = groups[rows]
    if together:
        return (Run(start=rows.start, stop=rows.stop, rank=max(own)),)
    found = []
    start = rows.start
    for rank, alike in itertools.groupby(own):
        stop = start + len(list(alike))
        found.append(Run(start=start, stop=stop, rank=rank))
        start = stop
    return tuple(found)
