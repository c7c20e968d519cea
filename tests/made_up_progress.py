"""A made-up search in the middle, with numbers of thousands, and a console that is as wide as wanted."""

import io

from loratune.spaces.params import LoraParams
from loratune.study.events import StudyProgress, TrialProgress
from rich.console import Console


def printed(draw, width=160):
    out = Console(file=io.StringIO(), width=width, color_system=None)
    draw(out)
    return out.file.getvalue()


def progress():
    params = LoraParams(learning_rate=1e-3, batch_size=8, lora_rank=8, lora_alpha=16)
    trial = TrialProgress(
        worker=0,
        trial=1,
        params=params,
        examples=1_024,
        examples_total=12_288,
        train_loss=1.0,
        eval_loss=1.0,
        learning_rate=1e-3,
        grad_norm=1.0,
        state="train",
    )
    return StudyProgress(
        study="demo",
        trials=4_000,
        varied=("learning_rate",),
        counts={"complete": 1_200, "pruned": 1_300},
        running=(trial,),
        best=None,
        base_loss=3.0,
        tokens_per_second=123_456.7,
        memory_bytes=2**30,
        trials_per_hour=1_234.5,
        seconds_left=100.0,
        elapsed=10.0,
    )
