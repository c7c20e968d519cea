"""Data files to tokenized training, validation and test examples, made once and shared by all workers.

Knows nothing of the model's weights, of batches or of trials.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..spaces.errors import DataError
from . import token_cache
from .base import BadRecord, DataConfig, DataSummary
from .chat_template import ChatTemplate
from .encode import Example, encode, truncate
from .formats import Conversation, PlainText, RecordError, check_format, detect_format, parse_record
from .records import RecordFile, read_records
from .split import PARTS, check_shares, distinct, shuffled, take_shares
from .templates import BuiltInTemplate, Rendered, Template, check_template, render_text

_BAD_RECORDS_KEPT = 20


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Examples of one kind, one after another; the arrays are read-only and may lie in a mapped file."""

    tokens: npt.NDArray[np.int32]
    """``[total]`` token ids."""
    offsets: npt.NDArray[np.int64]
    """``[n + 1]`` where each example begins, and the end of the last."""
    target: npt.NDArray[np.bool_]
    """``[total]`` which tokens are predicted, each from those before it; never an example's first."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @functools.cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """``[n]`` tokens of each example."""
        return np.diff(self.offsets)

    @functools.cached_property
    def target_tokens(self) -> npt.NDArray[np.int64]:
        """``[n]`` predicted tokens of each example, at least one."""
        before = np.concatenate([[0], np.cumsum(self.target, dtype=np.int64)])
        return np.diff(before[self.offsets])

    def example(self, index: int) -> Example:
        """Return the tokens of an example, and which of them are predicted; both ``[length]``."""
        if not 0 <= index < len(self):
            raise IndexError(f"example {index} of {len(self)}")
        part = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        return self.tokens[part], self.target[part]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TokenizedData:
    """Everything that a study trains on and measures with."""

    train: Split
    """In the order of the file."""
    validation: Split
    """In a fixed shuffled order, so that the first n are a fair subset."""
    test: Split
    """In a fixed shuffled order; may be empty where its share is 0."""
    summary: DataSummary
    """What became of the records."""


def load_data(config: DataConfig, tokenizer: Any, *, cache_dir: Path | None) -> TokenizedData:
    """Read, format, tokenize, cut and split the data, or take it from the cache.

    Args:
        config: which files, and how they become tokens.
        tokenizer: the base model's, a ``PreTrainedTokenizerBase``.
        cache_dir: folder for the tokenized data, made if missing; None keeps it in memory.

    Raises:
        DataError: a file cannot be read or nothing usable is left of it, or an option is not valid.
    """
    check_format(config.format)
    check_template(config.template)
    check_shares(config.split)
    if config.cutoff_len < 2:
        raise DataError(f"cutoff_len is {config.cutoff_len}: an example needs at least 2 tokens")
    paths = {"train": config.train, "validation": config.validation, "test": config.test}
    files = {
        part: read_records(path, encoding=config.encoding) for part, path in paths.items() if path is not None
    }
    formats = {part: _format(file, config.format) for part, file in files.items()}
    template: Template | None = None
    if set(formats.values()) != {"text"}:
        template = _template(config.template, tokenizer)
    key = _key(config, files, formats, template, tokenizer)
    return token_cache.load(cache_dir, key, _from_arrays) or _store(
        cache_dir, key, _Builder(config, tokenizer, template).build(files, formats)
    )


def _format(file: RecordFile, wanted: str) -> str:
    if wanted != "auto":
        return wanted
    if not file.records:
        raise DataError(f"{file.name} has no usable record; {_first(file.bad, file.place)}")
    return detect_format(file.name, (record for _, record in file.records), single=file.single)


def _template(name: str, tokenizer: Any) -> Template:
    if name == "auto":
        return ChatTemplate(tokenizer) if tokenizer.chat_template else BuiltInTemplate("default", tokenizer)
    return BuiltInTemplate(name, tokenizer)


def _key(
    config: DataConfig,
    files: dict[str, RecordFile],
    formats: dict[str, str],
    template: Template | None,
    tokenizer: Any,
) -> str:
    """Return a hash of all that the tokens depend on."""
    parts = {
        "layout": token_cache.LAYOUT,
        "files": {part: [file.name, file.digest, formats[part]] for part, file in files.items()},
        "encoding": config.encoding,
        "template": "none" if template is None else [template.name, template.text],
        "tokenizer": tokenizer_hash(tokenizer),
        "versions": {name: importlib.metadata.version(name) for name in ("tokenizers", "transformers")},
        "cutoff_len": config.cutoff_len,
        "split": config.split,
        "seed": config.seed,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def tokenizer_hash(tokenizer: Any) -> str:
    """Return a hash of how a tokenizer turns text into tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        rules: Any = sorted(tokenizer.get_vocab().items())
    else:
        rules = json.loads(backend.to_str())
        # Left behind by the last call, whoever made it.
        rules.pop("truncation", None)
        rules.pop("padding", None)
    whole = [type(tokenizer).__name__, rules, tokenizer.eos_token_id, tokenizer.bos_token_id]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def _store(cache_dir: Path | None, key: str, data: TokenizedData) -> TokenizedData:
    arrays = {
        f"{part}/{name}": getattr(getattr(data, part), name)
        for part in PARTS
        for name in ("tokens", "offsets", "target")
    }
    token_cache.store(cache_dir, key, arrays, dataclasses.asdict(data.summary))
    # Read back, so that the memory is shared with the other workers at once.
    return token_cache.load(cache_dir, key, _from_arrays) or data


