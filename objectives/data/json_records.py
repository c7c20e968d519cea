"""Reads JSON a record at a time: one object per line, a list of them, or one object that is the file.

Knows nothing of what the fields mean.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from ...errors import DataError

Record = dict[str, Any]

_MARGIN = 32
"""An error this near to the end of what was read may be gone once more is read."""

_SPACE = " \t\n\r"


def line_records(lines: Iterable[str]) -> Iterator[tuple[int, Record | str]]:
    """Yield each line's number and its record, or the reason why it is none."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, _record(_loads(line.removesuffix("\n")))


def list_records(name: str, blocks: Iterator[str]) -> Iterator[tuple[int, Record | str]]:
    """Yield each item of a list with its position from 1, as a record or the reason why it is none.

    Raises:
        DataError: the list is broken, so that nothing after the break can be read.
    """
    reader = _ListReader(name, blocks)
    for number, item in enumerate(reader.items(), start=1):
        yield number, _record(item)


def whole_record(name: str, text: str) -> Record | str:
    """Return the one record that a text is; raises ``DataError`` where it is no JSON."""
    try:
        return _record(json.loads(text))
    except json.JSONDecodeError as error:
        raise _broken(name, error, error.lineno, error.colno, text[error.pos :]) from error
    except (RecursionError, ValueError) as error:
        raise DataError(f"{name} cannot be read as JSON: {_short(error)}") from error


def is_record(line: str) -> bool:
    """Say whether a line is a whole JSON object."""
    return isinstance(_loads(line), dict)


class _ListReader:
    """Takes the items of a JSON list out of a text that comes in blocks, and holds one item at a time."""

    def __init__(self, name: str, blocks: Iterator[str]) -> None:
        self._name = name
        self._blocks = blocks
        self._decode = json.JSONDecoder().raw_decode
        self._text, self._at = "", 0
        self._ended = False
        # Line's ends before the text, and characters of its first line that lie before it.
        self._lines, self._column = 0, 0

    def items(self) -> Iterator[Any]:
        """Yield the items."""
        self._expect("[", "Expecting value")
        if self._peek() == "]":
            self._at += 1
        else:
            yield self._value()
            while self._peek() == ",":
                self._at += 1
                yield self._value()
            self._expect("]", "Expecting ',' delimiter")
        if self._peek():
            raise self._complaint(json.JSONDecodeError("Extra data", self._text, self._at))

    def _more(self) -> None:
        """Forget what was read and read on, twice as far as before; note where there is no more."""
        done = self._text[: self._at]
        ends = done.count("\n")
        self._lines += ends
        self._column = len(done) - done.rfind("\n") - 1 if ends else self._column + len(done)
        found = [self._text[self._at :]]
        self._at = 0
        wanted, length = 2 * len(found[0]), len(found[0])
        for block in self._blocks:
            found.append(block)
            length += len(block)
            if length >= wanted:
                break
        self._text = "".join(found)
        self._ended = len(found) == 1

    def _peek(self) -> str:
        """Return the next character that is no space, and stand before it; nothing at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if self._ended:
                return ""
            self._more()

    def _expect(self, character: str, otherwise: str) -> None:
        if self._peek() != character:
            raise self._complaint(json.JSONDecodeError(otherwise, self._text, self._at))
        self._at += 1

    def _value(self) -> Any:
        self._peek()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except json.JSONDecodeError as error:
                near = error.pos > len(self._text) - _MARGIN or error.msg.startswith("Unterminated")
                if self._ended or not near:
                    raise self._complaint(error) from error
                self._more()
                continue
            except (RecursionError, ValueError) as error:
                raise DataError(f"{self._name} cannot be read as JSON: {_short(error)}") from error
            # A number may go on in the next block, as 1 does in 1e5.
            if end > len(self._text) - _MARGIN and not isinstance(value, dict) and not self._ended:
                self._more()
                continue
            self._at = end
            return value

    def _complaint(self, error: json.JSONDecodeError) -> DataError:
        column = error.colno + (self._column if error.lineno == 1 else 0)
        # What was not read yet may be space alone, but never is where a file was cut.
        left = self._text[error.pos :] if next(self._blocks, None) is None else "more"
        return _broken(self._name, error, self._lines + error.lineno, column, left)


def _broken(name: str, error: json.JSONDecodeError, line: int, column: int, left: str) -> DataError:
    how = "the file breaks off there, so it may have been cut" if len(left.strip()) < 2 else "mend it there"
    if error.msg.startswith("Unterminated string"):
        how = "a string begins there and never ends, so the file may have been cut"
    return DataError(f"{name} is not valid JSON at line {line}, column {column}: {error.msg}; {how}")


def _loads(line: str) -> Any:
    """Return the value of one line, or an exception that says what is wrong with it."""
    try:
        return json.loads(line)
    except (RecursionError, ValueError) as error:
        return error


def _record(item: Any) -> Record | str:
    """Return the record, or the reason why it is none."""
    if isinstance(item, dict):
        return item
    if isinstance(item, json.JSONDecodeError):
        return f"not valid JSON at column {item.colno}: {item.msg}"
    if isinstance(item, Exception):
        return f"not readable as JSON: {_short(item)}"
    kind = {str: "text", list: "a list", bool: "a truth value", type(None): "null"}.get(
        type(item), "a number"
    )
    return f"a record must be a JSON object, not {kind}"


def _short(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error).split("\n")[0][:120]
