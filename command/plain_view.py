"""A search in plain lines, where there is no terminal: what happens, and now and then where it stands."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.text import Text

from ..study.events import Event, StudyProgress
from ..study.sentences import sentence
from .pace import Pace
from .standing import standing


class PlainView:
    """An observer that prints lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._pace = Pace()

    def __enter__(self) -> PlainView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def on_event(self, event: Event) -> None:
        """Print what happened, or where the search stands if that is due."""
        if isinstance(event, StudyProgress):
            words = standing(event) if self._pace.due() else None
        else:
            words = sentence(event)
        if words is not None:
            self._console.print(Text(words), soft_wrap=True)
