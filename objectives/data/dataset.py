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
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydantic

from ...study.config import DataConfig
from ...study.facts import DataSummary, Endings
from . import token_cache
from .chat_template import ChatTemplate
from .encode import Example
from .examples import Items, Positions, keys_of, read_items, without_duplicates
from .jinja_templates import as_jinja
from .left_out import BAD_RECORDS_KEPT, together
from .sources import Looked, check_distinct, check_options, look, split_keys, told_by
from .split import PARTS
from .stops import endings_of, find_stops
from .templates import BuiltInTemplate, Template

_SUMMARY = pydantic.TypeAdapter(DataSummary)

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
    """In the order of the files."""
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
    check_options(config)
    looked = look(config)
    plain = all(one.reading.format == "text" for one in looked)
    template = None if plain else _template(config, tokenizer)
    rendering = {
        "template": None if template is None else [template.name, template.text],
        "tokenizer": _tokenizer_hash(tokenizer),
        "cutoff_len": config.cutoff_len,
        "split": config.split,
        "seed": config.seed,
    }
    key = _hash(
        {
            **rendering,
            "layout": token_cache.LAYOUT,
            **told_by(looked),
            "encoding": config.encoding,
            "rules": config.rules,
            "versions": [importlib.metadata.version(name) for name in ("tokenizers", "transformers")],
        }
    )
    found = token_cache.load(cache_dir, key, _from_arrays)
    if found is not None:
        return found
    data = _make(config, looked, template, tokenizer, rendering)
    arrays = {
        f"{part}/{name}": getattr(getattr(data, part), name)
        for part, name in itertools.product(PARTS, _ARRAYS)
    }
    token_cache.store(cache_dir, key, arrays, dataclasses.asdict(data.summary))
    # Read back, so that the memory is shared with the other workers from the start.
    return token_cache.load(cache_dir, key, _from_arrays) or data


def load_again(fingerprint: str, *, cache_dir: Path | None) -> TokenizedData | None:
    """Return tokens that another worker put into the cache, None where they are not there.

    Neither the files nor the tokenizer are read again: the fingerprint is of the tokens themselves.
    """
    return token_cache.find(cache_dir, lambda summary: summary["fingerprint"] == fingerprint, _from_arrays)


def _template(config: DataConfig, tokenizer: Any) -> Template:
    name = config.template
    if name == "auto" and tokenizer.chat_template:
        return ChatTemplate(tokenizer, rules=config.rules)
    return BuiltInTemplate("default" if name == "auto" else name, tokenizer)


def _make(
    config: DataConfig,
    looked: list[Looked],
    template: Template | None,
    tokenizer: Any,
    rendering: dict[str, Any],
) -> TokenizedData:
    usable = {part: Items() for part in PARTS}
    logs = [
        read_items(
            one.source.file,
            one.reading,
            template,
            tokenizer,
            cutoff_len=config.cutoff_len,
            items=usable[one.source.part],
        )
        for one in looked
    ]
    distinct = dict(zip(PARTS, without_duplicates([usable[part] for part in PARTS]), strict=True))
    check_distinct(distinct, [one.source for one in looked])
    keys = {part: keys_of(usable[part], positions) for part, positions in distinct.items()}
    chosen = {
        part: (of, distinct[of][np.asarray(taken, np.int64)])
        for part, (of, taken) in split_keys(keys, {one.source.part for one in looked}, config, logs).items()
    }
    splits = {part: _split(usable[of], positions) for part, (of, positions) in chosen.items()}
    lost = np.concatenate([usable[of].lost(positions) for of, positions in chosen.values()])
    found = sum(len(items) for items in usable.values())
    bad = sum(log.count for log in logs)
    shortened = together(log.shortened for log in logs if log.shortened)
    formats = tuple(one.reading.format for one in looked if one.source.part == "train")
    summary = DataSummary(
        format=" and ".join(dict.fromkeys(formats)),
        template="none" if template is None else template.name,
        fingerprint=_fingerprint(rendering, splits),
        train=len(splits["train"]),
        validation=len(splits["validation"]),
        test=len(splits["test"]),
        records=found + bad,
        bad=bad,
        bad_records=tuple(record for log in logs for record in log.bad)[:BAD_RECORDS_KEPT],
        duplicates=found - sum(len(positions) for _, positions in chosen.values()),
        cutoff_len=config.cutoff_len,
        truncated=int(lost[:, :2].any(axis=1).sum()),
        ends_lost=int(lost[:, 2].sum()),
        tokens=len(splits["train"].tokens),
        target_tokens=int(splits["train"].target.sum()),
        length_quantiles=_quantiles(splits["train"].lengths),
        rendered=render_example(*splits["train"].example(0), tokenizer),
        rendered_cut=_cut_words(*usable["train"].lost(chosen["train"][1][:1])[0].tolist()),
        reasons=together(reason for log in logs for reason in log.reasons),
        shortened=shortened[0] if shortened else None,
        columns=tuple(use for one in looked for use in one.reading.uses(one.source.file.name, one.survey)),
        endings=_endings(splits["train"], template, tokenizer),
        formats=formats if len(formats) > 1 else (),
    )
    return TokenizedData(**splits, summary=summary)


def _split(items: Items, positions: Positions) -> Split:
    arrays = items.joined(positions)
    for array in arrays.values():
        array.flags.writeable = False
    return Split(**arrays)


def _endings(train: Split, template: Template | None, tokenizer: Any) -> Endings:
    """Return how the training examples' answers end, and the template that an export carries."""
    stops = find_stops(tokenizer) if template is None else template.stops
    counts, inside = endings_of(train.tokens, train.target, stops)
    examples = np.unique(np.searchsorted(train.offsets, np.flatnonzero(inside), side="right"))
    jinja = None if template is None else as_jinja(template, tokenizer)
    return Endings(
        tokens=tuple(tokenizer.convert_ids_to_tokens(list(counts))),
        ids=tuple(counts),
        added=isinstance(template, ChatTemplate) and not template.ends_answers,
        # In plain text whole conversations may lie, each of whose turns ends.
        inside=0 if template is None else len(examples),
        tokenizer_token=tokenizer.eos_token or "",
        tokenizer_class=type(tokenizer).__name__,
        chat_template="" if jinja is None else jinja.text,
        prompts=0 if jinja is None else jinja.prompts,
        prompts_differ=0 if jinja is None else jinja.differ,
    )


def _cut_words(prompt: int, answer: int, ends: int) -> str:
    """Say what cutting took from an example; nothing where it took nothing."""
    if not prompt and not answer:
        return ""
    parts = [
        f"{count} token{'s' * (count != 1)} of its {what}"
        for count, what in ((prompt, "prompt"), (answer, "answer"))
        if count
    ]
    end = ", and with them its stop token" if ends else ""
    return f"{' and '.join(parts)} were cut off{end}"


def _from_arrays(arrays: dict[str, npt.NDArray[Any]], summary: dict[str, Any]) -> TokenizedData:
    splits = {part: Split(**{name: arrays[f"{part}/{name}"] for name in _ARRAYS}) for part in PARTS}
    return TokenizedData(**splits, summary=_SUMMARY.validate_python(summary))


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


def _fingerprint(rendering: dict[str, Any], splits: dict[str, Split]) -> str:
    """Return a hash of the tokens themselves and of what made them, the files' layout and place left out."""
    digest = hashlib.sha256(_hash(rendering).encode())
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
