"""Data sets as they are found in the world, where they lie beside this repository."""

from __future__ import annotations

from typing import Any

import pytest
from loratune.errors import DataError
from loratune.objectives.data.dataset import load_data
from loratune.study.config import DataConfig
from tokenized import (
    SHARED,
    check_data,
)
from transformers import AutoTokenizer


@pytest.fixture(scope="module")
def stories() -> Any:
    return AutoTokenizer.from_pretrained(SHARED / "models" / "stories260K")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not here")
class TestRealData:
    @pytest.mark.parametrize(
        ("path", "format", "records", "bad"),
        [
            ("disfl_qa/dev_alpaca.jsonl", "alpaca", 1000, 0),
            ("disfl_qa/train_alpaca.jsonl", "alpaca", 7182, 0),
            ("llama_factory/alpaca_en_demo.json", "alpaca", 999, 0),
            ("llama_factory/alpaca_zh_demo.json", "alpaca", 1000, 0),
            ("llama_factory/identity.json", "alpaca", 91, 0),
            ("llama_factory/glaive_toolcall_en_demo.json", "sharegpt", 300, 0),
            ("mlx_prompt_completion/train.jsonl", "prompt_completion", 1800, 0),
            ("mlx_wikisql/train.jsonl", "text", 1000, 0),
            ("openai_toy_chat/toy_chat_fine_tuning.jsonl", "messages", 5, 1),
            ("self_instruct/seed_tasks_alpaca.json", "alpaca", 175, 0),
            ("sentence_polarity/sentence_polarity.csv", "text", 10662, 0),
        ],
    )
    def test_every_set_is_read(self, stories: Any, path: str, format: str, records: int, bad: int) -> None:  # noqa: A002
        named = "text" if path.endswith(".csv") else "auto"  # its label is left unused
        config = DataConfig(train=str(SHARED / "data" / path), cutoff_len=512, format=named)
        data = load_data(config, stories, cache_dir=None)
        check_data(data, 512)
        assert (data.summary.format, data.summary.records, data.summary.bad) == (format, records, bad)

    def test_the_faulty_chats_are_named_and_cut(self, stories: Any) -> None:
        path = SHARED / "data" / "openai_toy_chat" / "toy_chat_fine_tuning.jsonl"
        summary = load_data(DataConfig(train=str(path)), stories, cache_dir=None).summary
        (bad,) = summary.bad_records
        assert bad.line == 4
        assert "no user has spoken" in bad.reason
        assert summary.truncated == 1

    def test_files_of_the_user_s_own(self, stories: Any) -> None:
        folder = SHARED / "data" / "mlx_wikisql"
        config = DataConfig(
            train=str(folder / "train.jsonl"),
            validation=str(folder / "valid.jsonl"),
            test=str(folder / "test.jsonl"),
            cutoff_len=512,
        )
        data = load_data(config, stories, cache_dir=None)
        check_data(data, 512)
        assert (data.summary.validation, data.summary.test) == (100, 100)

    @pytest.mark.parametrize(
        "name", ["disfl_qa/dev.json", "self_instruct/seed_tasks.jsonl", "llama_factory/dataset_info.json"]
    )
    def test_what_is_no_known_format_is_refused(self, stories: Any, name: str) -> None:
        with pytest.raises(DataError, match="none of the known formats"):
            load_data(DataConfig(train=str(SHARED / "data" / name)), stories, cache_dir=None)

    def test_stories_begin_once_and_end(self, stories: Any) -> None:
        path = SHARED / "data" / "disfl_qa" / "dev_alpaca.jsonl"
        data = load_data(DataConfig(train=str(path), cutoff_len=512), stories, cache_dir=None)
        for index in range(len(data.train)):
            tokens, _ = data.train.example(index)
            assert tokens[0] == stories.bos_token_id
            assert tokens[-1] == stories.eos_token_id
            assert (tokens == stories.bos_token_id).sum() == 1
            assert not (tokens == stories.unk_token_id).any()
