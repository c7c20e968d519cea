from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loratune.errors import DataError
from loratune.objectives.data import dataset, left_out
from loratune.objectives.data.dataset import Split, TokenizedData, load_data
from loratune.study.config import DataConfig
from transformers import AutoTokenizer, PreTrainedTokenizerFast

MakeTokenizer = Callable[..., PreTrainedTokenizerFast]

SHARED = Path(__file__).parents[3].parent / "shared"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer(make_tokenizer: MakeTokenizer) -> PreTrainedTokenizerFast:
    return make_tokenizer()


def _file(folder: Path, records: list[Any], name: str = "train.jsonl") -> str:
    path = folder / name
    path.write_text("\n".join(json.dumps(record) for record in records))
    return str(path)


def _sums(start: int, stop: int) -> list[dict[str, str]]:
    return [{"instruction": f"{n}+{n}", "output": f"{2 * n}"} for n in range(start, stop)]


def _examples(split: Split) -> set[tuple[bytes, bytes]]:
    pairs = (split.example(index) for index in range(len(split)))
    return {(tokens.tobytes(), target.tobytes()) for tokens, target in pairs}


def _answers(split: Split, tokenizer: PreTrainedTokenizerFast) -> list[str]:
    pairs = (split.example(index) for index in range(len(split)))
    return [tokenizer.decode(tokens[target].tolist()) for tokens, target in pairs]


def _questions(data: TokenizedData, part: str, tokenizer: PreTrainedTokenizerFast) -> set[str]:
    split: Split = getattr(data, part)
    pairs = (split.example(index) for index in range(len(split)))
    return {tokenizer.decode(tokens[~target].tolist()) for tokens, target in pairs}


def _check(data: TokenizedData, cutoff_len: int) -> None:
    """Check what must hold of any data."""
    summary = data.summary
    parts = [data.train, data.validation, data.test]
    assert [len(part) for part in parts] == [summary.train, summary.validation, summary.test]
    assert summary.records == summary.bad + summary.duplicates + sum(len(part) for part in parts)
    seen = [_examples(part) for part in parts]
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


