"""One trial's curve, read for a person by stated rules: healthy, overfitting, unstable and so on.

Pure: a curve in, a word and its reason out; docs/curves.md says where each threshold comes from. Knows
nothing of studies; curve_counts.py makes the curves of one.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
from collections.abc import Mapping
from typing import Literal

from ..nouns import numbered
from ..study.budget import ROUNDS
from ..study.format import join, show_loss, show_share

Kind = Literal["healthy", "overfitting", "underfitting", "unstable", "diverged", "short"]
"""What a curve is called; ``short`` where too little of it is there."""

Gradients = Literal["exploding", "vanishing", "oscillating"]
"""What the norms of a trial's gradient may do that they should not."""

OVERFITTING = 0.02
"""Overfitting: the eval loss ends this share above its least, while the train loss went on falling."""

GAP = 2.0
"""Overfitting: the last eval loss is more than this many times the train loss of the last round."""

STILL_LEARNING = 0.15
"""Underfitting: this share of all that was gained came in the second half of the training, or more."""

GAINED = 0.02
"""Underfitting: less than this share of the base model's loss was gained."""

RISE = 0.1
"""Unstable: the train loss of a round lies this share of the base model's loss above an earlier one's."""

SPIKE = 4.0
"""Exploding: the gradient norm of a round is more than this many times an earlier round's; or than the median
of all, while less than half of the loss is gone: norms also fall where nothing is left to learn."""

SWING = 1.5
"""Oscillating: the norm rises or falls by this factor from round to round …"""

SWINGS = 3
"""… and turns this often."""

FADED = 0.1
"""Vanishing: the last norm is below this share of the greatest, though less than half of the loss is gone."""

LEAST_ROUNDS = 4
"""A shorter curve is not judged, but where it diverged."""

ADVICE: dict[Kind, str] = {
    "healthy": "Nothing in it asks for a change.",
    "overfitting": "Train shorter or on more data, or try a lower rank, weight decay or dropout.",
    "underfitting": "Train longer, or try a higher learning rate or rank.",
    "unstable": "Try a lower learning rate, a longer warm-up or tighter clipping.",
    "diverged": "Try a learning rate three to ten times lower.",
    "short": f"It can be read from round {LEAST_ROUNDS} on.",
}
"""One sentence on what to do, by kind."""

