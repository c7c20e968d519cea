"""What lies where something is written to: nothing of the user's is lost without a word."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from pathlib import Path

import pytest


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished study, for a test that changes it."""
    folder = tmp_path / "study"
    shutil.copytree(finished, folder)
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ["export", "-o", "train.yaml"],
        ["export", "--format=json", "-o", "train.yaml"],
        ["export", "--format=llamafactory", "-o", "train.yaml"],
        ["report", "-o", "train.yaml"],
        ["plot", "history", "-o", "plot.html"],
        ["plot", "history", "-o", "plot.json"],
        ["report", "-o", "tune.db"],
    ],
    ids=" ".join,
)
def test_a_file_that_was_not_made_by_the_command_stays(refused, study, words):
    target = study / words[-1]
    if target.name != "tune.db":
        target.write_text('{"of": "mine"}\n')
    before = target.read_bytes()
    ended = refused(*words, cwd=study)
    assert ended.code == 1
    assert f"{words[-1]}: is there already" in ended.complaint
    assert "name another file" in ended.complaint
    assert target.read_bytes() == before
    assert not (study / "dataset_info.json").exists()


def test_force_writes_over_a_file_and_the_same_once_more_needs_none(tune, study):
    (study / "train.yaml").write_text("mine\n")
    assert tune("export", "-o", "train.yaml", "--force", cwd=study).code == 0
    assert "learning_rate:" in (study / "train.yaml").read_text()
    again = tune("export", "-o", "train.yaml", cwd=study)
    assert again.code == 0, again.err


@pytest.mark.parametrize("words", [["--format=llamafactory", "-o", "mine.yaml"], ["-o", "mine.json"]])
def test_an_export_says_whether_it_wrote_a_file_or_replaced_one(tune, study, words):
    path = study / words[-1]
    first = tune("export", *words, cwd=study)
    assert (first.code, first.err.splitlines()[0]) == (0, f"wrote {path.name}")
    path.write_text("mine\n")
    refused = tune("export", *words, cwd=study)
    assert (refused.code, path.read_text()) == (1, "mine\n")
    forced = tune("export", *words, "--force", cwd=study)
    assert (forced.code, forced.err.splitlines()[0]) == (0, f"replaced {path.name}")
    assert path.read_text() != "mine\n"


def test_an_earlier_report_or_plot_is_replaced(tune, study):
    for words in (
        ["report", "-o", "r.html"],
        ["plot", "curves", "-o", "p.html"],
        ["plot", "curves", "-o", "p.json"],
    ):
        for _ in range(2):
            ended = tune(*words, cwd=study)
            assert ended.code == 0, ended.err
        assert ended.err.splitlines()[0] == f"replaced {words[-1]}"


def test_a_link_stays_a_link_and_a_pipe_a_pipe(tune, study):
    (study / "there").mkdir()
    (study / "link.html").symlink_to("there/real.html")
    assert tune("report", "-o", "link.html", cwd=study).code == 0
    assert (study / "link.html").is_symlink()
    assert "loratune report" in (study / "there" / "real.html").read_text()
    os.mkfifo(study / "pipe.html")
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append((study / "pipe.html").read_text()))
    reader.start()
    assert tune("report", "-o", "pipe.html", cwd=study).code == 0
    reader.join(60)
    assert "loratune report" in got[0]
    assert (study / "pipe.html").is_fifo()


def test_the_screen_can_be_named_as_a_file(tune, study):
    ended = tune("export", "-o", "/dev/stdout", cwd=study)
    assert ended.code == 0, ended.err
    assert "learning_rate:" in ended.out


def worsened(folder: Path) -> None:
    """Let the base model of the study be better than all of its trials."""
    with sqlite3.connect(folder / "tune.db") as database:
        database.execute("UPDATE tune_studies SET facts = json_set(facts, '$.base_loss', 0.01), seal = NULL")
    database.close()


def test_a_best_trial_that_is_no_better_than_the_base_model_is_not_exported_unless_asked(tune, study):
    worsened(study)
    ended = tune("export", "-o", "new.yaml", cwd=study)
    assert (ended.code, ended.out) == (1, "")
    assert "the base model has 0.0100" in ended.complaint
    assert "--anyway" in ended.complaint
    assert not (study / "new.yaml").exists()
    ended = tune("export", "-o", "new.yaml", "--anyway", cwd=study)
    assert ended.code == 0
    assert ended.err.splitlines()[0] == "warning: this trial is no better than the base model"
    assert "# Warning: it is no better than the base model" in (study / "new.yaml").read_text()
    shown = tune("show", cwd=study)
    assert "no better than the base model" in shown.out.splitlines()[1]
    assert any(line.strip().startswith("Warning: the base model") for line in shown.out.splitlines())


def test_a_trial_that_was_named_is_exported_with_a_warning(tune, study):
    worsened(study)
    number = tune("list", "--json", cwd=study).json[0]["best_trial"]
    ended = tune("export", f"--trial={number}", cwd=study)
    assert ended.code == 0
    assert ended.err == "warning: this trial is no better than the base model\n"
    assert ended.out.startswith("# Trial")
