"""Rounds of loratune and its peers as Markdown, and against which peer is claimed."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

from throughput_parts.watching import Watched


@dataclasses.dataclass(frozen=True, kw_only=True)
class Side:
    """One side's run."""

    watched: Watched
    """Time and memory of all its processes, start-up included."""
    seconds: float
    """Seconds of the study alone: from the first process that began on a trial to the last that ended one."""
    losses: tuple[float, ...]
    """Final eval loss of each trial, in the order of the configurations."""
    start: str
    """What the start-up was spent on, in words."""
    device_peak: int | None = None
    """Most memory on the GPU, bytes; None without one."""
    notes: tuple[str, ...] = ()
    """What else there is to say."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Round:
    """Every side once."""

    ours: Side
    """loratune."""
    peers: dict[str, Side]
    """The peers by name."""


def strongest(rounds: Sequence[Round]) -> str:
    """Return the peer whose study took the least time, by its median over the rounds."""
    return min(
        rounds[0].peers, key=lambda name: statistics.median(each.peers[name].seconds for each in rounds)
    )


def report(name: str, trials: int, rounds: Sequence[Round]) -> str:
    """Return the rounds and what they come to."""
    lines = [f"{name}: {trials} trials in full, {len(rounds)} rounds", ""]
    lines += ["| round | side | trials/h | with start-up | start-up | processor time | peak PSS | peak RSS |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for number, each in enumerate(rounds, start=1):
        for label, side in {"loratune": each.ours, **each.peers}.items():
            seen = side.watched
            pace, whole = 3600 * trials / side.seconds, 3600 * trials / seen.wall
            cells = (number, label, f"{pace:.0f}", f"{whole:.0f}", f"{seen.wall - side.seconds:.1f} s")
            cells += (f"{seen.cpu:.0f} s", mib(seen.peak_pss), mib(seen.peak_rss))
            lines.append(f"| {' | '.join(map(str, cells))} |")
    for label, side in {"loratune": rounds[-1].ours, **rounds[-1].peers}.items():
        peak = () if side.device_peak is None else (f"peak on the GPU {mib(side.device_peak)}",)
        lines += ["", f"{label}: start-up {side.start}"]
        lines += [f"{label}: {note}" for note in (*side.notes, *peak)]
    lines += ["", "| against | trials per hour, times | with start-up | processor time, start-up included |"]
    lines += ["|---|---|---|---|"]
    for peer in rounds[0].peers:
        sides = [(each.ours, each.peers[peer]) for each in rounds]
        paces = summary([b.seconds / a.seconds for a, b in sides])
        walls = summary([b.watched.wall / a.watched.wall for a, b in sides])
        spent = summary([b.watched.cpu / a.watched.cpu for a, b in sides])
        lines.append(f"| {peer} | {paces} | {walls} | {spent} |")
    best = strongest(rounds)
    ratio = summary([each.peers[best].seconds / each.ours.seconds for each in rounds])
    measured = "the strongest of them" if len(rounds[0].peers) > 1 else "the only peer that was measured"
    lines += ["", f"against {best}, {measured}: {ratio} times the trials per hour"]
    return "\n".join(lines)


def summary(ratios: Sequence[float]) -> str:
    """Return the median and the range."""
    return f"{statistics.median(ratios):.2f} (rounds: {', '.join(f'{ratio:.2f}' for ratio in ratios)})"


def mib(size: float) -> str:
    """Return bytes in words."""
    return f"{size / 2**20:,.0f} MiB" if size >= 10 * 2**20 else f"{size / 2**20:.1f} MiB"