def _from_arrays(arrays: dict[str, npt.NDArray[Any]], summary: dict[str, Any]) -> TokenizedData:
    splits = {
        part: Split(
            tokens=arrays[f"{part}/tokens"],
            offsets=arrays[f"{part}/offsets"],
            target=arrays[f"{part}/target"],
        )
        for part in PARTS
    }
    summary["bad_records"] = tuple(BadRecord(**bad) for bad in summary["bad_records"])
    summary["length_quantiles"] = tuple(summary["length_quantiles"])
    return TokenizedData(**splits, summary=DataSummary(**summary))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A record that could be rendered."""

    number: int
    """Its line or position."""
    key: bytes
    """Hash of what it says, whatever the template and the tokenizer."""
    rendered: Rendered
    """Its pieces."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Item:
    """An example, and the hash of the record that it came from."""

    key: bytes
    """Hash of what the record says."""
    example: Example
    """Its tokens, cut."""
    cut: bool
    """Whether it was longer."""


class _Builder:
    """Makes the tokens of a study's files, counting what it leaves out on the way."""

    def __init__(self, config: DataConfig, tokenizer: Any, template: Template | None) -> None:
        self._config = config
        self._tokenizer = tokenizer
        self._template = template
        self._bad: list[BadRecord] = []

    def build(self, files: dict[str, RecordFile], formats: dict[str, str]) -> TokenizedData:
        """Return the three splits and the summary."""
        items = {part: self._items(file, formats[part]) for part, file in files.items()}
        usable = sum(len(found) for found in items.values())
        items = _without_duplicates(items)
        splits = self._split(items)
        for part, file in files.items():
            if not splits[part]:
                raise DataError(
                    f"every record of {file.name} is also in the other files: give records that differ"
                )
        arrays = {part: _joined([item.example for item in splits[part]]) for part in PARTS}
        summary = DataSummary(
            format=formats["train"],
            template="none" if self._template is None else self._template.name,
            fingerprint=self._fingerprint(arrays),
            train=len(splits["train"]),
            validation=len(splits["validation"]),
            test=len(splits["test"]),
            records=usable + len(self._bad),
            bad=len(self._bad),
            bad_records=tuple(self._bad[:_BAD_RECORDS_KEPT]),
            duplicates=usable - sum(len(split) for split in splits.values()),
            truncated=sum(item.cut for split in splits.values() for item in split),
            tokens=len(arrays["train"].tokens),
            target_tokens=int(arrays["train"].target.sum()),
            length_quantiles=_quantiles(arrays["train"].lengths),
            rendered=render_example(*arrays["train"].example(0), self._tokenizer),
        )
        return TokenizedData(**arrays, summary=summary)

    def _fingerprint(self, splits: dict[str, Split]) -> str:
        """Return a hash of what came out and of what it came from."""
        config = self._config
        words = [config.cutoff_len, config.split, config.seed, tokenizer_hash(self._tokenizer)]
        words.append("none" if self._template is None else self._template.text)
        digest = hashlib.sha256(json.dumps(words).encode())
        for part in PARTS:
            for array in (splits[part].offsets, splits[part].tokens, splits[part].target):
                digest.update(array.tobytes())
        return digest.hexdigest()[:16]

    def _items(self, file: RecordFile, format: str) -> list[_Item]:  # noqa: A002
        """Return the usable examples of a file, in its order."""
        before = len(self._bad)
        self._bad += file.bad
        candidates: list[_Candidate] = []
        for number, record in file.records:
            try:
                parsed = parse_record(record, format)
                key = hashlib.sha256(parsed.canonical().encode()).digest()
                candidates.append(_Candidate(number=number, key=key, rendered=self._render(parsed)))
            except RecordError as error:
                self._bad.append(BadRecord(file=file.name, line=number, reason=str(error)))
        cutoff_len = self._config.cutoff_len
        items: list[_Item] = []
        lost = 0
        encoded = encode([candidate.rendered for candidate in candidates], self._tokenizer)
        for candidate, whole in zip(candidates, encoded, strict=True):
            example = truncate(*whole, cutoff_len)
            if example[1].any():
                cut = len(example[0]) < len(whole[0])
                items.append(_Item(key=candidate.key, example=example, cut=cut))
                continue
            lost += bool(whole[1].any())
            reason = (
                f"its {len(whole[0])} tokens cut to cutoff_len {cutoff_len} leave nothing of the answer"
                if whole[1].any()
                else "it has no token to predict"
            )
            self._bad.append(BadRecord(file=file.name, line=candidate.number, reason=reason))
        bad = self._bad[before:]
        bad.sort(key=lambda one: one.line)
        self._bad[before:] = bad
        if not items and lost == len(bad):
            raise DataError(
                f"cutoff_len {cutoff_len} leaves nothing of any answer in {file.name}: "
                "give a greater --cutoff-len"
            )
        if not items:
            raise DataError(f"{file.name} has no usable record among {len(bad)}; {_first(bad, file.place)}")
        return items

    def _render(self, parsed: Conversation | PlainText) -> Rendered:
        if isinstance(parsed, PlainText):
            return render_text(parsed, self._tokenizer.eos_token_id)
        assert self._template is not None
        return self._template.render(parsed)

    def _split(self, items: dict[str, list[_Item]]) -> dict[str, list[_Item]]:
        """Take the splits that have no file of their own out of the training file."""
        own = items["train"]
        keys = [item.key for item in own]
        parts = take_shares(
            keys,
            self._config.split,
            self._config.seed,
            validation="validation" not in items,
            test="test" not in items,
        )
        splits = {part: [own[position] for position in kept] for part, kept in zip(PARTS, parts, strict=True)}
        for part in ("validation", "test"):
            if part in items:
                order = shuffled([item.key for item in items[part]], self._config.seed)
                splits[part] = [items[part][position] for position in order]
        return splits


