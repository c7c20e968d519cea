"""How much memory a worker takes: as ``objectives/memory.py`` predicts it, and as a process is seen to take.

    python benchmarks/memory.py                      ten shapes and settings, a process each

A CPU only, in the environment of a worker with one thread, random weights and tokens. Each process loads its
libraries first; from there on the growth of its resident size is measured, at its height in a study's
heaviest moments: all slots filled, the longest micro-step, a step of the optimizer, the longest evaluation.
It is a matter of bytes, so that a busy machine does not matter.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from loratune.objectives.data.dataset import Split, TokenizedData
from loratune.objectives.training import demand, probe
from loratune.objectives.training.evaluation import EvalSet
from loratune.objectives.training.model import hold
from loratune.objectives.training.pack import Pack
from loratune.objectives.training.recomputing import recompute_activations
from loratune.objectives.training.stream import Stream, micro_step_lengths
from loratune.objectives.training.targets import resolve_targets
from loratune.objectives.workers.environment import child_environment
from loratune.study.budget import plan_budget
from loratune.study.facts import Geometry
from transformers import AutoConfig, AutoModelForCausalLM

MIB = 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """What one process trains."""

    kind: str = "llama"
    """Architecture, as Transformers spells it."""
    hidden: int = 256
    """Width of the residual stream."""
    inner: int = 688
    """Width of the MLP."""
    layers: int = 8
    """Blocks."""
    heads: int = 8
    """Query heads."""
    groups: int = 4
    """Key heads."""
    vocab: int = 4096
    """Vocabulary."""
    slots: int = 8
    """K: trials that are held."""
    together: int = 8
    """G: trials that go through the base model at once."""
    rows: int = 4
    """Examples of a trial in a micro-step (m)."""
    length: int = 128
    """Longest example in tokens."""
    rank: int = 16
    """Rank of the adapters."""
    dropout: bool = False
    """Whether trials use dropout."""
    checkpointing: bool = False
    """Whether activations are recomputed."""
    targets: str = "all"
    """Which layers are adapted."""
    eager: bool = False
    """Whether attention keeps its scores."""
    window: int = 0
    """Width of a sliding window; 0: none."""
    dtype: str = "float32"
    """The base model's number type."""

    @property
    def words(self) -> str:
        """The setting in a cell of a table."""
        found = [f"{self.kind} {self.hidden}×{self.layers}", f"K {self.slots}", f"G {self.together}"]
        found += [f"m {self.rows}", f"T {self.length}", f"rank {self.rank}"]
        found += [
            name
            for name, said in (
                ("dropout", self.dropout),
                ("recomputed", self.checkpointing),
                ("eager", self.eager),
                (f"window {self.window}", self.window > 0),
                (self.targets, self.targets != "all"),
                (self.dtype, self.dtype != "float32"),
            )
            if said
        ]
        return ", ".join(found)


SETTINGS = (
    Setting(),
    Setting(together=2, slots=16),
    Setting(dropout=True, length=256, slots=4, together=4),
    Setting(kind="qwen2", hidden=512, inner=1376, layers=8, groups=2, vocab=8192, together=2, length=256),
    Setting(kind="qwen3", hidden=384, inner=1024, layers=6, vocab=32000, slots=6, together=3, rank=8),
    Setting(
        kind="llama", hidden=512, inner=1408, layers=4, rank=64, slots=16, together=4, rows=1, length=512
    ),
    Setting(checkpointing=True, layers=16, length=512, slots=4, together=4),
    Setting(kind="mistral", window=128, length=512, rows=2, slots=4, together=2),
    Setting(eager=True, length=384, slots=4, together=2, rows=2),
    Setting(
        targets="q_proj,v_proj", dropout=True, dtype="bfloat16", hidden=384, inner=1024, slots=8, together=4
    ),
)


LIBRARIES = 60 * 2**20
"""Bytes that computing itself adds to a process: code that is run for the first time, and the libraries' own
buffers. A worker has computed before its process is looked at."""


