"""What plots in plain text share: bars, little curves, lines that are broken at spaces."""

from __future__ import annotations

EIGHTHS = " ▏▎▍▌▋▊▉█"
LEVELS = "▁▂▃▄▅▆▇█"
ROWS = 12
"""Height of a drawn field."""
MOST = 20
"""Rows of a listing, the best first."""


def bar(share: float, width: int) -> str:
    """Return a bar of ``share`` (0 to 1) of ``width`` cells, in eighths of a cell.

    >>> bar(0.5, 4)
    '██'
    """
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def spark(losses: tuple[float, ...]) -> str:
    """Return losses as a row of blocks, each as high as its loss."""
    low, high = min(losses), max(losses)
    if high <= low:
        return LEVELS[0] * len(losses)
    return "".join(LEVELS[round((loss - low) / (high - low) * 7)] for loss in losses)


def wrapped(text: str, width: int) -> list[str]:
    """Break text at spaces; a word longer than the width is cut rather than let over it."""
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if len(joined) <= width or not lines[-1]:
            lines[-1] = joined[:width]
        else:
            lines.append(word[:width])
    return lines
