"""Where a search stands, in one line."""

from __future__ import annotations

from ..nouns import numbered
from ..study.events import BestTrial, StudyProgress
from ..study.format import show_bytes, show_count, show_loss, show_seconds
from ..study.records import NOT_ENDED


def standing(progress: StudyProgress) -> str:
    """Return how many trials ended how, how fast it goes and how long it will take."""
    return "  ".join((counts_line(progress), *rates(progress)))


def counts_line(progress: StudyProgress) -> str:
    """Return how many trials ended how: ``12/100 trials: 4 complete, 8 pruned``."""
    last = [(state, progress.counts.get(state, 0)) for state in NOT_ENDED]
    ended = [(state, count) for state, count in progress.counts.items() if state not in NOT_ENDED]
    words = ", ".join(f"{show_count(count)} {state}" for state, count in [*ended, *last] if count)
    best = (
        f"; best {shown_best(progress.best)} (trial {progress.best.number}), "
        f"base {show_loss(progress.base_loss)}"
        if progress.best is not None
        else ""
    )
    return f"{finished_of(progress)}: {words or 'none yet'}{best}"


def finished_of(progress: StudyProgress) -> str:
    """Return how many trials have ended: ``12/100 trials``."""
    return f"{show_count(progress.finished)}/{numbered(progress.trials, 'trial')}"


def waiting_line(progress: StudyProgress) -> str | None:
    """Return where trials wait: ``waiting: 9 after round 1 (the best 1.2345), 3 after round 2``."""
    rungs = sorted({one.round for one in progress.waiting})
    parts = []
    for rung in rungs:
        losses = [one.eval_loss for one in progress.waiting if one.round == rung]
        known = [loss for loss in losses if loss is not None]
        best = f" (the best {show_loss(min(known))})" if known else ""
        parts.append(f"{len(losses)} after round {rung}{best}")
    return f"waiting: {', '.join(parts)}" if parts else None


def shown_best(best: BestTrial) -> str:
    """Return the loss of the best trial, and its score where it was selected by one."""
    return show_loss(best.value) + ("" if best.score is None else f", score {show_loss(best.score)}")


def rates(progress: StudyProgress) -> tuple[str, ...]:
    """Return speed, memory and time, in words."""
    found = []
    if progress.memory_bytes:  # once the workers have ended there is nothing to tell
        found += [
            f"{show_count(round(progress.tokens_per_second))} tokens/s",
            show_bytes(progress.memory_bytes),
        ]
    # Before a trial has ended nobody knows how much of one is trained, nor what its end costs.
    known = progress.finished > 0
    if progress.trials_per_hour is not None and known:
        found.append(f"{show_count(round(progress.trials_per_hour))} trials/h")
    found.append(f"{show_seconds(progress.elapsed)} so far")
    if progress.seconds_left is not None and progress.running:
        left = f"about {show_seconds(progress.seconds_left, about=True)} left"
        found.append(left if known else "time left not known yet")
    return tuple(found)