def test_alpaca_records_become_questions_and_answers(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    data = load_data(DataConfig(train=_file(tmp_path, _sums(0, 100))), tokenizer, cache_dir=None)
    _check(data, 1024)
    assert data.summary.format == "alpaca"
    assert data.summary.template == "default"
    assert (len(data.train), len(data.validation), len(data.test)) == (70, 15, 15)
    tokens, target = data.train.example(0)
    assert tokenizer.decode(tokens.tolist()) in (
        f"<s>Human: {n}+{n}</s>\nAssistant:{2 * n}</s>" for n in range(100)
    )
    assert tokenizer.decode(tokens[target].tolist()).endswith("</s>")


def test_the_model_s_own_template_is_taken_where_it_has_one(
    tmp_path: Path, make_tokenizer: MakeTokenizer
) -> None:
    tokenizer = make_tokenizer("<|im_start|>", "<|im_end|>", chat_template=CHATML)
    config = DataConfig(train=_file(tmp_path, _sums(1, 9)))
    data = load_data(config, tokenizer, cache_dir=None)
    assert data.summary.template == "model's own"
    assert data.summary.rendered.startswith("<|im_start|>user\n")
    named = load_data(dataclasses.replace(config, template="alpaca"), tokenizer, cache_dir=None)
    assert named.summary.template == "alpaca"
    assert "### Response:\n⟦" in named.summary.rendered


def test_a_study_of_the_first_rules_keeps_answers_that_end_in_no_token(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    config = DataConfig(train=_file(tmp_path, _sums(0, 9)), template="chatml", split=(0.8, 0.2, 0.0))
    now = load_data(config, tokenizer, cache_dir=None)
    before = load_data(dataclasses.replace(config, rules=1), tokenizer, cache_dir=None)
    assert all(answer.endswith("<|im_end|></s>") for answer in _answers(now.train, tokenizer))
    assert all(answer.endswith("<|im_end|>") for answer in _answers(before.train, tokenizer))
    assert now.summary.fingerprint != before.summary.fingerprint


def test_the_rendered_example_marks_what_is_predicted(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    record = {"instruction": "Q2", "output": "A2", "history": [["Q1", "A1"]]}
    path = _file(tmp_path, [record, *_sums(0, 2)])
    data = load_data(DataConfig(train=path, split=(0.9, 0.1, 0.0)), tokenizer, cache_dir=None)
    texts = {
        "<s>Human: Q1</s>\nAssistant:⟦A1</s>⟧\nHuman: Q2</s>\nAssistant:⟦A2</s>⟧",
        "<s>Human: 0+0</s>\nAssistant:⟦0</s>⟧",
    }
    assert data.summary.rendered in texts


def test_plain_text_is_predicted_from_the_second_token_on(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    path = _file(tmp_path, [{"text": f"text {n}"} for n in range(10)])
    data = load_data(DataConfig(train=path), tokenizer, cache_dir=None)
    _check(data, 1024)
    assert data.summary.template == "none"
    assert data.summary.target_tokens == data.summary.tokens - len(data.train)
    assert all(answer.endswith("</s>") for answer in _answers(data.train, tokenizer))


def test_repeats_are_dropped_and_counted(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    records = _sums(0, 40)
    path = _file(tmp_path, [*records, *records[:7], {**records[0], "input": ""}])
    data = load_data(DataConfig(train=path), tokenizer, cache_dir=None)
    _check(data, 1024)
    assert data.summary.duplicates == 8


def test_records_that_are_equal_once_they_are_cut_are_repeats(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    records = [{"instruction": "q", "output": "x" * 100 + str(n)} for n in range(5)]
    path = _file(tmp_path, [*records, *_sums(0, 10)])
    data = load_data(DataConfig(train=path, cutoff_len=60), tokenizer, cache_dir=None)
    _check(data, 60)
    assert data.summary.duplicates == 4
    assert data.summary.truncated == 1


def test_the_user_s_own_files_win_over_the_training_file(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    config = DataConfig(
        train=_file(tmp_path, _sums(0, 20)),
        validation=_file(tmp_path, _sums(15, 25), "validation.jsonl"),
        test=_file(tmp_path, _sums(24, 27), "test.jsonl"),
    )
    data = load_data(config, tokenizer, cache_dir=None)
    _check(data, 1024)
    assert (len(data.train), len(data.validation), len(data.test)) == (15, 9, 3)
    assert data.summary.duplicates == 6
    assert any("24+24" in question for question in _questions(data, "test", tokenizer))


@pytest.mark.parametrize(("given_part", "made_part"), [("validation", "test"), ("test", "validation")])
def test_a_split_without_a_file_is_taken_out_of_training(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, given_part: str, made_part: str
) -> None:
    more = {given_part: _file(tmp_path, _sums(100, 110), "more.jsonl")}
    data = load_data(DataConfig(train=_file(tmp_path, _sums(0, 100)), **more), tokenizer, cache_dir=None)  # type: ignore[arg-type]
    _check(data, 1024)
    assert (len(data.train), len(getattr(data, made_part)), len(getattr(data, given_part))) == (85, 15, 10)


def test_files_that_hold_the_same_are_refused(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    path = _file(tmp_path, _sums(0, 20))
    with pytest.raises(DataError, match=r"every record of train\.jsonl is also in another file"):
        load_data(DataConfig(train=path, validation=path), tokenizer, cache_dir=None)


def test_the_seed_decides_the_split(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    path = _file(tmp_path, _sums(0, 60))
    one, same, other = (
        load_data(DataConfig(train=path, seed=seed), tokenizer, cache_dir=None) for seed in (0, 0, 1)
    )
    assert one.summary == same.summary
    assert np.array_equal(one.train.tokens, same.train.tokens)
    assert _examples(one.test) != _examples(other.test)
    assert one.summary.fingerprint != other.summary.fingerprint


def test_the_test_set_is_the_same_for_every_model(tmp_path: Path, make_tokenizer: MakeTokenizer) -> None:
    path = _file(tmp_path, _sums(0, 60))
    chat = make_tokenizer("<|im_start|>", "<|im_end|>", chat_template=CHATML, merges=("10",))
    mine = make_tokenizer()
    found = []
    for tokenizer in (chat, mine):
        data = load_data(DataConfig(train=path), tokenizer, cache_dir=None)
        found.append([answer[:-1] for answer in _answers(data.test, tokenizer)])
    numbers = [[answer.split("<")[0] for answer in answers] for answers in found]
    assert numbers[0] == numbers[1]


def test_bad_records_are_counted_and_named(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    lines = [json.dumps(record) for record in _sums(0, 10)]
    lines[2] = '{"instruction": "x", "output"'
    lines[5] = '{"instruction": "x", "output": ""}'
    lines.extend('{"instruction": "y"}' for _ in range(30))
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(lines))
    validation = _file(tmp_path, [{"text": "no"}, *_sums(50, 52)], "validation.jsonl")
    data = load_data(DataConfig(train=str(path), validation=validation), tokenizer, cache_dir=None)
    _check(data, 1024)
    summary = data.summary
    assert summary.bad == 33
    assert len(summary.bad_records) == 33
    assert [(bad.file, bad.line) for bad in summary.bad_records[:3]] == [
        ("train.jsonl", 3),
        ("train.jsonl", 6),
        ("train.jsonl", 11),
    ]
    assert summary.bad_records[1].reason == "'output' is empty"
    assert summary.bad_records[-1].where == "validation.jsonl:1"


def test_bad_records_beyond_the_bound_are_counted_alone(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(left_out, "BAD_RECORDS_KEPT", 4)
    monkeypatch.setattr(dataset, "BAD_RECORDS_KEPT", 4)
    path = _file(tmp_path, [*_sums(0, 10), *[{"instruction": "y"}] * 7])
    summary = load_data(DataConfig(train=path), tokenizer, cache_dir=None).summary
    assert summary.bad == 7
    assert [bad.line for bad in summary.bad_records] == [11, 12, 13, 14]


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("a.jsonl", "a.jsonl:3"),
        ("a.csv", "a.csv:4"),
        ("a.json", "a.json: record 3"),
        ("a.parquet", "a.parquet: record 3"),
    ],
)
def test_a_bad_record_is_named_by_what_its_file_counts(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, name: str, where: str, cached: bool
) -> None:
    records = _sums(0, 9)
    records[2]["output"] = ""
    path = tmp_path / name
    if name == "a.json":
        path.write_text(json.dumps(records, indent=2))
    elif name == "a.parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), path)
    elif name == "a.csv":
        rows = [f"{record['instruction']},{record['output']}" for record in records]
        path.write_text("\n".join(["instruction,output", *rows]))
    else:
        _file(tmp_path, records, name)
    cache = tmp_path / "cache" if cached else None
    data = load_data(DataConfig(train=str(path)), tokenizer, cache_dir=cache)
    (bad,) = data.summary.bad_records
    assert (bad.where, bad.reason) == (where, "'output' is empty")


def test_a_record_that_the_template_refuses_is_a_bad_one(
    tmp_path: Path, make_tokenizer: MakeTokenizer
) -> None:
    template = "{% if messages | length > 2 %}{{ raise_exception('too many') }}{% endif %}" + CHATML
    tokenizer = make_tokenizer("<|im_start|>", "<|im_end|>", chat_template=template)
    long = {"instruction": "x", "output": "y", "history": [["a", "b"]]}
    data = load_data(DataConfig(train=_file(tmp_path, [long, *_sums(0, 5)])), tokenizer, cache_dir=None)
    (bad,) = data.summary.bad_records
    assert bad.line == 1
    assert bad.reason == "the model's chat template refuses it: too many"


@pytest.mark.parametrize(
    ("records", "more", "message"),
    [
        (
            [{"instruction": "x"}],
            {"format": "alpaca"},
            "train.jsonl has no usable record among 1; the first, line 1: no field",
        ),
        (["x", 2], {}, "train.jsonl has no usable record among 2; the first, line 1: a record must be"),
        (_sums(0, 2), {}, "2 distinct examples cannot be split into train, validation and test: at least 3"),
        ([_sums(0, 1)[0]] * 9, {}, "1 distinct example cannot be split"),
        ([{"a": 1}], {}, "train.jsonl has records with the fields 'a': none of the known formats"),
        (_sums(0, 9), {"cutoff_len": 1}, "cutoff_len is 1, but an example needs at least 2 tokens"),
        (_sums(0, 9), {"template": "vicuna"}, "the template 'vicuna' is not known"),
        (_sums(0, 9), {"format": "csv"}, "the format 'csv' is not known"),
        (_sums(0, 9), {"split": (0.5, 0.5, 0.5)}, "the split (0.5, 0.5, 0.5) is not valid"),
        (
            [{"instruction": "x" * 200, "output": f"{n}"} for n in range(9)],
            {"cutoff_len": 3},
            "cutoff_len 3 leaves nothing of any answer in train.jsonl: give a greater --cutoff-len",
        ),
    ],
)
def test_what_leaves_nothing_to_train_on_is_one_line(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, records: list[Any], more: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        load_data(DataConfig(train=_file(tmp_path, records), **more), tokenizer, cache_dir=None)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_answer_that_is_cut_away_is_a_bad_record(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    records = [{"instruction": "x" * 2000, "output": "y" * 25}, *_sums(0, 9)]
    data = load_data(DataConfig(train=_file(tmp_path, records), cutoff_len=40), tokenizer, cache_dir=None)
    (bad,) = data.summary.bad_records
    assert bad.line == 1
    assert bad.reason == "cut from 2046 tokens to cutoff_len 40, it has no answer left"


class TestFingerprint:
    @pytest.fixture
    def config(self, tmp_path: Path) -> DataConfig:
        return DataConfig(train=_file(tmp_path, _sums(0, 30)))

    def _of(self, config: DataConfig, tokenizer: PreTrainedTokenizerFast) -> str:
        return load_data(config, tokenizer, cache_dir=None).summary.fingerprint

    def test_it_is_the_same_for_the_same_records_in_another_file(
        self, config: DataConfig, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
    ) -> None:
        (tmp_path / "moved.json").write_text(json.dumps(_sums(0, 30), indent=2))
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
        fewer = dataclasses.replace(config, train=_file(tmp_path, _sums(0, 29), "fewer.jsonl"))
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
        config = DataConfig(train=_file(tmp_path, [*_sums(0, 30), {"instruction": "x"}]))
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
        _check(second, 1024)
        with pytest.raises(AssertionError, match="tokenized again"):
            load_data(dataclasses.replace(config, cutoff_len=99), tokenizer, cache_dir=tmp_path / "cache")

    def test_a_torn_file_is_made_again(self, tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
        config = DataConfig(train=_file(tmp_path, _sums(0, 30)))
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
        config = DataConfig(train=_file(tmp_path, _sums(0, 30)))
        first = load_data(config, tokenizer, cache_dir=tmp_path / "cache")
        _file(tmp_path, _sums(0, 31))
        second = load_data(config, tokenizer, cache_dir=tmp_path / "cache")
        assert (first.summary.records, second.summary.records) == (30, 31)

    def test_arrays_are_read_only_with_a_cache_and_without(
        self, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
    ) -> None:
        config = DataConfig(train=_file(tmp_path, _sums(0, 30)))
        for cache in (None, tmp_path / "cache"):
            data = load_data(config, tokenizer, cache_dir=cache)
            assert not data.train.tokens.flags.writeable


words = st.text("ab \n", min_size=1, max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=st.lists(
        st.fixed_dictionaries(
            {"instruction": words, "output": words},
            optional={"history": st.lists(st.tuples(words, words), max_size=2), "system": words},
        ),
        min_size=3,
        max_size=30,
    ),
    cutoff_len=st.integers(2, 120),
    seed=st.integers(0, 3),
    template=st.sampled_from(["auto", "alpaca", "chatml", "plain"]),
)
def test_whatever_the_records_no_example_is_in_two_splits_or_too_long(
    tmp_path: Path,
    tokenizer: PreTrainedTokenizerFast,
    records: list[dict[str, Any]],
    cutoff_len: int,
    seed: int,
    template: str,
) -> None:
    config = DataConfig(train=_file(tmp_path, records), cutoff_len=cutoff_len, seed=seed, template=template)
    try:
        data = load_data(config, tokenizer, cache_dir=None)
    except DataError:
        return
    assert data.summary.records == len(records)
    _check(data, cutoff_len)
    if data.summary.truncated:
        return
    # This tokenizer has no token of ChatML's, so its own ends the answer.
    end = "<|im_end|></s>" if template == "chatml" else "</s>"
    expected = {
        "".join(
            answer + end for answer in (*(pair[1] for pair in record.get("history", ())), record["output"])
        )
        for record in records
    }
    for part in (data.train, data.validation, data.test):
        assert set(_answers(part, tokenizer)) <= expected


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
        _check(data, 512)
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
        _check(data, 512)
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
