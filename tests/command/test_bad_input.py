"""What a user may get wrong: one line that says what, which value and what to do; nothing is lost."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from folder_contents import files
from loratune.app import preparing, searching
from loratune.app.request import make_config
from loratune.demo import data_path, model_path
from loratune.objectives.testing.fake import FakeWorker
from loratune.spaces.presets import preset

RECORD = {"instruction": "Say hello.", "output": "hello"}
HOLD = """
import time
from loratune.storage.store import Store
with Store.open({path!r}, mode="write") as store:
    store.acquire(store.study("done").id)
    print("mine", flush=True)
    time.sleep(240)
"""


# What a worker refuses, when it looks at model and data


def no_data(folder: Path) -> list[str]:
    return with_data()


def empty_data(folder: Path) -> list[str]:
    (folder / "data.json").write_bytes(b"")
    return with_data()


def data_cut_in_half(folder: Path) -> list[str]:
    whole = json.dumps([{**RECORD, "input": str(number)} for number in range(40)])
    (folder / "data.json").write_text(whole[: len(whole) // 2])
    return with_data()


def data_without_the_fields(folder: Path) -> list[str]:
    (folder / "data.json").write_text(json.dumps([{"question": "a", "reply": "b"}] * 40))
    return with_data()


def undecodable_data(folder: Path) -> list[str]:
    text = json.dumps([{**RECORD, "input": "Grüße"}], ensure_ascii=False)
    (folder / "data.json").write_bytes(text.encode("latin-1"))
    return with_data()


def with_data() -> list[str]:
    return ["--model", str(model_path()), "--data", "data.json"]


def a_cutoff_that_cuts_off_every_answer(folder: Path) -> list[str]:
    return ["--cutoff-len=2"]


def a_budget_smaller_than_a_round_needs(folder: Path) -> list[str]:
    return ["--examples=64", "--set=batch_size=4,16"]


def a_device_that_is_not_there(folder: Path) -> list[str]:
    return ["--device=cuda:99"]


def a_model_that_is_nowhere(folder: Path) -> list[str]:
    return ["--model", "./nowhere", "--data", str(data_path())]


def model_without(name: str, folder: Path) -> list[str]:
    shutil.copytree(model_path(), folder / "model")
    (folder / "model" / name).unlink()
    return ["--model", "model", "--data", str(data_path())]


def a_model_without_weights(folder: Path) -> list[str]:
    return model_without("model.safetensors", folder)


def a_model_without_its_tokenizer(folder: Path) -> list[str]:
    return model_without("tokenizer.json", folder)


def a_model_without_its_config(folder: Path) -> list[str]:
    return model_without("config.json", folder)


REFUSED: dict[Callable[[Path], list[str]], tuple[str, ...]] = {
    no_data: ("data.json", "there is no data file", "check the path"),
    empty_data: ("data.json", "empty"),
    data_cut_in_half: ("data.json", "line 1"),
    data_without_the_fields: ("data.json", "question", "reply"),
    undecodable_data: ("data.json", "--encoding"),
    a_cutoff_that_cuts_off_every_answer: ("cutoff_len 2",),
    a_budget_smaller_than_a_round_needs: ("64 is too few for batch size 16", "128"),
    a_device_that_is_not_there: ("device: 'cuda:99'", "is not there", "--device cpu"),
    a_model_that_is_nowhere: ("nowhere",),
    a_model_without_weights: ("/model", "weights"),
    a_model_without_its_tokenizer: ("/model", "tokenizer"),
    a_model_without_its_config: ("/model", "config.json"),
}
"""By what is wrong, what the line must say."""


def contents(folder: Path) -> dict[str, bytes | None]:
    """Return everything below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory, run_tune) -> dict[str, tuple[object, bool]]:
    """How a search of each ended, and whether its folder is as it was; two at a time: each loads torch."""

    # Made here: two threads that both ask for the session's first folder trip over each other.
    folders = {spoil: tmp_path_factory.mktemp(spoil.__name__) for spoil in REFUSED}

    def attempt(spoil: Callable[[Path], list[str]]) -> tuple[str, tuple[object, bool]]:
        folder = folders[spoil]
        words = spoil(folder)
        before = contents(folder)
        ended = run_tune("search", "--trials=2", *words, cwd=folder)
        return spoil.__name__, (ended, contents(folder) == before)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return dict(pool.map(attempt, REFUSED))


