"""Frozen values as plain dictionaries and lists, as a database and a pipe take them."""

from __future__ import annotations

import dataclasses
from typing import Any


def to_json(value: Any) -> Any:
    """Return a value as plain dictionaries and lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    return value
