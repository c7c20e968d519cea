"""What tests of tokenized data share: records, what became of them, and what must hold of any data."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from loratune.objectives.data.dataset import Split, TokenizedData
from transformers import PreTrainedTokenizerFast

MakeTokenizer = Callable[..., PreTrainedTokenizerFast]


SHARED = Path(__file__).parents[1].parent / "shared"


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_records(folder: Path, records: list[Any], name: str = "train.jsonl") -> str:
    path = folder / name
    path.write_text("\n".join(json.dumps(record) for record in records))
    return str(path)


def sums(start: int, stop: int) -> list[dict[str, str]]:
    return [{"instruction": f"{n}+{n}", "output": f"{2 * n}"} for n in range(start, stop)]


def examples_of(split: Split) -> set[tuple[bytes, bytes]]:
    pairs = (split.example(index) for index in range(len(split)))
    return {(tokens.tobytes(), target.tobytes()) for tokens, target in pairs}


def answers_of(split: Split, tokenizer: PreTrainedTokenizerFast) -> list[str]:
    pairs = (split.example(index) for index in range(len(split)))
    return [tokenizer.decode(tokens[target].tolist()) for tokens, target in pairs]


def questions_of(data: TokenizedData, part: str, tokenizer: PreTrainedTokenizerFast) -> set[str]:
    split: Split = getattr(data, part)
    pairs = (split.example(index) for index in range(len(split)))
    return {tokenizer.decode(tokens[~target].tolist()) for tokens, target in pairs}


def check_data(data: TokenizedData, cutoff_len: int) -> None:
    """Check what must hold of any data."""
    summary = data.summary
    parts = [data.train, data.validation, data.test]
    assert [len(part) for part in parts] == [summary.train, summary.validation, summary.test]
    assert summary.records == summary.bad + summary.duplicates + sum(len(part) for part in parts)
    seen = [examples_of(part) for part in parts]
    assert [len(one) for one in seen] == [len(part) for part in parts]
    assert all(one.isdisjoint(other) for one, other in itertools.combinations(seen, 2))
    for part in parts:
        assert part.tokens.dtype == np.int32
        assert part.offsets.dtype == np.int64
        assert part.target.dtype == np.bool_
        assert np.array_equal(part.lengths, np.diff(part.offsets))
        assert part.lengths.max(initial=0) <= cutoff_len
        assert part.target_tokens.min(initial=1) >= 1
        assert part.target_tokens.sum() == part.target.sum()
        assert not part.target[part.offsets[:-1]].any()
    assert summary.tokens == len(data.train.tokens)
    assert summary.target_tokens == data.train.target_tokens.sum()
    assert summary.length_quantiles[0] == data.train.lengths.min()
    assert summary.length_quantiles[4] == data.train.lengths.max()
