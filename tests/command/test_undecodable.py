r"""Files and folders whose names are no text, such as ``caf\xe9``: all works, or is refused in one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from loratune.demo import data_path, model_path

E = "\udce9"
"""How Python holds a byte 0xe9 in the name of a file."""

IN_C = {"LC_ALL": "C", "PYTHONUTF8": "0"}
"""A locale that reads paths as ASCII."""


def call(*words: str | bytes, cwd: Path, **more: str) -> tuple[int, str, str]:
    """Run the command; bytes that are no text come back as surrogates."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TUNE_", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, "-m", "loratune", *words],
        cwd=cwd,
        env={**kept, "HF_HUB_OFFLINE": "1", **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=240,
        check=False,
    )
    out, err = done.stdout.decode(), done.stderr.decode()  # what is printed is text, whatever a path is
    assert "Traceback" not in out + err, err
    assert "unexpected" not in err, err
    return done.returncode, out, err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is not UTF-8, with data, a config file and a finished study that are not either."""
    made = tmp_path_factory.mktemp("undecodable") / f"caf{E}"
    try:
        made.mkdir()
    except OSError:
        pytest.skip("this file system takes no name that is not UTF-8")
    shutil.copy(data_path(), made / f"d{E}.jsonl")
    (made / f"c{E}.yaml").write_text(
        "set: {batch_size: [4, 8], lora_rank: [2, 4]}\nexamples: 64\nworkers: 1\n"
    )
    code, _, err = call(
        *("search", "--study=done", "--trials=3", "--eval-examples=16", "--keep-adapters=1"),
        *("--model", str(model_path()), "--data", f"d{E}.jsonl", "--config", f"c{E}.yaml"),
        *("--storage", f"s{E}.db"),
        cwd=made,
    )
    assert code == 0, err
    assert (made / f"s{E}.db").exists()
    return made


@pytest.fixture(autouse=True)
def storage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNE_STORAGE", raising=False)


@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["list", "--json"],
        ["show"],
        ["show", "--trial=1"],
        ["show", "--json"],
        ["plot", "history"],
        ["export"],
        ["export", "--format=json"],
    ],
    ids=" ".join,
)
def test_what_only_reads_works(folder, words):
    code, out, err = call(*words, cwd=folder, **{"TUNE_STORAGE": f"s{E}.db"})
    assert (code, err) == (0, "")
    if "--json" in words:
        json.loads(out)


def test_what_is_written_lies_where_it_was_asked_for_and_names_the_data(folder):
    storage = ("--storage", f"s{E}.db")
    for words in (
        ["plot", "history", "-o", f"p{E}.html"],
        ["report", "-o", f"r{E}.html"],
        ["export", "-o", f"e{E}.yaml"],
        ["export", "--format=json", "-o", f"e{E}.json"],
        ["export", "--format=peft", "-o", f"adapter{E}"],
        ["export", "--format=llamafactory", "-o", f"l{E}.yaml"],
    ):
        code, _, err = call(*words, *storage, cwd=folder)
        assert code == 0, err
        assert (folder / words[-1]).exists()
        assert f"wrote {words[-1].replace(E, chr(92) + 'xe9')}" in err
    data = str(folder / f"d{E}.jsonl")
    assert json.loads((folder / f"e{E}.json").read_text())["data"]["train"] == data
    assert yaml.safe_load((folder / f"e{E}.yaml").read_text())["data"]["train"] == data
    assert json.loads((folder / "dataset_info.json").read_text())["loratune_done"]["file_name"] == data


def test_a_study_goes_on_there(folder, tmp_path):
    copy = tmp_path / f"copy{E}"
    shutil.copytree(folder, copy)
    code, _, err = call("resume", "--trials=4", "--storage", f"s{E}.db", cwd=copy)
    assert code == 0, err
    code, out, _ = call("list", "--json", "--storage", f"s{E}.db", cwd=copy)
    assert json.loads(out)[0]["ended"] == 4


def test_the_command_to_go_on_with_can_be_copied_into_a_shell(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    code, _, err = call("resume", "--trials=3", "--storage", str(copy / f"s{E}.db"), cwd=tmp_path)
    assert code == 0, err
    line = next(line for line in err.splitlines() if "tune report" in line)
    given = line.partition("--storage ")[2].partition(" -o")[0]
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash to copy it into")
    listed = subprocess.run([bash, "-c", f"ls {given}"], capture_output=True, check=False)
    assert listed.stdout == os.fsencode(copy / f"s{E}.db") + b"\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["list", "--storage", f"none{E}.db"], "none\\xe9.db: no such database"),
        (["show", f"d{E}", "--storage", f"s{E}.db"], "study 'd\\udce9': not in"),
        (["search", "--study", f"d{E}"], "study name 'd\\udce9'"),
        (["search", "--config", f"none{E}.yaml"], "none\\xe9.yaml: cannot be read"),
        (["search", "--space", f"none{E}.yaml"], "none"),
        (["search", "--set", f"lora_rank={E}"], "lora_rank: '\\udce9' is not a whole number"),
        (["search", "--enqueue", f"{{lora_rank: {E}}}"], "enqueue"),
        (["search", "--device", f"cpu{E}"], "--device: 'cpu\\udce9'"),
        (["search", f"--{E}"], "no such option --\\xe9"),
        ([f"l{E}st"], "no command 'l\\udce9st'"),
        (["plan", "--data", f"none{E}.jsonl", "--model", str(model_path())], "none\\udce9.jsonl"),
        (["report", "-o", f"d{E}.jsonl/r.html", "--storage", f"s{E}.db"], "d\\xe9.jsonl"),
    ],
    ids=lambda value: " ".join(value).replace(E, "?")[:40] if isinstance(value, list) else "",
)
def test_what_is_not_there_is_named_in_one_line(folder, words, says):
    code, out, err = call(*words, cwd=folder)
    assert code in (1, 2)
    assert out == ""
    (line,) = err.splitlines()
    assert says in line


def test_a_model_whose_folder_is_no_text_is_refused_in_one_line(folder):
    shutil.copytree(model_path(), folder / f"m{E}", dirs_exist_ok=True)
    code, out, err = call("plan", "--model", f"m{E}", "--data", f"d{E}.jsonl", cwd=folder)
    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    assert "m\\xe9: the name of a model's folder must be UTF-8; rename it" in line


def test_a_locale_of_ascii_reads_paths_as_the_others_do(tmp_path, folder):
    place = tmp_path / "Füße"
    place.mkdir()
    shutil.copy(data_path(), place / "größe.jsonl")
    shutil.copytree(model_path(), place / "Münze")
    flags = ("--model", "Münze", "--data", "größe.jsonl", "--storage", "ä.db", "--config")
    config = str(folder / f"c{E}.yaml")
    code, _, err = call(*("search", "--trials=2", "--eval-examples=16"), *flags, config, cwd=place, **IN_C)
    assert code == 0, err
    assert (place / "ä.db").exists()
    code, out, _ = call("show", "--json", "--storage", "ä.db", cwd=place)
    assert dict(json.loads(out)["data_files"])["train"] == str(place / "größe.jsonl")
    code, out, _ = call("list", "--storage", "ä.db", cwd=place, **IN_C)
    assert code == 0
    assert out.isascii()
    assert "2 complete" in out
    code, _, err = call("report", "-o", "Größe.html", "--storage", "ä.db", cwd=place, **IN_C)
    assert code == 0, err
    assert "größe.jsonl" in (place / "Größe.html").read_text(encoding="utf-8")
