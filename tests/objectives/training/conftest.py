"""A session on a tiny model, and three trials that it has trained each alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from loratune.objectives.training.session import Session
from loratune.study.config import ObjectiveConfig
from trained_trials import PARAMS, Left, make_config, run


@pytest.fixture(scope="module", name="config")
def make_study_config(tiny_model: Path, tiny_data: Path) -> ObjectiveConfig:
    return make_config(tiny_model, tiny_data)


@pytest.fixture(scope="module", name="session")
def make_session(config: ObjectiveConfig):
    session = Session(config)
    yield session
    session.close()


@pytest.fixture(scope="module", name="alone")
def run_each_alone(session: Session, tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[Left]]:
    folder = tmp_path_factory.mktemp("alone")
    return {trial: run(session, [trial], folder)[trial] for trial in PARAMS}
