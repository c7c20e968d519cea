"""A record that is far too long is cut before it is tokenized, and ends as it would without that."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loratune.objectives.data import clip as module
from loratune.objectives.data.clip import characters_kept, clip
from loratune.objectives.data.dataset import load_data
from loratune.objectives.data.formats import Conversation, PlainText, Turn
from loratune.study.config import DataConfig
from transformers import PreTrainedTokenizerFast

RECORDS: list[dict[str, Any]] = [
    {"instruction": "Q", "output": "long " * 400},
    {"instruction": "Q", "output": "z", "history": [["a", "b " * 300], ["c " * 300, "d"]]},
    *({"instruction": str(number), "output": "a"} for number in range(8)),
]


def _turns(*lengths: int) -> Conversation:
    roles = ("user", "assistant")
    turns = tuple(
        Turn(role=roles[number % 2], content="x" * length)  # type: ignore[arg-type]
        for number, length in enumerate(lengths)
    )
    return Conversation(turns=turns)


def test_what_is_not_too_long_stays_as_it_is() -> None:
    for parsed in (PlainText(text="x" * 10), _turns(5, 5), _turns(1, 2, 3, 4)):
        assert clip(parsed, 10) is parsed


def test_a_long_record_ends_at_an_answer() -> None:
    assert clip(PlainText(text="x" * 11), 10) == PlainText(text="x" * 10)
    assert clip(_turns(5, 50), 10) == _turns(5, 10)
    assert clip(_turns(50, 5, 1, 1), 10) == _turns(10, 5)
    assert clip(_turns(1, 1, 50, 5, 9, 9), 10) == _turns(1, 1, 10, 5)


@pytest.mark.parametrize("rules", [1, 2])
def test_the_tokens_that_are_kept_are_the_same(
    tmp_path: Path,
    make_tokenizer: Callable[..., PreTrainedTokenizerFast],
    monkeypatch: pytest.MonkeyPatch,
    rules: int,
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in RECORDS))
    config = DataConfig(train=str(path), cutoff_len=60, rules=rules)
    whole = load_data(config, make_tokenizer(), cache_dir=None).summary
    monkeypatch.setattr(module, "LEAST_CHARACTERS", 100)
    monkeypatch.setattr(module, "CHARACTERS_OF_A_TOKEN", 1)
    assert characters_kept(60) == 100
    cut = load_data(config, make_tokenizer(), cache_dir=None).summary
    assert whole.truncated == cut.truncated == 2
    assert whole.fingerprint == cut.fingerprint
