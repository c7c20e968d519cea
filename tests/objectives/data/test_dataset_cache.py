"""Tokens that are kept for the next time, and the fingerprint that says whether they are the same."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loratune.objectives.data.dataset import load_data
from loratune.study.config import DataConfig
from tokenized import (
    CHATML,
    MakeTokenizer,
    check_data,
    sums,
    write_records,
)
from transformers import PreTrainedTokenizerFast


class TestFingerprint:
    @pytest.fixture
    def config(self, tmp_path: Path) -> DataConfig:
        return DataConfig(train=write_records(tmp_path, sums(0, 30)))

    def _of(self, config: DataConfig, tokenizer: PreTrainedTokenizerFast) -> str:
        return load_data(config, tokenizer, cache_dir=None).summary.fingerprint

    def test_it_is_the_same_for_the_same_records_in_another_file(
        self, config: DataConfig, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
    ) -> None:
        (tmp_path / "moved.json").write_text(json.dumps(sums(0, 30), indent=2))
        moved = dataclasses.replace(config, train=str(tmp_path / "moved.json"))
        assert self._of(config, tokenizer) == self._of(moved, tokenizer)

    @pytest.mark.parametrize(
        "change", [{"template": "plain"}, {"cutoff_len": 512}, {"seed": 1}, {"split": (0.6, 0.2, 0.2)}]
    )
    def test_it_changes_with_every_choice(
        self, config: DataConfig, tokenizer: PreTrainedTokenizerFast, change: dict[str, Any]
    ) -> None:
        assert self._of(config, tokenizer) != self._of(dataclasses.replace(config, **change), tokenizer)

    def test_it_changes_with_the_records_the_chat_template_and_the_tokenizer(
        self, config: DataConfig, tmp_path: Path, make_tokenizer: MakeTokenizer
    ) -> None:
        fewer = dataclasses.replace(config, train=write_records(tmp_path, sums(0, 29), "fewer.jsonl"))
        specials = ("<|im_start|>", "<|im_end|>")
        found = [
            self._of(config, make_tokenizer()),
            self._of(fewer, make_tokenizer()),
            self._of(config, make_tokenizer(merges=("zq",))),
            self._of(config, make_tokenizer(*specials, chat_template=CHATML)),
            self._of(config, make_tokenizer(*specials, chat_template=CHATML + "{# other #}")),
        ]
        assert len(set(found)) == len(found)

    def test_it_does_not_depend_on_what_the_tokenizer_did_before(
        self, config: DataConfig, make_tokenizer: MakeTokenizer
    ) -> None:
        fresh, used = make_tokenizer(), make_tokenizer()
        used(["a", "b"], truncation=True, max_length=5)
        assert "max_length" in used.backend_tokenizer.to_str()
        assert self._of(config, fresh) == self._of(config, used)


class TestCache:
    def test_the_second_load_tokenizes_nothing(
        self, tmp_path: Path, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = DataConfig(train=write_records(tmp_path, [*sums(0, 30), {"instruction": "x"}]))
        first = load_data(config, tokenizer, cache_dir=tmp_path / "cache")

        def fail(*_: object, **__: object) -> None:
            raise AssertionError("tokenized again")

        monkeypatch.setattr("loratune.objectives.data.dataset.read_items", fail)
        second = load_data(config, tokenizer, cache_dir=tmp_path / "cache")
        assert first.summary == second.summary
        for part in ("train", "validation", "test"):
            for name in ("tokens", "offsets", "target"):
                assert np.array_equal(
                    getattr(getattr(first, part), name), getattr(getattr(second, part), name)
                )
        check_data(second, 1024)
        with pytest.raises(AssertionError, match="tokenized again"):
            load_data(dataclasses.replace(config, cutoff_len=99), tokenizer, cache_dir=tmp_path / "cache")

    def test_a_torn_file_is_made_again(self, tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
        config = DataConfig(train=write_records(tmp_path, sums(0, 30)))
        cache = tmp_path / "cache"
        first = load_data(config, tokenizer, cache_dir=cache)
        (path,) = cache.iterdir()
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        again = load_data(config, tokenizer, cache_dir=cache)
        assert again.summary == first.summary
        assert len(path.read_bytes()) == len(whole)
        assert list(cache.iterdir()) == [path]

    def test_a_file_that_changed_is_read_again(
        self, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
    ) -> None:
        config = DataConfig(train=write_records(tmp_path, sums(0, 30)))
        first = load_data(config, tokenizer, cache_dir=tmp_path / "cache")
        write_records(tmp_path, sums(0, 31))
        second = load_data(config, tokenizer, cache_dir=tmp_path / "cache")
        assert (first.summary.records, second.summary.records) == (30, 31)

    def test_arrays_are_read_only_with_a_cache_and_without(
        self, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
    ) -> None:
        config = DataConfig(train=write_records(tmp_path, sums(0, 30)))
        for cache in (None, tmp_path / "cache"):
            data = load_data(config, tokenizer, cache_dir=cache)
            assert not data.train.tokens.flags.writeable
