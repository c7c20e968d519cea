"""Builds the embedded demo from a seed: ``python -m loratune.demo.build [--out DIR] [--seed 0]``.

Writes ``data/harbour.jsonl``, then ``model/``: tokenizer, weights and ``BUILD.json``, the record of how
they came to be. The data is the same everywhere; the weights are the same on one thread of the same
build of torch and the same kind of processor.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import sys
import time
from pathlib import Path

from ..demo import DATA_FILE, MODEL_FOLDER
from .logbook import documents
from .tasks import records

SEED = 0
STEPS = 4000
RECORDS = 3600
TOKENIZER_DOCUMENTS = 4000
HELD_OUT_BATCHES = 32


def build_data(out: Path, *, seed: int = SEED, count: int = RECORDS) -> Path:
    """Write the instruction records below ``out``; the same bytes for the same seed."""
    path = out / DATA_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records(seed, count)]
    path.write_bytes("".join(lines).encode())
    return path


def build_model(out: Path, *, seed: int = SEED, steps: int = STEPS) -> Path:
    """Train the tokenizer and the model, write them below ``out`` and return their folder."""
    import safetensors.torch
    import tokenizers
    import torch
    import transformers

    from .byte_pairs import CONTEXT, save_tokenizer, train_tokenizer
    from .pretrain import BATCH, batches, held_out_loss, new_model, pretrain

    folder = out / MODEL_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    started = time.monotonic()
    tokenizer = train_tokenizer(itertools.islice(documents(seed, "tokenizer"), TOKENIZER_DOCUMENTS))
    model = new_model(seed)
    _say(f"{model.num_parameters():,} weights, {steps} steps of {BATCH} x {CONTEXT} tokens")
    pretrain(
        model,
        batches(tokenizer, documents(seed, "train")),
        steps,
        lambda line: _say(f"{line} ({time.monotonic() - started:.0f} s)"),
    )
    loss = held_out_loss(model, batches(tokenizer, documents(seed, "held-out")), HELD_OUT_BATCHES)
    _say(f"held-out loss {loss:.4f}")

    save_tokenizer(tokenizer, folder)
    model.config.architectures = [type(model).__name__]
    model.config.dtype = torch.float32
    model.config.save_pretrained(folder)
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    del weights["lm_head.weight"]  # tied to the embeddings
    (folder / "model.safetensors").write_bytes(safetensors.torch.save(weights, metadata={"format": "pt"}))
    record = {
        "seed": seed,
        "steps": steps,
        "tokens": steps * BATCH * CONTEXT,
        "parameters": model.num_parameters(),
        "held_out_batches": HELD_OUT_BATCHES,
        "held_out_loss": round(loss, 6),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
        },
        "processor": torch.backends.cpu.get_cpu_capability(),
    }
    (folder / "BUILD.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return folder


def main(arguments: list[str] | None = None) -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(
        prog="python -m loratune.demo.build", description="Build the embedded demo model and its data."
    )
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent, help="where to write (default: here)"
    )
    parser.add_argument(
        "--seed", type=int, default=SEED, help=f"seed of text, data and weights (default {SEED})"
    )
    parser.add_argument("--steps", type=int, default=STEPS, help=f"optimizer steps (default {STEPS})")
    parser.add_argument("--data-only", action="store_true", help="build the instruction data alone")
    options = parser.parse_args(arguments)
    _say(f"wrote {build_data(options.out, seed=options.seed)}")
    if not options.data_only:
        _say(f"wrote {build_model(options.out, seed=options.seed, steps=options.steps)}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