COUNTED: tuple[Kind, ...] = ("healthy", "overfitting", "underfitting", "unstable", "diverged", "short")
"""The kinds in the order in which they are listed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """What was measured of one trial, round by round."""

    base: float
    """The base model's loss on the examples of ``evals``."""
    train: tuple[float | None, ...]
    """Mean train loss of each round; None where it was not finite."""
    norms: tuple[float | None, ...]
    """Mean norm of the gradient before clipping in each round; None where it was not finite."""
    evals: Mapping[int, float]
    """Round → eval loss, all of them on the same examples."""
    diverged: bool = False
    """Whether the trial was ended as diverged."""
    complete: bool = True
    """Whether it was trained to its end."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """What a curve is called, and why."""

    kind: Kind
    """The word."""
    why: str
    """The reason in words, with its numbers; begins in lower case, without a full stop."""
    gradients: tuple[Gradients, ...] = ()
    """What its gradient norms did that they should not."""

    @property
    def name(self) -> str:
        """The kind as a reader is told it."""
        return "too short to say" if self.kind == "short" else self.kind

    @property
    def sentence(self) -> str:
        """What it is, why, and what to do."""
        grads = f"; {join(self.gradients)} gradients" if self.gradients else ""
        return f"Its curve is {self.name}: {self.why}{grads}. {ADVICE[self.kind]}"


def read_curve(curve: Curve) -> Reading:
    """Name a curve; the gravest name that fits is taken.

    >>> read_curve(Curve(base=2.0, train=(1.5, 1.2, 1.1, 1.0), norms=(1.0, 0.9, 0.8, 0.7),
    ...                  evals={1: 1.4, 2: 1.15, 4: 1.1})).kind
    'healthy'
    """
    gradients = gradient_names(curve)
    if curve.diverged or None in curve.train:
        return Reading(kind="diverged", why="its loss left every bound", gradients=gradients)
    train = [loss for loss in curve.train if loss is not None]
    if len(train) < LEAST_ROUNDS:
        return Reading(kind="short", why=f"{numbered(len(train), 'round')} of {ROUNDS}", gradients=gradients)
    return (
        _unstable(curve, train, gradients)
        or _overfitting(curve, train, gradients)
        or _underfitting(curve, gradients)
        or _healthy(curve, gradients)
    )


def gradient_names(curve: Curve) -> tuple[Gradients, ...]:
    """Return what the norms of the gradient did that they should not."""
    found: list[Gradients] = []
    norms = [norm for norm in curve.norms if norm is not None]
    whole = len(norms) >= LEAST_ROUNDS
    train = [loss for loss in curve.train if loss is not None]
    learned = bool(train) and train[-1] < curve.base / 2
    high = whole and not learned and max(norms) > SPIKE * statistics.median(norms)
    if len(norms) < len(curve.norms) or high or (whole and _growth(norms) > SPIKE):
        found.append("exploding")
    if whole and norms[-1] < FADED * max(norms) and not learned:
        found.append("vanishing")
    if whole and _turns(norms) >= SWINGS:
        found.append("oscillating")
    return tuple(found)


def _growth(norms: list[float]) -> float:
    """Return the greatest norm over an earlier one."""
    return max(norms[at] / max(min(norms[:at]), 1e-12) for at in range(1, len(norms)))


def _turns(norms: list[float]) -> int:
    """Return how often the norms turn from a rise by ``SWING`` to a fall by it, or back."""
    turns, last = 0, 0
    for before, after in itertools.pairwise(norms):
        way = 1 if after > SWING * before else -1 if before > SWING * after else 0
        turns += bool(way and last and way != last)
        last = way or last
    return turns


def _unstable(curve: Curve, train: list[float], gradients: tuple[Gradients, ...]) -> Reading | None:
    rise, high = max((train[at] - min(train[:at]), at) for at in range(1, len(train)))
    if rise > RISE * curve.base:
        why = f"the train loss of round {high + 1} lies {show_loss(rise)} above an earlier round's"
    elif "exploding" in gradients:
        norms = [norm for norm in curve.norms if norm is not None]
        why = f"the gradient norms of its rounds lie between {min(norms):.3g} and {max(norms):.3g}"
    elif "oscillating" in gradients:
        why = "the gradient norm goes up and down from round to round"
    else:
        return None
    return Reading(kind="unstable", why=why, gradients=gradients)


def _overfitting(curve: Curve, train: list[float], gradients: tuple[Gradients, ...]) -> Reading | None:
    if len(curve.evals) < 2:
        return None
    *earlier, last = sorted(curve.evals)
    least = min(earlier, key=lambda number: curve.evals[number])
    over = curve.evals[last] / curve.evals[least] - 1
    if over > OVERFITTING and train[-1] < train[least - 1]:
        why = (
            f"on the first eval examples the eval loss was {show_loss(curve.evals[least])} after "
            f"round {least} and is {show_loss(curve.evals[last])} after round {last}; the train loss fell"
        )
    elif last == len(train) and curve.evals[last] > GAP * train[-1]:
        why = (
            f"on the first eval examples the eval loss is {show_loss(curve.evals[last])} after "
            f"round {last}, and the train loss in it {show_loss(train[-1])}"
        )
    else:
        return None
    return Reading(kind="overfitting", why=why, gradients=gradients)


def _underfitting(curve: Curve, gradients: tuple[Gradients, ...]) -> Reading | None:
    if not curve.evals or not curve.complete:
        return None
    last = max(curve.evals)
    gained = curve.base - curve.evals[last]
    if gained < GAINED * curve.base:
        why = f"of the base model's loss of {show_loss(curve.base)} it has gained {show_loss(gained)}"
        return Reading(kind="underfitting", why=why, gradients=gradients)
    half = curve.evals.get(last // 2)
    if half is None or (half - curve.evals[last]) < STILL_LEARNING * gained:
        return None
    share = show_share((half - curve.evals[last]) / gained)
    why = f"{share} of all that it gained came in the second half of its training"
    return Reading(kind="underfitting", why=why, gradients=gradients)


def _healthy(curve: Curve, gradients: tuple[Gradients, ...]) -> Reading:
    if not curve.complete:
        why = "the losses fell as far as it was trained"
    else:
        why = "the losses fell, and most of it early"
    return Reading(kind="healthy", why=why, gradients=gradients)
