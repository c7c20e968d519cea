"""Nouns behind numbers: one trial, three trials. Knows nothing of what is counted."""

from __future__ import annotations


def plural(number: int, noun: str) -> str:
    """Return a noun as it stands behind a number: ``trial`` behind 1, else ``trials``."""
    return noun if number == 1 else noun + "s"


def numbered(number: int, noun: str) -> str:
    """Return a number of things in digits alone, as tables and programs want it: ``1536 examples``."""
    return f"{number} {plural(number, noun)}"
