"""How often a search that nobody watches live says where it stands."""

from __future__ import annotations

import time

PLAIN_SECONDS = 15.0
"""Seconds between two such lines."""


class Pace:
    """Says when the next line is due; the first one is, once those seconds have passed."""

    def __init__(self) -> None:
        self._told = time.monotonic()

    def due(self) -> bool:
        """Return whether a line is due now, and count it as told."""
        now = time.monotonic()
        if now - self._told < PLAIN_SECONDS:
            return False
        self._told = now
        return True
