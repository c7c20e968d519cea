"""YAML files that users write, read safely into a mapping, and pydantic's complaints as one line.

Knows nothing of what the keys mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from .errors import LoratuneError, nearest, shown

MAX_BYTES = 1_000_000
"""Largest file that is read; nobody writes more by hand."""


class _Loader(yaml.SafeLoader):
    """The safe loader, which also refuses a key that is given twice (YAML would keep the last)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{shown(key.value)} is given twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_mapping(path: Path, error: type[LoratuneError], example: str) -> dict[str, Any]:
    """Return the mapping that a YAML file holds; every complaint is one line, raised as ``error``.

    ``example`` is a line that such a file may hold.
    """
    where = " ".join(str(path).split())
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as cause:
        reason = getattr(cause, "strerror", None) or str(cause)
        raise error(f"{where}: cannot be read ({reason}); give the path of a YAML file") from None
    if len(raw) > MAX_BYTES:
        raise error(f"{where}: is larger than {MAX_BYTES // 1_000_000} MB; this is no file of settings")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        raise error(f"{where}: byte {cause.start} is not UTF-8; save the file as UTF-8") from None
    try:
        content = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as cause:
        mark = cause.problem_mark or cause.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise error(f"{where}: {line}not valid YAML: {_one_line(cause.problem or cause)}") from None
    except yaml.reader.ReaderError as cause:
        number = text.count("\n", 0, cause.position) + 1
        raise error(f"{where}: line {number}: not valid YAML: {_one_line(cause.reason)}") from None
    except RecursionError:
        raise error(f"{where}: not valid YAML: nested too deeply") from None
    except (yaml.YAMLError, ValueError, OverflowError, TypeError) as cause:
        raise error(f"{where}: not valid YAML: {_one_line(cause)}") from None
    if content is None:
        raise error(f"{where}: is empty; write lines such as '{example}'")
    if not isinstance(content, dict):
        raise error(f"{where}: holds {shown(content)}; write lines such as '{example}'")
    for key in content:
        if not isinstance(key, str):
            raise error(f"{where}: {shown(key)}: is not a name; write lines such as '{example}'")
    return content


def complaint(cause: ValidationError, known: Iterable[str]) -> str:
    """Return the first complaint of pydantic as ``path: value: what is wrong``, with the nearest name."""
    problems = cause.errors(include_url=False)
    # A misspelt key is also a missing one; the misspelling is what to say.
    first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        name = str(first["loc"][-1])
        return f"{_one_line(path)}: is not known here{nearest(name, known)}"
    return f"{_one_line(path)}: {shown(first['input'])} {_one_line(_words(first))}"


def _words(problem: Mapping[str, Any]) -> str:
    """Return what pydantic complains of, as what the value is not."""
    context = problem.get("ctx", {})
    kinds = {
        "int_type": "is not a whole number",
        "int_parsing": "is not a whole number",
        "int_from_float": "is not a whole number",
        "bool_type": "is neither true nor false",
        "string_type": "is not a text; put it in quotes",
        "string_too_short": "is empty",
        "string_too_long": f"is longer than {context.get('max_length')} characters",
        "dict_type": "is not a mapping of names to values",
        "list_type": "is not a list",
        "greater_than": f"is not above {context.get('gt')}",
        "greater_than_equal": f"is less than {context.get('ge')}",
        "less_than_equal": f"is more than {context.get('le')}",
        "literal_error": f"is not {context.get('expected')}",
        "missing": "has no value",
    }
    message = str(problem["msg"]).removeprefix("Value error, ")
    return kinds.get(problem["type"], message[:1].lower() + message[1:])


def _one_line(words: object) -> str:
    text = " ".join(str(words).split())
    return text if len(text) <= 200 else text[:197] + "..."
