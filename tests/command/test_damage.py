"""A database with damaged bytes: each command says so in one line, and never shows what is stored."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from loratune.app import workers
from loratune.app.request import make_config, make_request
from loratune.cli import main
from loratune.objectives.testing.fake import FakeFleet, FakeWorker
from loratune.search.loop import run
from loratune.search.study_record import create, objective_of
from loratune.spaces.presets import preset
from loratune.storage.store import Store

COMMANDS = (
    ("list",),
    ("show",),
    ("show", "--json"),
    ("show", "--trial=3"),
    ("plot", "history"),
    ("export",),
    ("resume", "--trials=25"),
)

DAMAGES = 24
"""Random ones, each held against every command."""

TARGETED: dict[str, tuple[bytes, bytes]] = {
    "a text that is no UTF-8": (b'"batch_size": ', b'"batch_\xff\xfee": '),
    "JSON that breaks off": (b'{"geometry": ', b'{"geometry"} '),
    "a fact of another name": (b'"base_loss": ', b'"base_lass": '),
    "a fact of another type": (b'"final_eval_examples": ', b'"final_eval_examplex": '),
    "a number that is a text": (b'"micro_batch": 4', b'"micro_batch":"x"'),
    "a space that is none": (b'"high": 0.1', b'"high": "x1'),
    "a state that there is not": (b"complete", b"complate"),
    "a moment that is none": (b"+00:00", b"+0z:00"),
    "a parameter out of bounds": (b'"lora_rank": ', b'"lora_rink": '),
    "Optuna's distribution": (b"FloatDistribution", b"FloatDistributiom"),
    "a table of another name": (b"CREATE TABLE tune_trials", b"CREATE TABLE tune_traals"),
}
"""What is written over each of the places where something stands."""


class Fake(FakeWorker):
    """A worker that trains nothing, made as a process is."""

    def __init__(self, index: int = 0, *_: object, **__: object) -> None:
        super().__init__(index)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study of 24 trials, by workers that train nothing."""
    folder = tmp_path_factory.mktemp("made")
    config = make_config(make_request(None, {}), preset("tiny"))
    with Store.open(str(folder / "tune.db"), mode="create") as store:
        facts = FakeWorker().prepare(config.objective)
        study = create(store, name="done", config=config, facts=facts, trials=24)
        objective = objective_of(study)
        run(store, study, factory=FakeFleet(), count=1, objective=objective)
    return folder


@pytest.fixture
def call(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run a command on a database of these bytes; return its exit code, its stderr and its stdout."""
    monkeypatch.setattr(workers, "ProcessWorker", Fake)
    monkeypatch.delenv("TUNE_STORAGE", raising=False)
    monkeypatch.setenv("COLUMNS", "100")

    def run_on(content: bytes, *words: str) -> tuple[int, str, str]:
        folder = tmp_path / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(made, folder)
        (folder / "tune.db").write_bytes(content)
        monkeypatch.chdir(folder)
        monkeypatch.setattr("sys.argv", ["tune", *words])
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            os.chdir(made)
        shown = capsys.readouterr()
        return code, shown.err, shown.out

    return run_on


def hold(code: int, said: str) -> None:
    """Hold what a command said against what it may say of a damaged database."""
    assert "Traceback" not in said
    assert "unexpected" not in said, said
    assert '{"' not in said, said
    assert len([line for line in said.splitlines() if line.startswith("tune: ")]) == (code == 1), said
    assert code in (0, 1)
    assert max(map(len, said.splitlines()), default=0) < 500


def damaged(content: bytes, number: int) -> bytes:
    """Return the bytes with one damage: a bit, a byte, sixteen bytes, or half a kilobyte of zeros."""
    chance = random.Random(number)
    spoilt = bytearray(content)
    kind = number % 4
    while spoilt == content:  # zeros over zeros are no damage
        at = chance.randrange(100, len(content) - 512)
        if kind == 0:
            spoilt[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            spoilt[at] = chance.randrange(256)
        elif kind == 2:
            spoilt[at : at + 16] = chance.randbytes(16)
        else:
            spoilt[at : at + 512] = bytes(512)
    return bytes(spoilt)


@pytest.mark.parametrize("number", range(DAMAGES))
def test_no_command_trips_over_a_damage(made, call, number):
    whole = (made / "tune.db").read_bytes()
    content = damaged(whole, number)
    for words in COMMANDS[number % 2 :: 2]:
        code, said, shown = call(content, *words)
        hold(code, said)
        if code == 0 and words[0] != "resume":
            # What is shown in spite of it is what was stored.
            assert shown == call(whole, *words)[2]


@pytest.mark.parametrize("name", TARGETED)
def test_what_cannot_be_read_is_said_to_be_damaged(made, call, name):
    whole, spoilt = TARGETED[name]
    content = (made / "tune.db").read_bytes()
    assert whole in content
    # As long as before: a damage moves nothing.
    content = content.replace(whole, spoilt[: len(whole)].ljust(len(whole)))
    told = []
    for words in (("show",), ("resume", "--trials=25")):
        code, said, _ = call(content, *words)
        hold(code, said)
        told.append(said)
    assert any("damaged" in said or "not a database" in said for said in told), told
    assert any("tune db check" in said for said in told), told


def test_a_database_that_is_whole_is_read_and_gone_on_with(made, call):
    content = (made / "tune.db").read_bytes()
    for words in COMMANDS:
        code, said, _ = call(content, *words)
        assert code == 0, said
