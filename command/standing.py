"""Where a search stands, in one line."""

from __future__ import annotations

from ..nouns import numbered
from ..study.events import BestTrial, StudyProgress
from ..study.format import show_bytes, show_loss, show_seconds


def standing(progress: StudyProgress) -> str:
    """Return how many trials ended how, how fast it goes and how long it will take."""
    return "  ".join((counts_line(progress), *rates(progress)))


def counts_line(progress: StudyProgress) -> str:
    """Return how many trials ended how: ``12/100 trials: 4 complete, 8 pruned``."""
    ended = [f"{count} {state}" for state, count in progress.counts.items() if count and state != "running"]
    going = progress.counts.get("running", 0)
    words = ", ".join([*ended, *([f"{going} running"] if going else [])])
    best = (
        f"; best {shown_best(progress.best)} (trial {progress.best.number}), "
        f"base {show_loss(progress.base_loss)}"
        if progress.best is not None
        else ""
    )
    return f"{progress.finished}/{numbered(progress.trials, 'trial')}: {words or 'none yet'}{best}"


def shown_best(best: BestTrial) -> str:
    """Return the loss of the best trial, and its score where it was selected by one."""
    return show_loss(best.value) + ("" if best.score is None else f", score {show_loss(best.score)}")


def rates(progress: StudyProgress) -> tuple[str, ...]:
    """Return speed, memory and time, in words."""
    found = []
    if progress.memory_bytes:  # once the workers have ended there is nothing to tell
        found += [f"{progress.tokens_per_second:,.0f} tokens/s", show_bytes(progress.memory_bytes)]
    if progress.trials_per_hour is not None:
        found.append(f"{progress.trials_per_hour:,.0f} trials/h")
    found.append(f"{show_seconds(progress.elapsed)} so far")
    if progress.seconds_left is not None and progress.running:
        found.append(f"about {show_seconds(progress.seconds_left, about=True)} left")
    return tuple(found)