@pytest.mark.parametrize("spoil", REFUSED, ids=lambda spoil: spoil.__name__)
def test_a_worker_says_what_is_wrong_before_a_study_is_made(refusals, spoil):
    ended, untouched = refusals[spoil.__name__]
    assert ended.code == 1
    for words in REFUSED[spoil]:
        assert words in ended.complaint
    assert ended.out == ""
    assert untouched


# Space


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--set", "lora_rank=0"], ("lora_rank", "0")),
        (["--set", "lora_rank=0,8"], ("lora_rank", "0")),
        (["--set", "learning_rate=-1e-3"], ("learning_rate", "-")),
        (["--set", "learning_rate=-1e-3..1e-2:log"], ("learning_rate", "-")),
        (["--set", "learning_rate=1e-2..1e-3:log"], ("learning_rate", "0.01", "0.001")),
        (["--set", "learnig_rate=1e-3"], ("learnig_rate", "did you mean 'learning_rate'?")),
        (["--set", "learning_rate"], ("learning_rate",)),
        (["--space", "tyni"], ("tyni", "did you mean 'tiny'?")),
        (["--enqueue", "{lora_rank: 3}"], ("lora_rank", "3")),
        (["--enqueue", "{lora_rnk: 8}"], ("lora_rnk", "did you mean 'lora_rank'?")),
        (["--enqueue", "{lora_rank: ["], ("--enqueue", "is no mapping")),
        (["--enqueue", "learning_rate"], ("--enqueue", "is no mapping")),
        (["--set", "foo=1"], ("'foo'", "there are learning_rate, batch_size")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_space_that_cannot_be_searched_is_refused_before_anything_is_loaded(refused, tmp_path, words, says):
    ended = refused("search", "--trials=2", *words)
    depends_on_space = "--space" in words or "{lora_rank: 3}" in words
    assert ended.code == (1 if depends_on_space else 2)
    for word in says:
        assert word in ended.complaint
    assert not (tmp_path / "tune.db").exists()


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("trails: 5\n", 2, ("trails", "did you mean 'trials'?")),
        ("trials: many\n", 2, ("trials", "many")),
        ("set:\n  lora_rank: [0, 8]\n", 2, ("lora_rank", "0")),
        ("trials: [5\n", 2, ("search.yaml", "line")),
        ("model: !!python/object/apply:os.system [touch owned]\n", 2, ("search.yaml",)),
    ],
)
def test_a_config_file_with_an_error_names_the_field(refused, tmp_path, text, code, says):
    (tmp_path / "search.yaml").write_text(text)
    ended = refused("search", "--config", "search.yaml")
    assert ended.code == code
    for word in says:
        assert word in ended.complaint
    assert [path.name for path in tmp_path.iterdir() if path.name in ("tune.db", "owned")] == []


def test_a_config_file_that_is_not_there_is_named(refused):
    ended = refused("search", "--config", "serch.yaml")
    assert ended.code == 2
    assert "serch.yaml" in ended.complaint


@pytest.mark.parametrize("name", ["banana", "cuda:", "cuda:x", "CPU", ""])
def test_a_device_that_no_machine_has_is_wrong_usage(refused, tmp_path, name):
    ended = refused("search", "--trials=2", "--device", name)
    assert ended.code == 2
    assert f"--device: {name!r} is not one of auto, cpu, cuda, cuda:N" in ended.complaint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag", ["--data", "--validation", "--test"])
def test_a_data_file_that_is_not_there_is_named_before_anything_is_loaded(refused, tmp_path, flag):
    files = {"--data": data_path(), "--validation": data_path(), "--test": data_path(), flag: "data.json"}
    given = [word for pair in files.items() for word in map(str, pair)]
    for command in ("plan", "search"):
        ended = refused(command, "--model", str(model_path()), *given)
        assert ended.code == 1
        assert "there is no data file" in ended.complaint
        assert "data.json" in ended.complaint
    assert list(tmp_path.iterdir()) == []


