"""The end of an answer, one rule for all formats and templates: one stop token, its own, supervised once.

Knows nothing of how a template writes a conversation, of files or of splits.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from .formats import Conversation, RecordError, Turn

Mask = npt.NDArray[np.bool_]

KNOWN = (
    "</s>",
    "<eos>",
    "[EOS]",
    "<|eos|>",
    "<|end|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|EOT|>",
    "<|im_end|>",
    "<end_of_turn>",
    "<turn|>",
    "<|end_of_turn|>",
    "<|END_OF_TURN_TOKEN|>",
    "<｜end▁of▁sentence｜>",
    "<|end_of_sentence|>",
    "<|endofassistant|>",
    "<|role_end|>",
    "<|return|>",
    "<|call|>",
)
"""How public models spell the tokens that end a turn or a text; each counts only where it is one token."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stops:
    """Which tokens end an answer."""

    texts: tuple[str, ...]
    """How they are spelled, the longest first."""
    ids: frozenset[int]
    """Their ids."""
    end: int | None
    """The tokenizer's end of a sequence, for an answer that has none; None where there is none."""
    blank: Callable[[int], bool]
    """Whether a token is nothing but white space."""

    def and_ids(self, ids: Iterable[int]) -> Stops:
        """Return these with more, as a template that ends a turn by the token that begins the next has."""
        return dataclasses.replace(self, ids=self.ids | set(ids))


def find_stops(tokenizer: Any, more: Iterable[str] = ()) -> Stops:
    """Return what ends an answer for a tokenizer: its own end, those of public models, and ``more``."""
    end: int | None = tokenizer.eos_token_id
    own = tokenizer.get_added_vocab()
    own_ids = set(own.values())
    candidates = dict.fromkeys((*KNOWN, *more, *((tokenizer.eos_token,) if end is not None else ())))
    found = {
        text: token
        for text in candidates
        if (text in own or text == tokenizer.eos_token) and (token := one_token(tokenizer, text)) is not None
    }

    @functools.cache
    def blank(token: int) -> bool:
        return token not in own_ids and not tokenizer.decode([token]).strip()

    ids = {*found.values(), *(() if end is None else (end,))}
    return Stops(texts=tuple(sorted(found, key=len, reverse=True)), ids=frozenset(ids), end=end, blank=blank)


def one_token(tokenizer: Any, text: str) -> int | None:
    """Return the id of a text that the tokenizer reads as one token, None where it reads several."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    token: int | None = tokenizer.convert_tokens_to_ids(text)
    return token if token is not None and ids[-1:] == [token] and len(ids) == 1 else None


def without_stops(conversation: Conversation, stops: Stops) -> Conversation:
    """Return the conversation without the stop tokens that are written at the end of its answers.

    Whoever writes them into the data means the end that the template writes too. Those inside an answer are
    the user's text, and stay.

    Raises:
        RecordError: an answer is nothing but stop tokens.
    """
    turns = tuple(
        _without_stops(turn, number, stops) if turn.role == "assistant" else turn
        for number, turn in enumerate(conversation.turns, start=1)
    )
    return conversation if turns == conversation.turns else dataclasses.replace(conversation, turns=turns)


def _without_stops(turn: Turn, number: int, stops: Stops) -> Turn:
    content = turn.content
    while True:
        stripped = content.rstrip()
        ending = next((text for text in stops.texts if stripped.endswith(text)), None)
        if ending is None:
            break
        content = stripped.removesuffix(ending)
    if content == turn.content:
        return turn
    if not content.strip() and not turn.calls:
        raise RecordError(f"turn {number}, the assistant's, is nothing but {turn.content.strip()[:40]}")
    return dataclasses.replace(turn, content=content)


def end_answers(ids: list[int], mask: Mask, stops: Stops) -> tuple[list[int], Mask]:
    """Return the tokens with each run of targets ending in one stop token.

    Where several end it, white space between them or not, the first is the answer's and the others have no
    loss: they stay as the template's. Where none does, the tokenizer's end of a sequence is put there.
    """
    borders = np.flatnonzero(np.diff(mask, prepend=False, append=False))
    missing: list[int] = []
    mask = mask.copy()
    for start, end in zip(borders[::2].tolist(), borders[1::2].tolist(), strict=True):
        first = None
        for at in range(end - 1, start - 1, -1):
            if ids[at] in stops.ids:
                first = at
            elif not stops.blank(ids[at]):
                break
        if first is not None:
            mask[first + 1 : end] = False
        elif stops.end is not None:
            missing.append(end)
    if missing:
        assert stops.end is not None
        mask = np.insert(mask, missing, True)
        for end in reversed(missing):
            ids = [*ids[:end], stops.end, *ids[end:]]
    return ids, mask


def endings_of(tokens: npt.NDArray[np.int32], target: Mask, stops: Stops) -> tuple[dict[int, int], Mask]:
    """Return how many answers each stop token ends, the most first, and which tokens are stops inside one.

    The tokens may be those of many examples, one after another: none begins with a target.
    """
    last = target & ~np.append(target[1:], False)
    stopping = np.isin(tokens, np.fromiter(stops.ids, np.int32)) & target
    found, counts = np.unique(tokens[stopping & last], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {int(found[at]): int(counts[at]) for at in order}, stopping & ~last


def begin_once(ids: list[int], opening: list[int], blank: Callable[[int], bool] | None) -> int:
    """Return how many tokens to drop from the front, so that a sequence that is begun is begun once.

    A text may bring the beginning that the tokenizer would put before it, even twice. With ``blank``, white
    space before it goes as well.
    """
    start = 0
    if not opening:
        return 0
    while blank is not None and start < len(ids) and blank(ids[start]):
        start += 1
    width = len(opening)
    if ids[start : start + width] != opening:
        return 0
    while ids[start + width : start + 2 * width] == opening:
        start += width
    return start
