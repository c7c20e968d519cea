"""Renders a conversation by the chat template that came with the model, and finds the answers in it.

A template is a program that writes text; it does not say where an answer begins and ends. This is found from
what it writes for the conversation up to that answer, or from ``{% generation %}`` marks where it has them.
"""

from __future__ import annotations

import functools
import json
import re
from typing import Any

from ..spaces.errors import DataError
from .formats import Conversation, RecordError, Turn
from .templates import Piece, Rendered, merge_system, spell_out_tools

Message = dict[str, Any]

_MARK = "Zq7xKw3vJp"
"""Text that no template treats specially; stands in for an answer to find where the template puts it."""

_FIXED_DATE = {"%d": "26", "%b": "Jul", "%B": "July", "%m": "07", "%Y": "2024", "%y": "24"}
"""The date that Llama's templates fall back to; today's would make the tokens differ from day to day."""


class ChatTemplate:
    """The tokenizer's own chat template."""

    name = "model's own"

    def __init__(self, tokenizer: Any) -> None:
        """Look at what the template can express: system turns, tools, marks of its own."""
        self._tokenizer = tokenizer
        source = tokenizer.chat_template
        self.text = source if isinstance(source, str) else json.dumps(source, sort_keys=True)
        self._specials = tuple(
            {
                token
                for token in (*tokenizer.all_special_tokens, *tokenizer.get_added_vocab())
                if token.strip()
            }
        )
        self._marks_answers = tokenizer.is_fast and bool(
            re.search(r"\{%-?\s*generation\s*-?%\}", self._source(tools=False))
        )
        self._knows_tools = "tool_calls" in self._source(tools=True)
        if _MARK not in self._probe(Turn(role="user", content=_MARK)):
            raise DataError(
                "the model's chat template cannot be used: it does not render a user's question and an "
                "answer; name a built-in one with --template, such as chatml or default"
            )
        self._knows_system = _MARK in self._probe(
            Turn(role="system", content=_MARK), Turn(role="user", content="Hi")
        )

    def render(self, conversation: Conversation) -> Rendered:
        """Return the whole text in pieces, those that the model is to write marked.

        Raises:
            RecordError: the template refuses the conversation, or rewrites an answer beyond recognition.
        """
        if not self._knows_tools:
            conversation = spell_out_tools(conversation)
        if not self._knows_system:
            conversation = merge_system(conversation)
        messages = [_message(turn) for turn in conversation.turns]
        tools = [dict(tool) for tool in conversation.tools]
        write = functools.partial(self._write, tools=tools)
        pieces = self._marked(conversation, messages, tools) if self._marks_answers else None
        if pieces is None:
            full = write(messages)
            spans = [
                self._span(messages, position, full, write)
                for position, turn in enumerate(conversation.turns)
                if turn.role == "assistant" and turn.trained
            ]
            pieces = _cut(full, spans)
        return Rendered(pieces=pieces, whole=True, add_bos=False)

    def _source(self, *, tools: bool) -> str:
        try:
            source: str = self._tokenizer.get_chat_template(None, [{}] if tools else None)
        except ValueError as error:
            raise DataError(
                f"the model's chat template cannot be used ({error}): name a built-in one with --template"
            ) from error
        if "strftime_now" not in source:
            return source
        replaced = "".join(f" | replace({key!r}, {value!r})" for key, value in _FIXED_DATE.items())
        return f"{{%- macro strftime_now(format) -%}}{{{{ format{replaced} }}}}{{%- endmacro -%}}{source}"

    def _probe(self, *turns: Turn) -> str:
        try:
            return self._write([_message(turn) for turn in (*turns, Turn(role="assistant", content="Yes"))])
        except RecordError:
            return ""

    def _write(
        self, messages: list[Message], tools: list[Message] | None = None, *, ask: bool = False
    ) -> str:
        """Return the text of messages; ``ask`` adds what comes before the model's next answer."""
        try:
            text: str = self._tokenizer.apply_chat_template(
                messages,
                tools=tools or None,
                chat_template=self._source(tools=bool(tools)),
                add_generation_prompt=ask,
                tokenize=False,
            )
        # A template is a program from outside, and may fail in any way.
        except Exception as error:
            raise _refused(error) from error
        return text

    def _span(self, messages: list[Message], position: int, full: str, write: Any) -> tuple[int, int]:
        """Return where the answer at ``position`` begins and ends in ``full``, with its end-of-turn token."""
        prompt = write(messages[:position], ask=True)
        head = full if position + 1 == len(messages) else write(messages[: position + 1])
        if full.startswith(prompt) and full.startswith(head):
            start, end = len(prompt), self._without_trailing_space(full, len(prompt), len(head))
        else:
            start, end = self._span_by_mark(messages, position, full, prompt, write)
        if start >= end or not _shows(messages[position], full[start:end]):
            raise _lost(position)
        return start, end

    def _span_by_mark(
        self, messages: list[Message], position: int, full: str, prompt: str, write: Any
    ) -> tuple[int, int]:
        """Find an answer whose surroundings depend on what follows, as where earlier thinking is left out."""
        mark = {**messages[position], "content": _MARK}
        marked = write([*messages[:position], mark, *messages[position + 1 :]])
        before, found, after = marked.partition(_MARK)
        head = write([*messages[:position], mark])
        ending = head.rpartition(_MARK)[2]
        ending = ending[: self._without_trailing_space(ending, 0, len(ending))]
        begins = prompt if full.startswith(prompt) else before
        if (
            not found
            or not full.startswith(begins)
            or not full.endswith(after)
            or not after.startswith(ending)
        ):
            raise _lost(position)
        return len(begins), len(full) - len(after) + len(ending)

    def _without_trailing_space(self, text: str, start: int, end: int) -> int:
        """Return the end of a turn without white space after its end-of-turn token, which no model writes."""
        stripped = text[start:end].rstrip()
        return start + len(stripped) if stripped.endswith(self._specials) else end

    def _marked(
        self, conversation: Conversation, messages: list[Message], tools: list[Message]
    ) -> tuple[Piece, ...] | None:
        """Return the tokens as the template's own marks have them, or None where they fit no turns."""
        try:
            encoded = self._tokenizer.apply_chat_template(
                messages,
                tools=tools or None,
                chat_template=self._source(tools=bool(tools)),
                tokenize=True,
                return_dict=True,
                return_assistant_tokens_mask=True,
                tokenizer_kwargs={"verbose": False},
            )
        except Exception as error:
            raise _refused(error) from error
        ids, mask = list(encoded["input_ids"]), [bool(value) for value in encoded["assistant_masks"]]
        starts = [at for at, value in enumerate(mask) if value and (at == 0 or not mask[at - 1])]
        answers = [turn for turn in conversation.turns if turn.role == "assistant"]
        if len(starts) != len(answers):
            return None
        specials = {self._tokenizer.convert_tokens_to_ids(token) for token in self._specials}
        for start, turn in zip(starts, answers, strict=True):
            end = start
            while end < len(mask) and mask[end]:
                mask[end] = turn.trained
                end += 1
            # Marks that end with the text would never teach the model to stop.
            if end < len(ids) and ids[end - 1] not in specials and ids[end] in specials:
                mask[end] = turn.trained
        return tuple(zip(ids, mask, strict=True))


def _message(turn: Turn) -> Message:
    message: Message = {"role": turn.role, "content": turn.content}
    if turn.calls:
        message["tool_calls"] = [
            {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in turn.calls
        ]
    return message


def _shows(message: Message, text: str) -> bool:
    """Whether the text holds the answer, or what is left of it without its thinking."""
    content = message["content"].strip()
    names = [call["function"]["name"] for call in message.get("tool_calls", ())]
    return all(name in text for name in names) and (
        content in text or content.rpartition("</think>")[2].strip() in text
    )


def _cut(text: str, spans: list[tuple[int, int]]) -> tuple[Piece, ...]:
    pieces: list[Piece] = []
    at = 0
    for start, end in spans:
        pieces += [(text[at:start], False), (text[start:end], True)]
        at = end
    return tuple(piece for piece in (*pieces, (text[at:], False)) if piece[0])


def _refused(error: Exception) -> RecordError:
    words = str(error).split("\n")[0][:160] or type(error).__name__
    return RecordError(f"the model's chat template refuses it: {words}")


def _lost(position: int) -> RecordError:
    return RecordError(
        f"the model's chat template rewrites turn {position + 1} so that the answer cannot be told from the "
        "prompt; name a built-in template with --template"
    )
