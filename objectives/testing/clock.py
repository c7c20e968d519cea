"""Where a fake worker's time comes from: as it is, or passing only when someone sleeps."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where a fake worker's time comes from."""

    def now(self) -> float:
        """Return seconds that only grow."""

    def sleep(self, seconds: float) -> None:
        """Let that much time pass."""


class RealClock:
    """Time as it is."""

    def now(self) -> float:
        """Return the monotonic clock."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)


class ManualClock:
    """Time that passes only when someone sleeps, and then at once."""

    def __init__(self, now: float = 0.0) -> None:
        self.time = now

    def now(self) -> float:
        """Return the time so far."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Move the time on."""
        self.time += seconds
