"""A micro-step at the shape of a model of half a billion weights: trials, rows and lengths."""

from __future__ import annotations

from gpu_stages import steps
from gpu_stages.stage import Stage, make_base, make_config, make_geometry

TRIALS, ROWS, LENGTHS, RANK = (1, 4, 16), (1, 4), (128, 512), 16


def run(stage: Stage) -> None:
    """Tell each combination, all trials through the base at once."""
    base = make_base(stage, make_config(stage, "0.5B"))
    for length in lengths(stage):
        geometry = make_geometry(base, rank=8 if stage.toy else RANK, length=length)
        for rows in ROWS:
            for trials in TRIALS:
                case = {
                    "shape": "0.5B",
                    "trials": trials,
                    "groups_of": trials,
                    "rows": rows,
                    "length": length,
                }
                with stage.attempt("micro-step", **case):
                    steps.micro_step(stage, base, geometry, case)


def lengths(stage: Stage) -> tuple[int, ...]:
    """Return the lengths in tokens, a toy's too."""
    return (8, 32) if stage.toy else LENGTHS
