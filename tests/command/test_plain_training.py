"""``tune train --method``: killed and gone on with, it ends with the same numbers; bad input is one line."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from loratune.storage.store import Store
from loratune.study.yardstick import KIND

SMALL = ("--examples=64", "--eval-examples=16", "--set=batch_size=4,8", "--set=lora_rank=2,4", "--workers=1")

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see processes")


@pytest.fixture(name="trained")
def train_at_full_length(tune, tmp_path):
    assert tune("search", "--trials=1", "--study=s", *SMALL).code == 0
    assert tune("train", "s", "--examples=1024", "--workers=1").code == 0
    return tmp_path


def recorded(folder: Path) -> dict[str, dict[str, object]]:
    """Return what was recorded of each method, but for what depends on the day."""
    with Store.open(str(folder / "tune.db"), mode="read") as store:
        events = store.events(store.study("s.train").id, KIND)
    lasting = ("losses", "tokens", "trainable", "rounds", "method")
    return {str(event.detail["method"]): {name: event.detail[name] for name in lasting} for event in events}


def test_killed_and_gone_on_with_it_ends_with_the_same_numbers(begin, tune, trained, is_alive, patiently):
    run = begin("train", "--method=full", "--learning-rate=0.002")
    for goal in ("round 2 of 8", "round 5 of 8"):
        run.wait_for(lambda goal=goal, run=run: goal in run.said, goal)
        left = run.children()
        assert len(left) == 1
        assert run.end(signal.SIGKILL) == -signal.SIGKILL
        patiently(lambda left=left: not is_alive(left), "the end of its worker")
        assert recorded(trained) == {}
        run = begin("train", "--method=full", "--learning-rate=0.002")
    assert run.end() == 0, run.said
    assert "round 1 of 8" not in run.said
    assert "round 8 of 8" in run.said
    interrupted = recorded(trained)
    again = tune("train", "--method=full", "--learning-rate=0.002")
    assert "trained before" in again.err

    with Store.open(str(trained / "tune.db"), mode="write") as store:
        study = store.study("s.train")
        files = list(store.study_dir(study.id).glob("plain/*"))
    assert files == []
    whole = trained / "whole"
    whole.mkdir()
    assert tune("search", "--trials=1", "--study=s", *SMALL, cwd=whole).code == 0
    assert tune("train", "s", "--examples=1024", "--workers=1", cwd=whole).code == 0
    done = tune("train", "--method=full", "--learning-rate=0.002", "--json", cwd=whole)
    assert done.code == 0, done.err
    assert [row["name"] for row in done.json["rows"]] == ["LoRA", "full"]
    assert recorded(whole) == interrupted
    shown = tune("show", cwd=whole)
    assert "against LoRA" in shown.out
    assert tune("show", "--json", cwd=whole).json["yardsticks"]["rows"] == done.json["rows"]
    too_many = tune("train", "--method=freeze", "--freeze-layers=99", cwd=whole)
    assert too_many.code == 1
    assert "has 4 decoder layers, and --freeze-layers 99 are more" in too_many.complaint


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--method=half"], "--method"),
        (["--freeze-layers=2"], "--freeze-layers goes with --method full or freeze"),
        (["--learning-rate=0.1"], "--learning-rate goes with --method"),
        (["--method=full", "--beside=default"], "--beside does not go with --method full"),
        (["--method=full", "--epochs=3"], "--epochs does not go"),
        (["--method=freeze", "--keep=best"], "--keep does not go"),
        (["--method=full", "--workers=1"], "--workers does not go"),
        (["--method=full", "--learning-rate=0"], "--learning-rate"),
        (["--method=freeze", "--freeze-layers=0"], "--freeze-layers"),
        (["--method=full"], "begin with: tune train done"),
    ],
)
def test_bad_input_is_one_line_and_nothing_begins(refused, study, words, complaint):
    ended = refused("train", *words, cwd=study)
    assert ended.code in (1, 2)
    assert complaint in ended.complaint
