"""What a trial writes as the answer to a prompt: the likeliest token, again and again, until one that stops.

All tokens go through the model anew for each that is written: so every architecture that can be packed can
write, and prompts of unlike lengths stand beside each other, padded on the right as in training.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch

from .evaluation import Passes
from .pack import Pack
from .stream import padded_length

LONGEST = 256
"""Tokens of an answer that is marked, at most."""
SLACK = 8


def most_tokens(answer: int) -> int:
    """Return how many tokens are written where the right answer has so many: one that runs on is cut.

    >>> most_tokens(3)
    14
    """
    return min(LONGEST, 2 * answer + SLACK)


def writing(
    pack: Pack,
    row: int,
    prompts: Sequence[Any],
    most: Sequence[int],
    stops: Collection[int],
    *,
    rows: int,
    room: int | None,
) -> Passes[list[list[int]]]:
    """Return the tokens that the trial in a row writes after each prompt, without the one that stops.

    Args:
        pack: holds the trial.
        row: its row.
        prompts: token ids of each prompt.
        most: tokens of each answer, at most.
        stops: tokens at which it ends.
        rows: prompts in one forward pass.
        room: most tokens that the model can read; None where there is no such limit.
    """
    written: list[list[int]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda index: (most[index], len(prompts[index]), index))
    for start in range(0, len(order), rows):
        chosen = order[start : start + rows]
        texts = {index: [int(token) for token in prompts[index]] for index in chosen}
        going = [index for index in chosen if most[index] > 0]
        while going:
            for index, token in zip(going, _next(pack, row, [texts[index] for index in going]), strict=True):
                if token not in stops:
                    written[index].append(token)
                    texts[index].append(token)
                else:
                    texts[index] = []
            going = [
                index
                for index in going
                if texts[index]
                and len(written[index]) < most[index]
                and (room is None or len(texts[index]) < room)
            ]
            yield
    return written


def _next(pack: Pack, row: int, texts: Sequence[Sequence[int]]) -> list[int]:
    """Return the likeliest next token of each text."""
    tokens = np.zeros((len(texts), padded_length(max(len(text) for text in texts))), dtype=np.int64)
    for place, text in enumerate(texts):
        tokens[place, : len(text)] = text
    device = pack.params.device
    last = torch.tensor([len(text) - 1 for text in texts], device=device)
    return pack.next_tokens(torch.from_numpy(tokens).to(device), last, slice(row, row + 1)).tolist()
