"""The libraries that write Optuna's tables, imported while something else takes time."""

from __future__ import annotations

import contextlib
import importlib
import threading

_NAMES = (f"{__package__}.optuna_mirror", "alembic.context")
"""Half a second in all; Optuna itself imports Alembic only when it opens a database."""


def import_ahead() -> None:
    """Begin to import them beside the calling thread; whoever needs them waits for what is left."""
    threading.Thread(target=_import, name="import").start()


def _import() -> None:
    # Whoever needs a library that cannot be imported is told so then.
    with contextlib.suppress(ImportError):
        for name in _NAMES:
            importlib.import_module(name)
