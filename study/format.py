"""Numbers and names as a person reads them; shared by the terminal, the page and the exports."""

from __future__ import annotations

from typing import Any

from ..nouns import grouped, numbered
from .records import Standing
from .samplers import SAMPLERS


def show_state(state: Standing, live: bool) -> str:
    """Return a trial's state in a word; what has not ended in a study that nobody runs is ``interrupted``."""
    return "interrupted" if state == "running" and not live else state


def show_source(source: str) -> str:
    """Return who proposed a trial, in words."""
    return {
        "default": "the known-good default",
        "enqueued": "listed before the search began",
        "startup": "startup: spread over the space, before the sampler goes by losses",
        **{kind.name: kind.proposed for kind in SAMPLERS.kinds},
    }.get(source, source)


def show_value(value: Any) -> str:
    """Return a hyperparameter's value, floats to three digits: ``0.0123``, ``4e-05``, ``true``."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e6):
        return str(int(value))
    return f"{value:.3g}"


def show_loss(value: float | None) -> str:
    """Return a loss to four decimals, a dash for none."""
    return "–" if value is None else f"{value:.4f}"


def show_share(share: float) -> str:
    """Return a share in percent, with a space that does not break: ``62 %``, ``0.4 %``."""
    percent = 100 * share
    number = f"{percent:.0f}" if percent >= 1 or percent == 0 else f"{percent:.2g}"
    return number + "\u00a0%"


def show_count(number: int) -> str:
    """Return a whole number with commas between thousands."""
    return grouped(number)


def counted(number: int, noun: str) -> str:
    """Return a number of things: ``1 trial``, ``1,536 examples``."""
    return numbered(number, noun)


def have_ended(ended: int, wanted: int) -> str:
    """Return how far a study is: ``1 of 1 trial has ended``, ``3 of 8 trials have ended``."""
    return f"{show_count(ended)} of {counted(wanted, 'trial')} {'has' if wanted == 1 else 'have'} ended"


def show_seconds(seconds: float, *, about: bool = False) -> str:
    """Return a length of time: ``42 s``, ``3 min 20 s``, ``2 h 5 min``.

    ``about``: an estimate, which is told to the minute from a minute on, and is never of no time at all.
    """
    whole = round(seconds)
    if about:
        whole = max(1, whole) if whole < 60 else 60 * round(whole / 60)
    if whole < 60:
        return f"{whole} s"
    large, small, names = (whole // 60, whole % 60, ("min", "s"))
    if large >= 60:
        large, small, names = large // 60, large % 60, ("h", "min")
    return f"{large} {names[0]}" + (f" {small} {names[1]}" if small else "")


def show_bytes(number: float) -> str:
    """Return an amount of memory: ``1.5 GiB``, ``100 bytes``."""
    return _scaled(number, (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)), " ") or f"{number:.0f} bytes"


def show_numbers(dtype: str, bits: int | None) -> str:
    """Return in what a base model is held: ``float32``, ``bfloat16, linear layers in 4 bits``."""
    return dtype if bits is None else f"{dtype}, linear layers in {bits} bits"


def show_short(number: int) -> str:
    """Return a large number in short: ``260K``, ``7.6B``."""
    return _scaled(number, (("B", 10**9), ("M", 10**6), ("K", 10**3)), "") or str(number)


def _scaled(number: float, units: tuple[tuple[str, int], ...], between: str) -> str | None:
    """Return a number in its largest unit, with three digits and never as a power of ten; None below all."""
    for unit, factor in units:
        if (value := number / factor) >= 1:
            return (f"{value:.3g}" if value < 999.5 else f"{value:.0f}") + between + unit
    return None


def join(words: list[str] | tuple[str, ...]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    if len(words) < 2:
        return "".join(words)
    return ", ".join(words[:-1]) + " and " + words[-1]
