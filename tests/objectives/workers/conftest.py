"""Worker processes that serve the tiny session, and workers of either kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loratune.objectives.testing.fake import FakePlan, FakeWorker
from loratune.objectives.workers.process import ProcessWorker
from worker_talk import Make

HERE = Path(__file__).parent


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ProcessWorker]]:
    """Make worker processes that serve the tiny session; all are closed afterwards."""
    monkeypatch.syspath_prepend(HERE)
    made: list[ProcessWorker] = []

    def make(index: int = 0, **more: object) -> ProcessWorker:
        log = tmp_path / "logs" / f"worker-{index}.log"
        made.append(ProcessWorker(index, log, session="tiny_session:TinySession", **more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for worker in made:
        worker.close()


@pytest.fixture(params=["fake", "process"])
def make(request: pytest.FixtureRequest, tiny: Callable[..., ProcessWorker]) -> Make:
    """Make workers of either kind."""
    return tiny if request.param == "process" else lambda: FakeWorker(plan=FakePlan())
