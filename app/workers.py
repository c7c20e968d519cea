"""How a worker process is started for a device; the one place that chooses which kind of worker trains."""

from __future__ import annotations

from pathlib import Path

from ..objectives.workers.process import ProcessWorker

_PLAIN = f"{__package__.rpartition('.')[0]}.objectives.training.plain_training:PlainSession"
"""What a worker serves that trains without adapters."""


def make_worker(
    index: int, log: Path, *, threads: int, device: str | None = None, sees: str | None = None
) -> ProcessWorker:
    """Return a worker process, to be closed.

    ``device`` is shown to it alone; where that is None the configuration says whether it takes the GPU that
    it ``sees``, or any.
    """
    return ProcessWorker(index, log, threads=threads, device=device, sees=sees)


def make_plain_worker(log: Path, *, threads: int, device: str | None) -> ProcessWorker:
    """Return a worker process that trains without adapters, to be closed."""
    return ProcessWorker(0, log, threads=threads, device=device, session=_PLAIN)
