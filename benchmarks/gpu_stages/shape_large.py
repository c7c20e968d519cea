"""A micro-step at the shapes of 1.5 and 8 billion weights: few trials, or many in groups."""

from __future__ import annotations

from typing import Any

from gpu_stages import steps
from gpu_stages.stage import Stage, make_base, make_config, make_geometry
from loratune.objectives.training.recomputing import recompute_activations

ROWS, LENGTH, RANK = 4, 512, 16
CASES = (
    # shape, trials, in groups of, whether activations are computed again, which stays on and so is last
    ("1.5B", 1, 1, False),
    ("1.5B", 8, 4, False),
    ("8B", 1, 1, False),
    ("8B", 3, 3, False),
    ("8B", 8, 2, False),
    ("8B", 16, 2, False),
    ("8B", 8, 8, True),
)


def run(stage: Stage) -> None:
    """Tell each case: the rows of all trials are in memory, and one group computes at a time."""
    base: Any = None
    before = None
    for shape, trials, group, checkpointing in CASES:
        if shape != before:
            base = None
            stage.free()
            base, before = make_base(stage, make_config(stage, shape)), shape
        geometry = make_geometry(
            base, rank=8 if stage.toy else RANK, length=length(stage), checkpointing=checkpointing
        )
        case = {"shape": shape, "trials": trials, "groups_of": group, "checkpointed": checkpointing}
        case |= {"rows": ROWS, "length": length(stage)}
        with stage.attempt("micro-step", **case):
            if checkpointing:
                recompute_activations(base)
            steps.micro_step(stage, base, geometry, case, repeats=3)


def length(stage: Stage) -> int:
    """Return the length in tokens, a toy's too."""
    return 32 if stage.toy else LENGTH
