"""Turns the records of a file into cut, tokenized examples, and says of every other record why it is none.

Records come and go; what stays of an example is its tokens and two hashes. Knows nothing of splits or of the
cache.
"""

from __future__ import annotations

import array
import dataclasses
import hashlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DataError
from .clip import characters_kept, clip
from .columns import Reading
from .encode import Example, encode, ends_lost, truncate
from .formats import Conversation, PlainText, RecordError, key_of
from .left_out import Log
from .readers import RecordFile
from .sources import check_usable
from .split import distinct
from .stops import Stops, find_stops
from .templates import Rendered, Template, render_text

KEY_BYTES = 32

_BATCH = 1024
_BATCH_CHARACTERS = 1 << 21

Positions = npt.NDArray[np.int64]


class Items:
    """The usable examples of one or more files, one after another in arrays that grow."""

    def __init__(self) -> None:
        self._tokens = array.array("i")
        self._target = bytearray()
        self._ends = array.array("q", [0])
        self._keys = bytearray()
        self._lost = array.array("q")

    def __len__(self) -> int:
        return len(self._ends) - 1

    def add(self, key: bytes, example: Example, *, lost: tuple[int, int, int]) -> None:
        """Add an example and what was cut from it: prompt tokens, answer tokens and ends of answers."""
        tokens, target = example
        self._tokens.frombytes(tokens.tobytes())
        self._target += target.tobytes()
        self._ends.append(len(self._tokens))
        self._keys += key
        self._lost.extend(lost)

    def key(self, position: int) -> bytes:
        """Return the hash of what a record says, whatever the template and the tokenizer."""
        return bytes(self._keys[position * KEY_BYTES : (position + 1) * KEY_BYTES])

    def tokens_key(self, position: int) -> bytes:
        """Return the hash of an example's tokens and targets."""
        start, end = self._ends[position], self._ends[position + 1]
        return hashlib.sha256(self._tokens[start:end].tobytes() + self._target[start:end]).digest()

    def lost(self, positions: Positions) -> npt.NDArray[np.int64]:
        """Return ``[n, 3]``: prompt tokens, answer tokens and ends of answers that were cut off."""
        found: npt.NDArray[np.int64] = np.frombuffer(self._lost, np.int64).reshape(-1, 3)[positions]
        return found

    def joined(self, positions: Positions) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays of a ``Split`` that holds these examples in this order."""
        ends = np.frombuffer(self._ends, np.int64)
        starts, ends = ends[:-1][positions], ends[1:][positions]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(ends - starts, dtype=np.int64)])
        tokens, target = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.bool_)
        all_tokens = np.frombuffer(self._tokens, np.int32)
        all_target = np.frombuffer(self._target, np.bool_)
        for at, start, end in zip(offsets.tolist(), starts.tolist(), ends.tolist(), strict=False):
            tokens[at : at + end - start] = all_tokens[start:end]
            target[at : at + end - start] = all_target[start:end]
        return {"tokens": tokens, "offsets": offsets, "target": target}


class _Keys(Sequence[bytes]):
    """Hashes of chosen examples, made when they are asked for."""

    def __init__(self, of: Any, positions: Positions) -> None:
        self._of, self._positions = of, positions

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: Any) -> Any:
        return self._of(int(self._positions[index]))


def keys_of(items: Items, positions: Positions) -> Sequence[bytes]:
    """Return the hashes of what chosen records say."""
    return _Keys(items.key, positions)


def read_items(
    file: RecordFile,
    reading: Reading,
    template: Template | None,
    tokenizer: Any,
    *,
    cutoff_len: int,
    items: Items,
) -> Log:
    """Add the usable examples of a file to ``items`` in its order; return what became of the others.

    ``template`` may be None for plain text, which needs none.

    Raises:
        DataError: no record of the file is usable.
    """
    log, before = Log(file.name, file.place), len(items)
    lost = 0
    characters = characters_kept(cutoff_len) if reading.rules >= 2 else sys.maxsize
    for batch in _batches(_parsed(file, reading, template, find_stops(tokenizer), characters)):
        encoded = encode([one for _, _, _, one in batch if isinstance(one, Rendered)], tokenizer)
        for line, key, cut_off, one in batch:
            if isinstance(one, str):
                log.leave_out(line, one)
                continue
            whole = next(encoded)
            example = truncate(*whole, cutoff_len)
            if example[1].any():
                items.add(key, example, lost=_lost(whole, example, cutoff_len))
                if cut_off:
                    log.shorten(line)
            elif whole[1].any():
                lost += 1
                log.leave_out(
                    line, f"cut from {len(whole[0])} tokens to cutoff_len {cutoff_len}, it has no answer left"
                )
            else:
                log.leave_out(line, "it has no token to predict")
    added = len(items) - before
    if not added and lost == log.count:
        raise DataError(
            f"cutoff_len {cutoff_len} leaves nothing of any answer in {file.name}: "
            "give a greater --cutoff-len"
        )
    check_usable(added, log)
    return log


def without_duplicates(parts: Sequence[Items]) -> list[Positions]:
    """Return the positions to keep in each list, so that no record and no tokens are there twice.

    What a later list holds is left out of the earlier ones.
    """
    kept = [np.arange(len(part), dtype=np.int64) for part in parts]
    for name in ("key", "tokens_key"):
        keys = [_Keys(getattr(part, name), chosen) for part, chosen in zip(parts, kept, strict=True)]
        kept = [
            chosen[np.asarray(positions, np.int64)]
            for chosen, positions in zip(kept, distinct(keys), strict=True)
        ]
    return kept


def _lost(whole: Example, cut: Example, cutoff_len: int) -> tuple[int, int, int]:
    """Return the prompt tokens, the answer tokens and the ends of answers that were cut off."""
    answer = int(whole[1].sum()) - int(cut[1].sum())
    return len(whole[0]) - len(cut[0]) - answer, answer, ends_lost(whole[1], cutoff_len)


Parsed = tuple[int, bytes, int, Rendered | str]
"""Line, key, turns that were cut off, and the text in pieces or the reason why there is none."""


def _parsed(
    file: RecordFile, reading: Reading, template: Template | None, stops: Stops, characters: int
) -> Iterator[Parsed]:
    for line, record in file.read():
        if isinstance(record, str):
            yield line, b"", 0, record
            continue
        try:
            parsed = reading.parse(record)
            rendered = _render(clip(parsed, characters), template, stops)
            if reading.rules < 2:
                rendered = dataclasses.replace(rendered, stops=None)
        except RecordError as error:
            yield line, b"", 0, str(error)
        else:
            yield line, key_of(parsed), parsed.cut_off if isinstance(parsed, Conversation) else 0, rendered


def _batches(parsed: Iterator[Parsed]) -> Iterator[list[Parsed]]:
    """Yield records in batches of which the tokenizer does not take much memory."""
    batch: list[Parsed] = []
    characters = 0
    for one in parsed:
        batch.append(one)
        if isinstance(one[3], Rendered):
            characters += sum(len(text) for text, _ in one[3].pieces if isinstance(text, str))
        if len(batch) == _BATCH or characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _render(parsed: Conversation | PlainText, template: Template | None, stops: Stops) -> Rendered:
    if isinstance(parsed, PlainText):
        return render_text(parsed, stops)
    assert template is not None
    return template.render(parsed)