def _without_duplicates(items: dict[str, list[_Item]]) -> dict[str, list[_Item]]:
    """Drop repeats of the same record, and of the same tokens, also between files."""
    by_record: dict[str, list[bytes]] = {part: [item.key for item in items.get(part, [])] for part in PARTS}
    for part, kept in zip(PARTS, distinct([by_record[part] for part in PARTS]), strict=True):
        if part in items:
            items[part] = [items[part][position] for position in kept]
    by_tokens = [[_token_key(item.example) for item in items.get(part, [])] for part in PARTS]
    return {
        part: [items[part][position] for position in kept]
        for part, kept in zip(PARTS, distinct(by_tokens), strict=True)
        if part in items
    }


def _token_key(example: Example) -> bytes:
    tokens, target = example
    return hashlib.sha256(tokens.tobytes() + target.tobytes()).digest()


def _joined(examples: Sequence[Example]) -> Split:
    lengths = [len(tokens) for tokens, _ in examples]
    arrays = {
        "tokens": np.concatenate([np.empty(0, np.int32), *(tokens for tokens, _ in examples)]),
        "offsets": np.cumsum([0, *lengths], dtype=np.int64),
        "target": np.concatenate([np.empty(0, np.bool_), *(target for _, target in examples)]),
    }
    for array in arrays.values():
        array.flags.writeable = False
    return Split(**arrays)


def _quantiles(lengths: npt.NDArray[np.int64]) -> tuple[int, int, int, int, int]:
    least, lower, median, upper, greatest = np.quantile(lengths, [0, 0.25, 0.5, 0.75, 1], method="lower")
    return int(least), int(lower), int(median), int(upper), int(greatest)


def _first(bad: Sequence[BadRecord], place: str) -> str:
    return f"the first, {place} {bad[0].line}: {bad[0].reason}" if bad else "it is empty"


def render_example(tokens: npt.NDArray[np.int32], target: npt.NDArray[np.bool_], tokenizer: Any) -> str:
    """Return the text of an example with what is predicted between ``⟦`` and ``⟧``."""
    borders = [0, *(np.flatnonzero(np.diff(target)) + 1).tolist(), len(tokens)]
    parts: list[str] = []
    before = ""
    for start, end in itertools.pairwise(borders):
        # Decoded from the start, since some tokenizers drop the space that a run of its own begins with.
        text = tokenizer.decode(
            tokens[:end].tolist(), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        added = (
            text[len(before) :] if text.startswith(before) else tokenizer.decode(tokens[start:end].tolist())
        )
        parts.append(f"⟦{added}⟧" if target[start] else added)
        before = text
    return "".join(parts)
