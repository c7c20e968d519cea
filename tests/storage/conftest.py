"""Studies to write and read, on each database that can be had."""

from __future__ import annotations

import contextlib
import datetime
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from loratune.spaces.params import LoraParams
from loratune.storage.store import Store
from loratune.study.records import CurvePoint, Evaluation, RoundUpdate, StudyRecord
from made_up_studies import make_config, make_facts

PARAMS = LoraParams(learning_rate=3e-4, batch_size=8, lora_rank=16, lora_alpha=32, warmup_ratio=0.1)
POSTGRES = "TUNE_TEST_POSTGRES"
"""Environment variable with the URL of a PostgreSQL server on which databases may be made."""


@pytest.fixture
def params() -> LoraParams:
    return PARAMS


@contextlib.contextmanager
def _postgres() -> Iterator[str]:
    server = os.environ[POSTGRES]
    psycopg = pytest.importorskip("psycopg")
    name = f"loratune_{secrets.token_hex(4)}"
    plain = server.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield f"{server.rpartition('/')[0]}/{name}"
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", *(["postgresql"] if os.environ.get(POSTGRES) else [])])
def address(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where a database may be made."""
    monkeypatch.chdir(tmp_path)
    if request.param == "sqlite":
        yield str(tmp_path / "tune.db")
    else:
        with _postgres() as url:
            yield url


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a SQLite file may be made."""
    return tmp_path / "tune.db"


@pytest.fixture
def store(address: str) -> Iterator[Store]:
    with Store.open(address, mode="create") as opened:
        yield opened


@pytest.fixture
def make_study() -> Callable[..., StudyRecord]:
    def make(store: Store, name: str = "first", trials: int = 10) -> StudyRecord:
        config = make_config(default_source="ü", seed=7)
        return store.create_study(name=name, trials=trials, config=config, facts=make_facts())

    return make


@pytest.fixture
def round_update() -> Callable[..., RoundUpdate]:
    """Make what is recorded of a trial after a round."""

    def make(
        trial: int,
        round_number: int,
        *,
        train_loss: float | None = 2.5,
        eval_loss: float | None = 2.25,
        checkpoint: str | None = None,
    ) -> RoundUpdate:
        at = datetime.datetime(2026, 3, 1, 12, 0, round_number, tzinfo=datetime.UTC)
        point = CurvePoint(
            trial=trial,
            round=round_number,
            examples=192 * round_number,
            train_loss=train_loss,
            eval_loss=eval_loss,
            learning_rate=1e-4,
            grad_norm=0.5,
            tokens_per_second=1234.5,
            memory_bytes=5_000_000_000,
            worker=1,
            started_at=at,
            finished_at=at + datetime.timedelta(seconds=1.25),
        )
        evaluation = Evaluation(
            losses=np.array([1.5, np.inf, 0.1], dtype=np.float32), tokens=np.array([3, 70_000, 1])
        )
        return RoundUpdate(
            trial=trial,
            round=round_number,
            point=point,
            evaluation=None if eval_loss is None else evaluation,
            checkpoint=checkpoint,
        )

    return make


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach; pytest's own folders they cannot."""
    with tempfile.TemporaryDirectory(prefix="loratune-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


@pytest.fixture
def owned(
    path: Path, make_study: Callable[..., StudyRecord], params: LoraParams
) -> Iterator[tuple[Store, StudyRecord]]:
    """A study of five running trials."""
    with Store.open(str(path), mode="create") as store:
        study = make_study(store)
        store.acquire(study.id)
        for number in range(5):
            store.add_trial(study.id, number=number, params=params, seed=0, source="tpe")
        yield store, study
