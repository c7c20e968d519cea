"""Kernels, reads and moves of one micro-step, counted on a CPU: what a GPU would be asked to do.

    python benchmarks/counts.py

A session trains the demo's shape in bfloat16, every trial ending a batch with each micro-step, so all of it
is there: collating, forward, head, backward, the read of the losses, clipping, AdamW. Counted from one
forward pass to the next. A kernel here is an operator that computes; a GPU may launch more than one for it.
What plain Transformers takes for the same rows is counted apart, so that what remains is ours. A block's
share is the difference between four blocks and three.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
from loratune.demo import data_path, model_path
from loratune.objectives.testing.counting import Counts, counted
from loratune.objectives.training.attention import never_packed
from loratune.objectives.training.model import load_model
from loratune.objectives.training.session import Session
from loratune.objectives.training.targets import resolve_targets
from loratune.spaces.params import LoraParams
from loratune.study.config import DataConfig, ModelConfig, ObjectiveConfig

BLOCKS = 4
"""The demo's."""
TARGETS = 7
"""Adapted layers in a block."""
ROWS = 4
"""Examples of a trial in a micro-step."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MicroStep:
    """What one micro-step of K trials asks of a device."""

    trials: int
    """K."""
    reads: int
    """Values that Python waits for, ours alone."""
    model_reads: int
    """Those of Transformers."""
    moves: int
    """Tensors that are asked to be on the device."""
    kernels: int
    """Operators that compute, of the whole micro-step."""
    model_kernels: int
    """What Transformers takes of them, by itself on the same rows."""
    block_kernels: int
    """Those of one block, forward and backward."""
    model_block_kernels: int
    """Transformers' part of them."""

    @property
    def kernels_a_layer(self) -> float:
        """Ours for each adapted layer."""
        return (self.block_kernels - self.model_block_kernels) / TARGETS

    @property
    def kernels_outside(self) -> int:
        """Ours outside the blocks: head, losses, optimizer."""
        ours = self.kernels - self.model_kernels
        return ours - BLOCKS * (self.block_kernels - self.model_block_kernels)


def count(trials: int, folder: Path) -> MicroStep:
    """Count one micro-step of ``trials`` trials; ``folder`` is for models and tokens."""
    whole, fewer = (_session(trials, _model(folder, blocks), folder) for blocks in (BLOCKS, BLOCKS - 1))
    model, model_fewer = (_alone(trials, _model(folder, blocks)) for blocks in (BLOCKS, BLOCKS - 1))
    return MicroStep(
        trials=trials,
        reads=whole.read_total - model.read_total,
        model_reads=model.read_total,
        moves=whole.move_total - model.move_total,
        kernels=whole.kernel_total,
        model_kernels=model.kernel_total,
        block_kernels=whole.kernel_total - fewer.kernel_total,
        model_block_kernels=model.kernel_total - model_fewer.kernel_total,
    )


def _model(folder: Path, blocks: int) -> ModelConfig:
    """Return a model of the demo's shape with so many blocks, written if it is not there yet."""
    place = folder / f"blocks-{blocks}"
    if not place.exists():
        config = transformers.AutoConfig.from_pretrained(model_path(), num_hidden_layers=blocks)
        torch.manual_seed(0)
        transformers.utils.logging.disable_progress_bar()
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(place)
        for file in model_path().glob("tokenizer*"):
            shutil.copy(file, place / file.name)
    return ModelConfig(name_or_path=str(place), device="cpu", dtype="bfloat16")


def _session(trials: int, model: ModelConfig, folder: Path) -> Counts:
    """Count a micro-step of a session."""
    session = Session(
        ObjectiveConfig(
            model=model,
            data=DataConfig(train=str(data_path())),
            batch_sizes=(ROWS,),
            lora_ranks=(8,),
            lora_targets=("all",),
            examples=32 * ROWS,
            eval_examples=16,
            slots=trials,
            pass_tokens=0,  # all at once, as on a GPU, where more tokens go together
            cache_dir=str(folder / "tokens"),
        )
    )
    params = LoraParams(learning_rate=1e-3, batch_size=ROWS, lora_rank=8, lora_alpha=16.0)
    for number in range(trials):
        session.add(number, params, seed=0, attempt=1)
    with counted(mark="aten::embedding") as counts:
        for _ in session.train_round(folder):
            pass
    session.close()
    # The forward passes of a round's micro-steps come first; those of its evaluation follow.
    first, *others = counts.parts[: session.facts.budget.micro_steps - 1]
    if any(part != first for part in others):
        raise SystemExit("the micro-steps of a round do not ask for the same; there is nothing to state")
    return first


def _alone(trials: int, model: ModelConfig) -> Counts:
    """Count the decoder's forward and backward pass for as many rows, with nothing on its layers."""
    base = load_model(model)
    anchor = torch.zeros((), requires_grad=True)
    for name in resolve_targets(base.model, ["all"]):
        layer = base.model.get_submodule(name)
        layer.register_forward_hook(lambda _module, _args, output: _Anchored.apply(output, anchor))
    tokens = torch.ones(trials * ROWS, 48, dtype=torch.long)
    with counted() as counts, never_packed():
        hidden = base.model.get_decoder()(input_ids=tokens, use_cache=False).last_hidden_state
        gradient = torch.empty_like(hidden)
        hidden.backward(gradient)
    return counts


class _Anchored(torch.autograd.Function):
    """Passes a layer's output on as one that needs a gradient, as an adapter's is, and computes nothing."""

    @staticmethod
    def forward(_ctx: Any, output: torch.Tensor, _anchor: torch.Tensor) -> torch.Tensor:
        """Return the output."""
        return output.view_as(output)

    @staticmethod
    def backward(_ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Return the gradient."""
        return gradients[0], None


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[1, 8, 32], help="packs to count")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, bfloat16, {BLOCKS} blocks\n")
    print(
        "| K | reads | of Transformers | moves | kernels | of Transformers alone | of one block "
        "| ours for each adapted layer | ours outside the blocks |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="loratune-counts-") as name:
        for trials in arguments.trials:
            found = count(trials, Path(name))
            cells = (found.trials, found.reads + found.model_reads, found.model_reads, found.moves)
            cells += (found.kernels, found.model_kernels, found.block_kernels)
            cells += (f"{found.kernels_a_layer:g}", found.kernels_outside)
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
