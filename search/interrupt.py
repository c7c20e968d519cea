"""How a search is asked to end: the one thing that a signal handler may touch."""

from __future__ import annotations


class StopSignal:
    """Counts requests to end; safe to call from a signal handler."""

    def __init__(self) -> None:
        self._requests = 0

    def request(self) -> None:
        """Ask to end: once for the next boundary if that is near, twice for now."""
        self._requests += 1

    @property
    def requested(self) -> bool:
        """Whether the search was asked to end."""
        return self._requests > 0

    @property
    def immediate(self) -> bool:
        """Whether it was asked twice."""
        return self._requests > 1
