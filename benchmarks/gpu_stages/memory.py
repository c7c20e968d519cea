"""When memory runs out: a search on a GPU that is almost full must go on with fewer trials at once.

Most of the memory is taken here first, by plain allocations. Then a search asks for four trials at once:
where every micro-step is too large for that (memory runs out while a worker starts), and where only the
longest is (it would run out in the midst of a round). On a CPU nothing is taken and the second search runs
as it is.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import torch
from gpu_stages import steps
from gpu_stages.searching import Search
from gpu_stages.stage import MIB, Stage, make_base, make_config, make_geometry, save_model

SLOTS, ROWS, LONG, SHORT = 4, 4, 1024, 64
CONTEXT = 1500 * MIB
"""What the libraries of a worker hold on a GPU beside tensors."""
FITS = 2.5
"""So many slots have room at the longest micro-step."""


def run(stage: Stage) -> None:
    """Tell how both searches end."""
    folder, weights, slot = _write_model(stage)
    room = weights + CONTEXT + int(FITS * slot)
    if stage.device.type == "cuda":
        with stage.attempt("at the start"):
            _search(stage, "at the start", folder, _write_data(stage, "long", long_share=1.0), room)
    with stage.attempt("at the longest micro-step"):
        _search(
            stage, "at the longest micro-step", folder, _write_data(stage, "mixed", long_share=0.05), room
        )


def _search(stage: Stage, name: str, model: Path, data: Path, room: int) -> None:
    ballast = _fill(stage, room)
    trials = 3 if stage.toy else 8
    slots = 2 if stage.toy else SLOTS
    words = ["search", f"--trials={trials}", f"--model={model}", f"--data={data}", "--pruner=none"]
    words += [f"--device={stage.device.type}", "--workers=1", f"--slots={slots}", "--examples=64"]
    words += [
        "--eval-examples=16",
        "--set=batch_size=4,8",
        "--set=lora_rank=8",
        "--set=learning_rate=1e-5..1e-4:log",
    ]
    words += ["--no-gradient-checkpointing", "--seed=0"]
    search = Search(stage.folder / name.replace(" ", "-"), *words)
    try:
        code = search.wait()
    finally:
        search.kill()
        del ballast
        stage.free()
    if code != 0:
        raise RuntimeError(f"exit code {code}: {search.last_line()}")
    record = search.record()
    complete = sum(state == "complete" for state in record.states.values())
    failed = {} if complete == trials else {"failed": f"states {record.states}"}
    stage.tell(
        name,
        room_mib=round(room / MIB) if stage.device.type == "cuda" else "all",
        asked_slots=slots,
        first_slots=record.slots,
        trials=f"{complete} of {trials}",
        events=[kind for kind in record.events if kind not in ("created", "finished")],
        **failed,
    )


def _fill(stage: Stage, room: int) -> torch.Tensor | None:
    """Take all memory of the GPU but ``room`` bytes."""
    if stage.device.type != "cuda":
        return None
    stage.free()
    free, _ = torch.cuda.mem_get_info(stage.device)
    return torch.empty(max(0, free - room), dtype=torch.uint8, device=stage.device)


def _write_model(stage: Stage) -> tuple[Path, int, int]:
    """Write a model of random weights with the demo's tokenizer; return it, its bytes and a slot's."""
    base = make_base(stage, make_config(stage, "0.2B"))
    length = 64 if stage.toy else LONG
    geometry = make_geometry(base, rank=8, length=length)
    weights = steps.weight_bytes(base)
    slot = steps.estimate(base, geometry, slots=2, together=2, rows=ROWS, length=length)
    slot -= steps.estimate(base, geometry, slots=1, together=1, rows=ROWS, length=length)
    folder = save_model(stage, base)
    del base
    stage.free()
    return folder, weights, slot


def _write_data(stage: Stage, name: str, long_share: float) -> Path:
    """Write records whose answers are short, but for a share of them."""
    generator = random.Random(0)
    words = ("harbour", "master", "counts", "boats", "barrels", "before", "tide", "turns")
    long, short = (24, 4) if stage.toy else (LONG, SHORT // 4)
    lines = []
    for number in range(300):
        count = long if generator.random() < long_share else short
        answer = " ".join(generator.choice(words) for _ in range(count))
        lines.append(json.dumps({"instruction": f"Say something, number {number}.", "output": answer}))
    path = stage.folder / f"{name}.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path
