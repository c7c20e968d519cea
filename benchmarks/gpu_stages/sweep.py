"""A micro-step at the shape of 0.5B over everything that a study may choose: trials, batch and length.

The trials go through the base in groups of as many tokens as keep a GPU busy.
"""

from __future__ import annotations

from gpu_stages import steps
from gpu_stages.stage import Stage, make_base, make_config, make_geometry

TRIALS, ROWS, LENGTHS, RANK = (1, 2, 4, 8, 16, 32, 64), (1, 4, 16), (512, 2048), 16
MOST = 32_768
"""Tokens of a micro-step past which nothing new is learnt."""


def run(stage: Stage) -> None:
    """Tell each combination."""
    base = make_base(stage, make_config(stage, "0.5B"))
    for rows, length in batches(stage):
        geometry = make_geometry(base, rank=8 if stage.toy else RANK, length=length)
        for trials in (1, 2) if stage.toy else TRIALS:
            if trials * rows * length > MOST:
                continue
            group = 1 if stage.toy else steps.group_of(trials, rows, length)
            case = {"shape": "0.5B", "trials": trials, "groups_of": group, "rows": rows, "length": length}
            with stage.attempt("micro-step", **case):
                steps.micro_step(stage, base, geometry, case, repeats=2, replays=True)


def batches(stage: Stage) -> list[tuple[int, int]]:
    """Return rows and lengths in tokens, a toy's too."""
    if stage.toy:
        return [(1, 8), (4, 32)]
    return [(rows, length) for length in LENGTHS for rows in ROWS]
