"""What happens in a search, for a program: one JSON object a line on standard output, as it happens.

Knows no sentences but those that events carry. ``docs/events.md`` describes the lines.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import re
from typing import Any

from ..study.as_json import to_json
from ..study.events import Event, StudyProgress
from .console import ReaderGone, emit
from .encoding import safe_json
from .pace import Pace


class JsonLines:
    """An observer that prints every event; where the search stands, now and then."""

    def __init__(self) -> None:
        self._pace = Pace()

    def on_event(self, event: Event) -> None:
        """Print a line."""
        if isinstance(event, StudyProgress) and not self._pace.due():
            return
        # A search goes on where nobody reads any more, or where nothing more can be written.
        with contextlib.suppress(ReaderGone, OSError):
            emit(line(event, datetime.datetime.now(datetime.UTC)))


def line(event: Event, at: datetime.datetime) -> str:
    """Return an event as one line of JSON: its name, the moment, its fields."""
    fields = {field.name: to_json(getattr(event, field.name)) for field in dataclasses.fields(event)}
    value = {"event": name_of(type(event)), "at": at, **fields}
    return safe_json(json.dumps(value, ensure_ascii=False, allow_nan=False, default=_moment))


def name_of(kind: type[Event]) -> str:
    """Return what lines of an event are called.

    >>> name_of(StudyProgress)
    'study_progress'
    """
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


def _moment(value: Any) -> str:
    assert isinstance(value, datetime.datetime), f"{value!r} has no form in JSON"
    return value.isoformat()
