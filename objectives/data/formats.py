"""Turns a record into a conversation: alpaca, sharegpt, messages, prompt and completion, or plain text.

Knows nothing of files, templates or tokens.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from ...errors import DataError, nearest
from ...study.config import RULES

Role = Literal["system", "user", "assistant", "tool"]

FORMATS: dict[str, tuple[str, ...]] = {
    "messages": ("messages",),
    "sharegpt": ("conversations",),
    "prompt_completion": ("prompt", "completion"),
    "alpaca": ("instruction", "output"),
    "text": ("text",),
}
"""The fields that a record of each format must have; where several fit, the first does."""

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "observation": "tool",
    "function": "tool",
}

_MORE_ROLES: dict[str, Role] = {**_ROLES, "bot": "assistant", "ai": "assistant"}
"""Spelled in any case; the rules before the second knew neither these nor another spelling."""


class RecordError(ValueError):
    """Why one record cannot be used, in words that follow its file and line."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToolCall:
    """A function that the assistant calls."""

    name: str
    """Its name."""
    arguments: Any
    """Its arguments, usually a dictionary."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Turn:
    """One message of a conversation."""

    role: Role
    """Who speaks."""
    content: str
    """What is said; may be empty in a turn that calls a tool."""
    calls: tuple[ToolCall, ...] = ()
    """Functions that an assistant's turn calls."""
    trained: bool = True
    """Whether the loss is taken on it; only ever on an assistant's turn."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conversation:
    """A record, whatever its format."""

    turns: tuple[Turn, ...]
    """An optional system turn, then users and tools in turn with the assistant, who has the last word."""
    tools: tuple[Mapping[str, Any], ...] = ()
    """JSON descriptions of the functions that may be called."""
    cut_off: int = 0
    """Turns of the record that were cut off, since no answer follows them."""

    def canonical(self) -> str:
        """Return text that is equal for equal conversations and for no others."""
        turns = [
            [turn.role, turn.content, turn.trained, [[call.name, call.arguments] for call in turn.calls]]
            for turn in self.turns
        ]
        return json.dumps([turns, self.tools], sort_keys=True, ensure_ascii=True, default=str)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlainText:
    """A record that is text alone: every token but the first is predicted."""

    text: str
    """The text."""

    def canonical(self) -> str:
        """Return text that is equal for equal records and for no others."""
        return "text:" + json.dumps(self.text)


def key_of(parsed: Conversation | PlainText) -> bytes:
    """Return a hash of what a record says, whatever the template and the tokenizer."""
    return hashlib.sha256(parsed.canonical().encode()).digest()


def check_format(name: str) -> None:
    """Raise ``DataError`` unless ``name`` is ``auto`` or a known format."""
    known = ("auto", *FORMATS)
    if name not in known:
        raise DataError(f"the format {name!r} is not known{nearest(name, known)}: one of {', '.join(known)}")


def parse_record(
    record: Mapping[str, Any],
    format: str,  # noqa: A002
    *,
    rules: int = RULES,
) -> Conversation | PlainText:
    """Return what a record of a format says; from the second rules on without turns after the last answer.

    Raises:
        RecordError: a field is missing, empty or of the wrong type, or the roles are out of order.
    """
    missing = [field for field in FORMATS[format] if record.get(field) is None]
    if missing:
        raise RecordError(f"no field {missing[0]!r}; it has {_listed(record)}")
    if format == "text":
        text = _text(record["text"], "'text'")
        if not text.strip():
            raise RecordError("'text' is empty")
        return PlainText(text=text)
    if format == "alpaca":
        turns = _alpaca(record)
    elif format == "prompt_completion":
        turns = _prompt_completion(record, rules)
    else:
        turns = _messages(record[FORMATS[format][0]], FORMATS[format][0], rules)
    system = record.get("system")
    if system is not None and _text(system, "'system'").strip() and turns[0].role != "system":
        turns = [Turn(role="system", content=system), *turns]
    kept = _up_to_the_last_answer(turns) if rules >= 2 else turns
    _check_order(kept)
    return Conversation(turns=tuple(kept), tools=_tools(record.get("tools")), cut_off=len(turns) - len(kept))


def _alpaca(record: Mapping[str, Any]) -> list[Turn]:
    turns = []
    for number, pair in enumerate(_list(record.get("history"), "'history'"), start=1):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise RecordError(f"'history' entry {number} must be a pair of question and answer")
        turns.append(Turn(role="user", content=_text(pair[0], f"'history' question {number}")))
        turns.append(Turn(role="assistant", content=_text(pair[1], f"'history' answer {number}")))
    parts = [_text(record["instruction"], "'instruction'")]
    if record.get("input") is not None:
        parts.append(_text(record["input"], "'input'"))
    question = "\n".join(part for part in parts if part)
    if not question.strip():
        raise RecordError("'instruction' and 'input' are empty")
    answer = _text(record["output"], "'output'")
    if not answer.strip():
        raise RecordError("'output' is empty")
    return [*turns, Turn(role="user", content=question), Turn(role="assistant", content=answer)]


def _prompt_completion(record: Mapping[str, Any], rules: int) -> list[Turn]:
    prompt, completion = _unpacked(record["prompt"]), _unpacked(record["completion"])
    if isinstance(prompt, str):
        if not prompt.strip():
            raise RecordError("'prompt' is empty")
        turns = [Turn(role="user", content=_text(prompt, "'prompt'"))]
    else:
        # The loss is on the completion only, also where the prompt holds answers of the assistant.
        turns = [dataclasses.replace(turn, trained=False) for turn in _messages(prompt, "prompt", rules)]
    if isinstance(completion, str):
        if not completion.strip():
            raise RecordError("'completion' is empty")
        return [*turns, Turn(role="assistant", content=_text(completion, "'completion'"))]
    return [*turns, *_messages(completion, "completion", rules)]


def _messages(value: Any, field: str, rules: int) -> list[Turn]:
    messages = _list(value, f"{field!r}")
    if not messages:
        raise RecordError(f"{field!r} is empty")
    return [_turn(message, f"turn {number}", rules) for number, message in enumerate(messages, start=1)]


def _turn(message: Any, where: str, rules: int) -> Turn:
    if not isinstance(message, Mapping):
        raise RecordError(f"{where} must be an object with 'role' and 'content', not {_kind(message)}")
    role_field, content_field = ("role", "content") if "role" in message else ("from", "value")
    name = message.get(role_field)
    if name is None:
        raise RecordError(f"{where} has no 'role' (or 'from'); it has {_listed(message)}")
    role = None
    if isinstance(name, str) and rules >= 2:
        name = name.strip()
        role = _MORE_ROLES.get(name.lower())
        name = name.lower() if role is not None else name
    elif isinstance(name, str):
        role = _ROLES.get(name)
    if role is None:
        raise RecordError(f"{where} has the unknown role {name!r}{nearest(str(name), _ROLES)}")
    content = _content(message.get(content_field), where)
    calls = tuple(_call(call, where) for call in _list(message.get("tool_calls"), f"'tool_calls' of {where}"))
    if name == "function_call":
        try:
            parsed = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise RecordError(f"{where} is a function call, but not valid JSON") from error
        calls = tuple(_call(call, where) for call in (parsed if isinstance(parsed, list) else [parsed]))
        content = ""
    if role == "assistant" and not content.strip() and not calls:
        raise RecordError(f"{where}, the assistant's, is empty")
    if role == "user" and not content.strip():
        raise RecordError(f"{where}, the user's, is empty")
    if calls and role != "assistant":
        raise RecordError(f"{where} calls a tool, but is not the assistant's")
    # OpenAI's fine-tuning files leave a turn out of the loss by a weight of 0.
    weight = message.get("weight")
    if weight not in (None, 0, 1):
        raise RecordError(f"{where} has the weight {weight!r}; only 0 and 1 are known")
    return Turn(role=role, content=content, calls=calls, trained=weight != 0)


def _content(value: Any, where: str) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        kinds = [part.get("type") if isinstance(part, Mapping) else None for part in value]
        other = next((kind for kind in kinds if kind != "text"), None)
        if other is not None or None in kinds:
            raise RecordError(f"{where} holds a part of type {other!r}; only text is supported")
        return "".join(_text(part.get("text"), where) for part in value)
    return _text(value, where)


def _call(call: Any, where: str) -> ToolCall:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise RecordError(f"{where} has a function call without a name")
    arguments = function.get("arguments", {})
    # Some files hold the arguments as JSON text; templates expect the object, and would quote the text again.
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            arguments = {"arguments": arguments}
    return ToolCall(name=_text(function["name"], where), arguments=arguments)


def _tools(value: Any) -> tuple[Mapping[str, Any], ...]:
    if isinstance(value, str) and not value.strip():
        return ()
    tools = _list(value, "'tools'")
    if not all(isinstance(tool, Mapping) for tool in tools):
        raise RecordError("'tools' must be a list of objects")
    # Chat templates expect the shape of OpenAI's API; sharegpt files leave the outer object out.
    return tuple(tool if "function" in tool else {"type": "function", "function": tool} for tool in tools)


def _up_to_the_last_answer(turns: list[Turn]) -> list[Turn]:
    """Return the turns without those after the last answer; all of them where there is no answer."""
    last = max((number for number, turn in enumerate(turns) if turn.role == "assistant"), default=None)
    if last is None or any(turn.role == "system" for turn in turns[last:]):
        return turns
    return turns[: last + 1]


def _check_order(turns: list[Turn]) -> None:
    body = turns[1:] if turns[0].role == "system" else turns
    offset = len(turns) - len(body) + 1
    if not any(turn.role == "assistant" for turn in body):
        raise RecordError("no turn of the assistant to learn from")
    before: str = "start"
    for number, turn in enumerate(body, start=offset):
        if turn.role == "system":
            raise RecordError(f"turn {number} is the system's, which may only come first")
        if turn.role == "assistant" and before == "start":
            raise RecordError(f"turn {number} is the assistant's, but no user has spoken before it")
        if turn.role == "tool" and before not in ("assistant", "tool"):
            raise RecordError(f"turn {number} is a tool's, but no call of the assistant comes before it")
        if turn.role == before and turn.role != "tool":
            raise RecordError(f"turns {number - 1} and {number} are both the {turn.role}'s")
        before = turn.role
    if before != "assistant":
        raise RecordError(f"the last turn is the {before}'s, so it has no answer")
    if not any(turn.trained for turn in body if turn.role == "assistant"):
        raise RecordError("every turn of the assistant has the weight 0")


def _unpacked(value: Any) -> Any:
    """Return a list that a CSV cell spells as JSON as the list, anything else as it is."""
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _list(value: Any, what: str) -> list[Any]:
    if value is None or value == "":
        return []
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise RecordError(f"{what} is text, but not a JSON list") from error
    if value is None:
        return []
    if not isinstance(value, list):
        raise RecordError(f"{what} must be a list, not {_kind(value)}")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise RecordError(f"{what} must be text, not {_kind(value)}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise RecordError(f"{what} holds half a character (a lone surrogate)") from error
    return value


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "a truth value"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, Mapping):
        return "an object"
    return {list: "a list", type(None): "null", str: "text"}.get(type(value), type(value).__name__)


def _listed(names: Iterable[str]) -> str:
    quoted = [repr(str(name)[:40]) for name in names]
    if len(quoted) > 6:
        return ", ".join(quoted[:6]) + f" and {len(quoted) - 6} more"
    return ", ".join(quoted) or "none"