def measure(setting: Setting) -> dict[str, int]:
    """Return what one process was predicted and seen to take, beyond its libraries."""
    torch.set_num_threads(1)
    _warm_up()
    before = _reset()
    config = AutoConfig.for_model(
        setting.kind,
        vocab_size=setting.vocab,
        hidden_size=setting.hidden,
        intermediate_size=setting.inner,
        num_hidden_layers=setting.layers,
        num_attention_heads=setting.heads,
        num_key_value_heads=setting.groups,
        head_dim=setting.hidden // setting.heads,
        max_position_embeddings=4096,
        **({"sliding_window": setting.window} if setting.window else {}),
    )
    attention = "eager" if setting.eager else "sdpa"
    torch.set_default_dtype(getattr(torch, setting.dtype))
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    torch.set_default_dtype(torch.float32)
    base = hold(model, torch.device("cpu"), getattr(torch, setting.dtype), name_or_path="random")
    data = TokenizedData(
        train=_examples(512, setting),
        validation=_examples(64, setting),
        test=_examples(1, setting),
        summary=None,
    )
    budget = plan_budget(
        [setting.rows], train_examples=512, validation_examples=64, examples=64 * setting.rows
    )
    geometry = Geometry(
        rank_max=setting.rank,
        micro_step_lengths=micro_step_lengths(data.train.lengths, budget, 0),
        eval_rows=8,
        targets=resolve_targets(base.model, setting.targets.split(",")),
        dtype=setting.dtype,
        attn_implementation=attention,
        gradient_checkpointing=setting.checkpointing,
    )
    if setting.checkpointing:
        recompute_activations(base)
    eval_sets = {32: EvalSet(data.validation, 32, geometry.eval_rows, base.device)}
    asked = demand.demand_of(base, geometry, budget, data, dropout=setting.dropout)
    pass_tokens = setting.together * asked.tokens
    parts = asked.parts(slots=setting.slots, pass_tokens=pass_tokens, context=LIBRARIES)
    pack = Pack(base, geometry, setting.slots)
    order = Stream(data.train.lengths, budget, 0).round(0)
    probe.live(pack, geometry, data, order, eval_sets, pass_tokens=pass_tokens, dropout=setting.dropout)
    seen = _status("VmHWM") - before
    return {"predicted": parts.peak, "seen": seen, **dataclasses.asdict(parts)}


def _examples(count: int, setting: Setting) -> Split:
    """Return random examples of a quarter to all of the longest length, half of it supervised."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(setting.length // 4, setting.length + 1, count)
    lengths[: count // 8] = setting.length
    ends = np.cumsum(lengths)
    target = np.zeros(ends[-1], dtype=bool)
    for end, length in zip(ends, lengths, strict=True):
        target[end - length // 2 : end] = True
    return Split(
        tokens=generator.integers(1, setting.vocab, ends[-1]).astype(np.int32),
        offsets=np.concatenate([[0], ends]).astype(np.int64),
        target=target,
    )


def _warm_up() -> None:
    """Let libraries set themselves up: their memory is the process's own."""
    one = torch.randn(64, 64, requires_grad=True)
    torch.nn.functional.scaled_dot_product_attention(
        *[one.view(1, 1, 64, 64)] * 3, is_causal=True
    ).sum().backward()
    (one @ one).sum().backward()


def _reset() -> int:
    """Forget the height of the resident size and return what it is now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    """Return bytes of a line of this process's status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"this system does not tell a process's {name}")


def in_a_process(setting: Setting) -> dict[str, int]:
    """Measure a setting in a process of its own."""
    command = [sys.executable, __file__, "--one", json.dumps(dataclasses.asdict(setting))]
    environment = child_environment(os.environ, threads=1, device="cpu")
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"{setting.words}: {ended.stderr.strip().splitlines()[-1]}")
    found: dict[str, int] = json.loads(ended.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--one", metavar="JSON", help="measure this setting in this process, and print JSON")
    parser.add_argument("--parts", action="store_true", help="print each prediction's parts too")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(Setting(**json.loads(arguments.one)))))
        return
    print("| setting | predicted | seen | predicted of seen |\n|---|---|---|---|", flush=True)
    apart = []
    for setting in SETTINGS:
        found = in_a_process(setting)
        predicted, seen = found.pop("predicted"), found.pop("seen")
        apart.append(abs(predicted / seen - 1))
        print(
            f"| {setting.words} | {predicted / MIB:.0f} MiB | {seen / MIB:.0f} MiB "
            f"| {predicted / seen:.2f} |",
            flush=True,
        )
        if arguments.parts:
            print("    " + ", ".join(f"{name} {size / MIB:.0f}" for name, size in found.items()), flush=True)
    print(f"\nfurthest apart: {100 * max(apart):.0f} %")


if __name__ == "__main__":
    main()
