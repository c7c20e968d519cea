"""A micro-step at the shape of a model of half a billion weights: trials, rows and lengths."""

from __future__ import annotations

from gpu_stages import steps
from gpu_stages.stage import Stage, make_base, make_batch, make_config, make_geometry

TRIALS, ROWS, LENGTHS, RANK = (1, 4, 16), (1, 4), (128, 512), 16


def run(stage: Stage) -> None:
    """Tell each combination."""
    base = make_base(stage, make_config(stage, "0.5B"))
    for length in lengths(stage):
        geometry = make_geometry(base, rank=8 if stage.toy else RANK, length=length)
        for rows in ROWS:
            for trials in TRIALS:
                case = {"shape": "0.5B", "trials": trials, "rows": rows, "length": length}
                with stage.attempt("micro-step", **case):
                    stage.reset_peak()
                    pack = steps.make_pack(base, geometry, trials)
                    try:
                        batch = make_batch(base, trials=trials, rows=rows, length=length)
                        timing = steps.measure(stage, base, [pack], [batch])
                        said = steps.estimate(base, geometry, slots=trials, rows=rows, length=length)
                        stage.tell(
                            "micro-step",
                            **case,
                            **timing.told(stage, trials),
                            **steps.rate(base, geometry, trials * rows * length, timing.whole),
                            **steps.memory_told(stage, said),
                        )
                    finally:
                        steps.free(pack)


def lengths(stage: Stage) -> tuple[int, ...]:
    """Return the lengths in tokens, a toy's too."""
    return (8, 32) if stage.toy else LENGTHS
