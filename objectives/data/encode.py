"""Turns pieces of text into token ids and a mask of what is predicted, and cuts what is too long.

Knows nothing of templates, files or splits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .stops import Mask, begin_once, end_answers
from .templates import Piece, Rendered

Tokens = npt.NDArray[np.int32]
Example = tuple[Tokens, Mask]
"""``[length]`` token ids, and which of them are predicted; never the first."""

_BATCH = 1024


def encode(rendered: Sequence[Rendered], tokenizer: Any) -> Iterator[Example]:
    """Yield the tokens of each, trailing tokens without a loss left out, uncut.

    Each begins once and each of its answers ends once, see ``stops.py``. A text that is tokenized as a whole
    is tokenized by pieces after all where a token would lie half in an answer, and where the tokenizer cannot
    say where its tokens lie.
    """
    opening = opening_ids(tokenizer)
    for start in range(0, len(rendered), _BATCH):
        batch = rendered[start : start + _BATCH]
        examples = _encode_whole(batch, tokenizer)
        rest = [index for index, example in enumerate(examples) if example is None]
        by_pieces = _encode_pieces([batch[index].pieces for index in rest], tokenizer)
        for index, ids_and_mask in zip(rest, by_pieces, strict=True):
            examples[index] = ids_and_mask
        for one, example in zip(batch, examples, strict=True):
            assert example is not None
            yield _finish(*example, one, opening)


def opening_ids(tokenizer: Any) -> list[int]:
    """Return what the tokenizer puts before a text by itself, such as the beginning of a sequence."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a", add_special_tokens=True)["input_ids"]
    for at in range(len(full) - len(plain) + 1):
        if full[at : at + len(plain)] == plain:
            return list(full[:at])
    return []


def _finish(ids: list[int], mask: Mask, rendered: Rendered, opening: list[int]) -> Example:
    if rendered.stops is not None:
        ids, mask = end_answers(ids, mask, rendered.stops)
        blank = rendered.stops.blank if rendered.add_bos else None
        again = begin_once(ids, opening, blank)
        ids, mask = ids[again:], mask[again:]
    if rendered.add_bos and opening and ids[: len(opening)] != opening:
        ids = [*opening, *ids]
        mask = np.concatenate([np.zeros(len(opening), np.bool_), mask])
    if len(mask):
        mask[0] = False
    targets = np.flatnonzero(mask)
    end = int(targets[-1]) + 1 if len(targets) else 0
    return np.asarray(ids[:end], np.int32), mask[:end]


def _encode_whole(batch: Sequence[Rendered], tokenizer: Any) -> list[tuple[list[int], Mask] | None]:
    examples: list[tuple[list[int], Mask] | None] = [None] * len(batch)
    if not tokenizer.is_fast:
        return examples
    chosen = [
        index
        for index, one in enumerate(batch)
        if one.whole and all(isinstance(text, str) for text, _ in one.pieces)
    ]
    if not chosen:
        return examples
    texts = ["".join(str(text) for text, _ in batch[index].pieces) for index in chosen]
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    for index, ids, offsets in zip(chosen, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        mask = _mask_by_offsets(batch[index].pieces, np.asarray(offsets, np.int64).reshape(-1, 2))
        if mask is not None:
            examples[index] = (ids, mask)
    return examples


def _mask_by_offsets(pieces: Sequence[Piece], offsets: npt.NDArray[np.int64]) -> Mask | None:
    """Return which tokens lie inside the pieces with a loss, or None where one lies across a border."""
    edges = np.cumsum([len(str(text)) for text, _ in pieces])
    starts, ends = offsets[:, 0], offsets[:, 1]
    # A token of no width is the tokenizer's own; it belongs to the piece that it stands before.
    first = np.searchsorted(edges, starts, side="right").clip(max=len(edges) - 1)
    last = np.searchsorted(edges, np.maximum(ends - 1, starts), side="right").clip(max=len(edges) - 1)
    if not np.array_equal(first, last):
        return None
    targets: Mask = np.asarray([target for _, target in pieces], np.bool_)[first]
    return targets


def _encode_pieces(rendered: Sequence[tuple[Piece, ...]], tokenizer: Any) -> Iterator[tuple[list[int], Mask]]:
    texts = dict.fromkeys(text for pieces in rendered for text, _ in pieces if isinstance(text, str))
    ids_of: dict[str, list[int]] = {}
    if texts:
        encoded = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        ids_of = dict(zip(texts, encoded, strict=True))
    for pieces in rendered:
        ids: list[int] = []
        mask: list[bool] = []
        for text, target in pieces:
            new = ids_of[text] if isinstance(text, str) else [text]
            ids += new
            mask += [target] * len(new)
        yield ids, np.asarray(mask, np.bool_)


def truncate(tokens: Tokens, target: Mask, cutoff_len: int) -> Example:
    """Cut an example to ``cutoff_len`` tokens, prompt and answer in proportion, as LLaMA-Factory does.

    Turns are taken in order while there is room. Of a pair that does not fit, the prompt alone is cut where
    the answer takes less than half of the room, the answer alone where the prompt does, else both; what is
    kept is the beginning of each.
    """
    kept = kept_tokens(target, cutoff_len)
    # A prompt never is cut to nothing, so the first token is still not one that is predicted.
    cut, cut_target = tokens[kept], target[kept]
    if kept.all():
        return cut, cut_target
    targets = np.flatnonzero(cut_target)
    end = int(targets[-1]) + 1 if len(targets) else 0
    return cut[:end], cut_target[:end]


def kept_tokens(target: Mask, cutoff_len: int) -> Mask:
    """Return which tokens of an example ``truncate`` keeps."""
    if len(target) <= cutoff_len:
        return np.ones(len(target), np.bool_)
    kept = np.zeros(len(target), np.bool_)
    room = cutoff_len
    borders = np.flatnonzero(np.diff(target)) + 1
    runs = [0, *borders.tolist(), len(target)]
    for prompt, answer, end in zip(runs[0:-2:2], runs[1:-1:2], runs[2::2], strict=True):
        prompt_len, answer_len = shares(answer - prompt, end - answer, room)
        kept[prompt : prompt + prompt_len] = True
        kept[answer : answer + answer_len] = True
        room -= prompt_len + answer_len
        if room <= 0:
            break
    return kept


def ends_lost(target: Mask, cutoff_len: int) -> int:
    """Return how many answers lose their last token, which is their stop token, where they are cut."""
    if len(target) <= cutoff_len:
        return 0
    last = target & ~np.append(target[1:], False)
    return int((last & ~kept_tokens(target, cutoff_len)).sum())


def shares(prompt_len: int, answer_len: int, room: int) -> tuple[int, int]:
    """Return how many tokens of a prompt and of its answer are kept in ``room`` tokens."""
    if 2 * answer_len < room:
        most = room
    elif 2 * prompt_len < room:
        most = room - prompt_len
    else:
        # In floating point, as there, so that not even one token differs.
        most = int(room * (answer_len / (prompt_len + answer_len)))
    answer = min(most, answer_len)
    return min(room - answer, prompt_len), answer