def test_more_workers_than_a_gpu_is_shared_by_are_refused_before_a_study_is_made(
    refused, tmp_path, monkeypatch
):
    def prepare(request, **_):
        worker = FakeWorker()
        config = make_config(request, preset("tiny"))
        facts = worker.prepare(config.objective)
        facts = dataclasses.replace(facts, model=dataclasses.replace(facts.model, device="cuda"))
        return preparing.PreparedStudy(config=config, facts=facts, worker=worker)

    monkeypatch.setattr(searching, "prepare", prepare)
    ended = refused("search", "--trials=8", "--workers=5")
    assert ended.code == 2
    assert "--workers 5: at most 4 share a GPU, and 1 can be used" in ended.complaint
    assert not (tmp_path / "tune.db").exists()


# Studies


def test_a_search_that_runs_elsewhere_is_found_before_anything_is_loaded(refused, study):
    path = str(study / "tune.db")
    hold = [sys.executable, "-c", HOLD.format(path=path)]
    owner = subprocess.Popen(hold, stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "mine\n"
        ended = refused("search", "--study=done", cwd=study)
    finally:
        owner.kill()
        owner.communicate()
    assert ended.code == 1
    assert f"study 'done': process {owner.pid} on this machine" in ended.complaint
    assert "--take-over" in ended.complaint


@pytest.mark.parametrize("name", ["../etc", "", "a b", "x" * 65, "ü", "a/b", "a\nb", ".", "..", "-x", ".x"])
def test_a_bad_name_of_a_study_is_refused(refused, tmp_path, name):
    ended = refused("search", "--trials=2", f"--study={name}")
    assert ended.code == 1
    assert "1 to 64" in ended.complaint
    assert list(tmp_path.iterdir()) == []


def test_a_name_taken_by_another_configuration_says_what_differs(tune, study, small):
    before = files(study)
    before.pop("tune.db")
    flags = [flag for flag in small if "lora_rank" not in flag]
    ended = tune("search", "--trials=6", "--study=done", "--set=lora_rank=2,8", *flags, cwd=study)
    assert ended.code == 1
    assert "study 'done' exists with another configuration" in ended.complaint
    assert "space.lora_rank is 2, 4, not 2, 8" in ended.complaint
    assert tune("list", "--json", cwd=study).json[0]["ended"] == 6
    assert {name: data for name, data in files(study).items() if name in before} == before


def test_the_same_choices_with_a_greater_total_go_on_with_the_study(tune, study, small):
    ended = tune("search", "--trials=7", "--study=done", "--keep-adapters=2", *small, cwd=study)
    assert ended.code == 0, ended.err
    assert "done: " in ended.err
    assert [row["ended"] for row in tune("list", "--json", cwd=study).json] == [7]


@pytest.mark.parametrize(
    "words", [["resume"], ["show"], ["plot", "history"], ["report"], ["export"]], ids=lambda words: words[0]
)
def test_a_study_that_is_not_there_is_answered_with_the_nearest(refused, study, words):
    before = files(study)
    ended = refused(*words, "dnoe", cwd=study)
    assert ended.code == 1
    assert "study 'dnoe': not in" in ended.complaint
    assert "did you mean 'done'?" in ended.complaint
    assert files(study).keys() == before.keys()


def test_a_total_below_what_is_there_is_wrong_usage(refused, study):
    ended = refused("resume", "done", "--trials=3", cwd=study)
    assert ended.code == 2
    assert "--trials 3" in ended.complaint
    assert "6" in ended.complaint


@pytest.mark.parametrize(
    "words",
    [["list"], ["show"], ["plot", "history"], ["report"], ["export"], ["resume"]],
    ids=lambda words: words[0],
)
def test_without_a_database_the_command_says_how_to_make_one(refused, tmp_path, words):
    ended = refused(*words)
    assert ended.code == 1
    assert "tune search makes one" in ended.complaint
    assert list(tmp_path.iterdir()) == []


def test_a_trial_that_is_not_there_is_named(refused, study):
    ended = refused("show", "--trial=99", cwd=study)
    assert ended.code == 1
    assert "99" in ended.complaint


# Databases
