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
from .encode import Example
from .examples import Item, first_of, read_items, without_duplicates
from .formats import check_format, detect_format
from .records import RecordFile, read_records
from .split import PARTS, check_shares, shuffled, take_shares
from .templates import BuiltInTemplate, Template, check_template

BAD_RECORDS_KEPT = 10_000
"""Bad records that are named, the rest is counted: they are stored with the study and read with it, whole.

So many take about 1 MB; a file with more of them is the wrong file, or read in the wrong format.
"""

_ARRAYS = ("tokens", "offsets", "target")


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
    """In a fixed shuffled order; empty where its share is 0."""
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
        raise DataError(
            f"cutoff_len is {config.cutoff_len}, but an example needs at least 2 tokens: raise it"
        )
    paths = {"train": config.train, "validation": config.validation, "test": config.test}
    files = {
        part: read_records(path, encoding=config.encoding) for part, path in paths.items() if path is not None
    }
    formats = {part: _format(file, config.format) for part, file in files.items()}
    template = None if set(formats.values()) == {"text"} else _template(config.template, tokenizer)
    source = {
        "template": None if template is None else [template.name, template.text],
        "tokenizer": _tokenizer_hash(tokenizer),
        "cutoff_len": config.cutoff_len,
        "split": config.split,
        "seed": config.seed,
    }
    key = _hash(
        {
            **source,
            "layout": token_cache.LAYOUT,
            "files": {part: [file.name, file.digest, formats[part]] for part, file in files.items()},
            "encoding": config.encoding,
            "versions": [importlib.metadata.version(name) for name in ("tokenizers", "transformers")],
        }
    )
    found = token_cache.load(cache_dir, key, _from_arrays)
    if found is not None:
        return found
    data = _make(config, files, formats, template, tokenizer, source)
    arrays = {
        f"{part}/{name}": getattr(getattr(data, part), name)
        for part, name in itertools.product(PARTS, _ARRAYS)
    }
    token_cache.store(cache_dir, key, arrays, dataclasses.asdict(data.summary))
    # Read back, so that the memory is shared with the other workers from the start.
    return token_cache.load(cache_dir, key, _from_arrays) or data


def _format(file: RecordFile, wanted: str) -> str:
    if wanted != "auto":
        return wanted
    if not file.records:
        raise DataError(f"{file.name} has no usable record among {len(file.bad)}; {first_of(file.bad)}")
    return detect_format(file.name, (record for _, record in file.records), single=file.single)


def _template(name: str, tokenizer: Any) -> Template:
    if name == "auto" and tokenizer.chat_template:
        return ChatTemplate(tokenizer)
    return BuiltInTemplate("default" if name == "auto" else name, tokenizer)


def _make(
    config: DataConfig,
    files: dict[str, RecordFile],
    formats: dict[str, str],
    template: Template | None,
    tokenizer: Any,
    source: dict[str, Any],
) -> TokenizedData:
    usable: dict[str, list[Item]] = {part: [] for part in PARTS}
    bad: list[BadRecord] = []
    for part, file in files.items():
        usable[part], left_out = read_items(
            file, formats[part], template, tokenizer, cutoff_len=config.cutoff_len
        )
        bad += left_out
    distinct = dict(zip(PARTS, without_duplicates([usable[part] for part in PARTS]), strict=True))
    for part, file in files.items():
        if not distinct[part]:
            raise DataError(f"every record of {file.name} is also in another file: give records that differ")
    items = _split(distinct, files, config)
    splits = {part: _joined([item.example for item in items[part]]) for part in PARTS}
    found = sum(len(part) for part in usable.values())
    summary = DataSummary(
        format=formats["train"],
        template="none" if template is None else template.name,
        fingerprint=_fingerprint(source, splits),
        train=len(splits["train"]),
        validation=len(splits["validation"]),
        test=len(splits["test"]),
        records=found + len(bad),
        bad=len(bad),
        bad_records=tuple(bad[:BAD_RECORDS_KEPT]),
        duplicates=found - sum(len(part) for part in items.values()),
        cutoff_len=config.cutoff_len,
        truncated=sum(item.cut for part in items.values() for item in part),
        tokens=len(splits["train"].tokens),
        target_tokens=int(splits["train"].target.sum()),
        length_quantiles=_quantiles(splits["train"].lengths),
        rendered=render_example(*splits["train"].example(0), tokenizer),
    )
    return TokenizedData(**splits, summary=summary)


def _split(
    items: dict[str, list[Item]], files: dict[str, RecordFile], config: DataConfig
) -> dict[str, list[Item]]:
    """Take the splits that have no file of their own out of the training file."""
    own = items["train"]
    positions = take_shares(
        [item.key for item in own],
        config.split,
        config.seed,
        validation="validation" not in files,
        test="test" not in files,
    )
    splits = {part: [own[at] for at in chosen] for part, chosen in zip(PARTS, positions, strict=True)}
    for part in files.keys() - {"train"}:
        order = shuffled([item.key for item in items[part]], config.seed)
        splits[part] = [items[part][at] for at in order]
    return splits


def _joined(examples: Sequence[Example]) -> Split:
    arrays = {
        "tokens": np.concatenate([np.empty(0, np.int32), *(tokens for tokens, _ in examples)]),
        "offsets": np.cumsum([0, *(len(tokens) for tokens, _ in examples)], dtype=np.int64),
        "target": np.concatenate([np.empty(0, np.bool_), *(target for _, target in examples)]),
    }
    for array in arrays.values():
        array.flags.writeable = False
    return Split(**arrays)


def _from_arrays(arrays: dict[str, npt.NDArray[Any]], summary: dict[str, Any]) -> TokenizedData:
    splits = {part: Split(**{name: arrays[f"{part}/{name}"] for name in _ARRAYS}) for part in PARTS}
    bad_records = tuple(BadRecord(**record) for record in summary["bad_records"])
    quantiles = tuple(summary["length_quantiles"])
    return TokenizedData(
        **splits,
        summary=DataSummary(**{**summary, "bad_records": bad_records, "length_quantiles": quantiles}),
    )


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _tokenizer_hash(tokenizer: Any) -> str:
    """Return a hash of how a tokenizer turns text into tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        rules: Any = sorted(tokenizer.get_vocab().items())
    else:
        rules = json.loads(backend.to_str())
        # Left behind by the last call, whoever made it.
        rules.pop("truncation", None)
        rules.pop("padding", None)
    return _hash([type(tokenizer).__name__, rules, tokenizer.bos_token_id, tokenizer.eos_token_id])


def _fingerprint(source: dict[str, Any], splits: dict[str, Split]) -> str:
    """Return a hash of the tokens themselves and of what made them, the files' layout and place left out."""
    digest = hashlib.sha256(_hash(source).encode())
    for part, name in itertools.product(PARTS, ("offsets", "tokens", "target")):
        digest.update(getattr(splits[part], name).tobytes())
    return digest.hexdigest()[:16]


def _quantiles(lengths: npt.NDArray[np.int64]) -> tuple[int, int, int, int, int]:
    least, lower, median, upper, greatest = np.quantile(lengths, [0, 0.25, 0.5, 0.75, 1], method="lower")
    return int(least), int(lower), int(median), int(upper), int(greatest)


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
