"""Pretraining of the demo model: plain next-token AdamW on documents packed end to end.

Knows tokens only. One thread and one seed give the same weights on the same build of torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from .byte_pairs import BEGIN, CONTEXT, END, PAD, VOCAB_SIZE

BATCH = 8
"""Sequences of ``CONTEXT`` tokens per optimizer step."""
PEAK_LEARNING_RATE = 6e-3
WARMUP_STEPS = 100
WEIGHT_DECAY = 0.1


def new_model(seed: int) -> LlamaForCausalLM:
    """Return a fresh Llama of about a quarter of a million weights."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=64,
            intermediate_size=176,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
            initializer_range=0.05,
            pad_token_id=PAD,
            bos_token_id=BEGIN,
            eos_token_id=END,
        )
    )


def batches(tokenizer: Tokenizer, texts: Iterable[str], batch: int = BATCH) -> Iterator[torch.Tensor]:
    """Pack texts end to end into ``[batch, CONTEXT]`` token ids, without padding and without end."""
    size = batch * CONTEXT
    tokens: list[int] = []
    for text in texts:
        tokens += [BEGIN, *tokenizer.encode(text).ids, END]
        while len(tokens) >= size:
            yield torch.tensor(tokens[:size]).view(batch, CONTEXT)
            tokens = tokens[size:]


def learning_rate(step: int, steps: int) -> float:
    """Return the rate of a step from 0: a linear warm-up, then a cosine down to a tenth of the peak."""
    warmup = min(WARMUP_STEPS, steps // 10)
    if step < warmup:
        return PEAK_LEARNING_RATE * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return PEAK_LEARNING_RATE * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))


def pretrain(
    model: LlamaForCausalLM,
    data: Iterator[torch.Tensor],
    steps: int,
    say: Callable[[str], None],
) -> None:
    """Train ``model`` in place for so many optimizer steps, saying the loss on the way."""
    model.train()
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    scales = [weight for weight in model.parameters() if weight.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": scales, "weight_decay": 0.0}],
        betas=(0.9, 0.95),
    )
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        loss = _loss(model, next(data))
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 100 == 99 or step == steps - 1:
            say(f"step {step + 1} of {steps}: loss {loss.item():.4f}")
    model.train(mode=False)


@torch.no_grad()
def held_out_loss(model: LlamaForCausalLM, data: Iterator[torch.Tensor], count: int) -> float:
    """Return the mean loss per predicted token over so many batches."""
    return sum(_loss(model, next(data)).item() for _ in range(count)) / count


def _loss(model: LlamaForCausalLM, tokens: torch.Tensor) -> torch.Tensor:
    logits = model(input_ids=tokens, use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
