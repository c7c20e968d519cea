"""The same step in plain PEFT, one trial at a time: what a user's own training loop would take.

Adapters in float32 under autocast, as Trainer runs them with ``bf16``; AdamW fused where torch has it; the
model's own loss over the full logits, on the same tokens and labels as the pack's.
"""

from __future__ import annotations

import statistics
import warnings

import peft
import torch
from gpu_stages import shape_large, shape_small, sweep
from gpu_stages.stage import MIB, Stage, make_base, make_config, random_split
from loratune.objectives.training.norms import unfuse_norms

IGNORED = -100


def run(stage: Stage) -> None:
    """Tell each combination of the three shapes."""
    small = [(rows, length) for length in shape_small.lengths(stage) for rows in shape_small.ROWS]
    small = list(dict.fromkeys([*small, *sweep.batches(stage)]))
    large = [(shape_large.ROWS, shape_large.length(stage))]
    for shape, cases in (("0.5B", small), ("1.5B", large), ("8B", large)):
        with stage.attempt("step", shape=shape):
            _measure(stage, shape, cases)


def _measure(stage: Stage, shape: str, cases: list[tuple[int, int]]) -> None:
    base = make_base(stage, make_config(stage, shape))
    unfuse_norms(base.model)
    rank = 8 if stage.toy else shape_small.RANK
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=rank, lora_alpha=rank, target_modules="all-linear")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(base.model, config)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    with torch.no_grad():
        for weight in weights:
            weight.normal_(std=0.01)
    optimizer = torch.optim.AdamW(weights, lr=1e-5, fused=stage.device.type == "cuda")
    for rows, length in cases:
        with stage.attempt("step", shape=shape, rows=rows, length=length):
            tokens, labels = _batch(rows, length, base.summary.vocab_size, stage.device)

            def forward_backward(tokens: torch.Tensor = tokens, labels: torch.Tensor = labels) -> None:
                with torch.autocast(stage.device.type, torch.bfloat16):
                    loss = model(input_ids=tokens, labels=labels, use_cache=False).loss
                loss.backward()

            def update() -> None:
                torch.nn.utils.clip_grad_norm_(weights, 1.0)
                optimizer.step()
                optimizer.zero_grad()

            stage.reset_peak()
            spans = []
            for _ in range(4 if stage.toy else 8):
                begin = stage.mark()
                forward_backward()
                middle = stage.mark()
                update()
                end = stage.mark()
                stage.synchronize()
                spans.append((stage.milliseconds(begin, middle), stage.milliseconds(middle, end)))
            first, second = (statistics.median(part) for part in zip(*spans[2:], strict=True))
            peak = stage.peak()
            stage.tell(
                "step",
                shape=shape,
                rows=rows,
                length=length,
                forward_backward_ms=first,
                optimizer_ms=second,
                ms_a_trial=first + second,
                tokens_per_second=1000 * rows * length / first,
                **({} if peak is None else {"peak_mib": round(peak / MIB)}),
            )


def _batch(rows: int, length: int, vocab: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the pack's tokens and labels ``[m, T]`` of one trial."""
    split = random_split(rows, length, vocab)
    tokens = torch.from_numpy(split.tokens.astype("int64")).view(rows, length)
    target = torch.from_numpy(split.target).view(rows, length)
    return tokens.to(device), tokens.masked_fill(~target, IGNORED).to(device)
