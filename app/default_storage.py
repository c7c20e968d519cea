"""Where studies are kept unless the user says otherwise."""

from __future__ import annotations

import os

from ..storage.store import DEFAULT


def default_storage() -> str:
    """Return the database where neither a flag nor a config file names one."""
    return os.environ.get("TUNE_STORAGE") or DEFAULT
