"""Nouns behind numbers, and how a whole number is written for people. Knows nothing of what is counted."""

from __future__ import annotations


def grouped(number: int) -> str:
    """Return a whole number as all that people read has it: ``1,536``.

    What is to be typed again, such as the value of a flag, and JSON have digits alone.
    """
    return f"{number:,}"


def plural(number: int, noun: str) -> str:
    """Return a noun as it stands behind a number: ``trial`` behind 1, else ``trials``."""
    return noun if number == 1 else noun + "s"


def numbered(number: int, noun: str) -> str:
    """Return a number of things: ``1 trial``, ``1,536 examples``."""
    return f"{grouped(number)} {plural(number, noun)}"
