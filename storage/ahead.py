"""The libraries that write Optuna's tables, imported while something else takes time."""

from __future__ import annotations

import contextlib
import threading


def import_ahead() -> threading.Thread:
    """Begin to import them beside the calling thread; whoever needs them waits for what is left."""
    thread = threading.Thread(target=_import, name="import")
    thread.start()
    return thread


def _import() -> None:
    # Whoever needs a library that cannot be imported is told so then.
    with contextlib.suppress(ImportError):
        import alembic.context  # noqa: F401 - Optuna imports it when it opens a database, which takes as long

        from . import optuna_mirror  # noqa: F401
