"""A micro-step at the shape of a model of eight billion weights: few trials, or many in groups."""

from __future__ import annotations

from gpu_stages import steps
from gpu_stages.stage import Stage, make_base, make_batch, make_config, make_geometry
from loratune.objectives.training.pack import Pack
from loratune.objectives.training.preparation import recompute_activations

ROWS, LENGTH, RANK = 4, 512, 16
CASES = (
    # trials, in groups of, whether activations are computed again; checkpointing stays on, so it is last
    (1, 1, False),
    (3, 3, False),
    (8, 2, False),
    (8, 8, True),
)


def run(stage: Stage) -> None:
    """Tell each case.

    A group is a pack of its own here: the rows of all are in memory, and one group computes at a time.
    """
    base = make_base(stage, make_config(stage, "8B"))
    for trials, group, checkpointing in CASES:
        geometry = make_geometry(
            base, rank=8 if stage.toy else RANK, length=length(stage), checkpointing=checkpointing
        )
        case = {"shape": "8B", "trials": trials, "groups_of": group, "checkpointed": checkpointing}
        case |= {"rows": ROWS, "length": length(stage)}
        with stage.attempt("micro-step", **case):
            if checkpointing:
                recompute_activations(base)
            stage.reset_peak()
            packs: list[Pack] = []
            try:
                packs.extend(steps.make_pack(base, geometry, group) for _ in range(trials // group))
                batches = [make_batch(base, trials=group, rows=ROWS, length=length(stage)) for _ in packs]
                timing = steps.measure(stage, base, packs, batches, repeats=3)
                # A group's activations, and the rows of all.
                said = steps.estimate(base, geometry, slots=group, rows=ROWS, length=length(stage))
                said += sum(4 * pack.params.nbytes for pack in packs[1:])
                stage.tell(
                    "micro-step",
                    **case,
                    **timing.told(stage, trials),
                    **steps.rate(base, geometry, trials * ROWS * length(stage), timing.whole),
                    **steps.memory_told(stage, said),
                )
            finally:
                for pack in packs:
                    steps.free(pack)


def length(stage: Stage) -> int:
    """Return the length in tokens, a toy's too."""
    return 32 if stage.toy else LENGTH
