"""Renders a conversation by the chat template that came with the model, and finds the answers in it.

A template is a program that writes text; it does not say where an answer begins and ends. This is found by
comparing what it writes for the conversation, for the conversation up to the answer, and for one with a mark
in the answer's place; where these do not tell, by its own ``{% generation %}`` marks, if it has them.
"""

from __future__ import annotations

import functools
import json
import re
from typing import Any

from ...errors import DataError
from ...study.config import RULES
from .formats import Conversation, RecordError, ToolCall, Turn
from .stops import find_stops, without_stops
from .templates import Piece, Rendered, merge_system, spell_out_tools

Message = dict[str, Any]

_MARK = "Zq7xKw3vJp"
"""Text that no template treats specially."""

_FIXED_DATE = {"%d": "26", "%b": "Jul", "%B": "July", "%m": "07", "%Y": "2024", "%y": "24"}
"""The date that Llama's templates fall back to; today's would make the tokens differ from day to day."""


class ChatTemplate:
    """The tokenizer's own chat template."""

    name = "model's own"

    def __init__(self, tokenizer: Any, *, rules: int = RULES) -> None:
        """Look at what the template can express: system turns, tools, marks of its own."""
        self._tokenizer = tokenizer
        self._rules = rules
        source = tokenizer.chat_template
        self.text = source if isinstance(source, str) else json.dumps(source, sort_keys=True)
        self._sources = {with_tools: self._source(with_tools) for with_tools in (False, True)}
        self.source = self._sources[False]
        self._specials = tuple(
            {
                token
                for token in (*tokenizer.all_special_tokens, *tokenizer.get_added_vocab())
                if token.strip()
            }
        )
        self._marks_answers = tokenizer.is_fast and any(
            re.search(r"\{%-?\s*generation\s*-?%\}", source) for source in self._sources.values()
        )
        question, answer = Turn(role="user", content="Hi"), Turn(role="assistant", content="Yes")
        if not self._shows_mark(Turn(role="user", content=_MARK), answer):
            raise DataError(
                "the model's chat template cannot be used: it does not render a user's question and an "
                "answer; name a built-in one with --template, such as chatml or default"
            )
        self.knows_system = self._shows_mark(Turn(role="system", content=_MARK), question, answer)
        call = Turn(role="assistant", content="", calls=(ToolCall(name=_MARK, arguments={"a": "b"}),))
        # A template may want a call's arguments as an object or as its JSON text, and not all know calls.
        self._calls_as_text = False
        calls = (question, call, Turn(role="tool", content="c"), answer)
        self._knows_tools = self._shows_mark(*calls)
        if not self._knows_tools:
            self._calls_as_text = True
            self._knows_tools = self._shows_mark(*calls)
        end = self._end_of_turn(question, answer)
        self.ends_answers = bool(end)
        if not end and tokenizer.eos_token is None:
            raise DataError(
                "the model's chat template ends an answer with no token of its own, and the tokenizer has no "
                "end-of-sequence token: give it an eos_token, or name another template with --template"
            )
        self.stops = find_stops(tokenizer, (end, *self._ends_of_calls(calls[:2])))

    def render(self, conversation: Conversation) -> Rendered:
        """Return the whole text in pieces, those that the model is to write marked.

        Raises:
            RecordError: the template refuses the conversation, or rewrites an answer beyond recognition.
        """
        conversation = without_stops(conversation, self.stops)
        if not self._knows_tools:
            conversation = spell_out_tools(conversation)
        if not self.knows_system:
            conversation = merge_system(conversation)
        messages = self._messages(conversation.turns)
        tools = [dict(tool) for tool in conversation.tools]
        write = functools.partial(self._write, tools=tools)
        full = write(messages)
        spans = []
        try:
            for position, turn in enumerate(conversation.turns):
                # An end that the template does not write comes after answers without a loss too.
                if turn.role == "assistant" and (turn.trained or not self.ends_answers):
                    spans.append((*self._span(messages, position, full, write), turn.trained))
            pieces, openers = self._cut(full, spans)
        except RecordError:
            if not self._marks_answers:
                raise
            pieces, openers = self._marked(conversation, messages, tools)
        stops = self.stops.and_ids(openers) if openers else self.stops
        return Rendered(pieces=pieces, whole=True, add_bos=False, stops=stops)

    def _source(self, with_tools: bool) -> str:
        try:
            source: str = self._tokenizer.get_chat_template(None, [{}] if with_tools else None)
        except ValueError as error:
            raise DataError(
                f"the model's chat template cannot be used ({error}): name a built-in one with --template"
            ) from error
        if "strftime_now" not in source:
            return source
        replaced = "".join(f" | replace({key!r}, {value!r})" for key, value in _FIXED_DATE.items())
        return f"{{%- macro strftime_now(format) -%}}{{{{ format{replaced} }}}}{{%- endmacro -%}}{source}"

    def _shows_mark(self, *turns: Turn) -> bool:
        try:
            return _MARK in self._write(self._messages(turns))
        except RecordError:
            return False

    def _end_of_turn(self, question: Turn, answer: Turn) -> str:
        """Return the token that the template ends an answer with, empty where it writes none."""
        marked = Turn(role="assistant", content=_MARK)
        for turns in ((question, marked, question, answer), (question, marked)):
            if self._shows_mark(*turns):
                after = self._write(self._messages(turns)).rpartition(_MARK)[2].lstrip()
                return after[: self._first_end(after)]
        return ""

    def _ends_of_calls(self, turns: tuple[Turn, ...]) -> tuple[str, ...]:
        """Return the token that the template ends a call with, such as Llama's end of a message."""
        if not self._knows_tools:
            return ()
        try:
            text = self._write(self._messages(turns)).rstrip()
        except RecordError:  # it wants the call's result too
            return ()
        added = self._tokenizer.added_tokens_decoder.values()
        return tuple(token.content for token in added if token.special and text.endswith(token.content))

    def _messages(self, turns: tuple[Turn, ...]) -> list[Message]:
        messages: list[Message] = []
        calls = results = 0
        for turn in turns:
            message: Message = {"role": turn.role, "content": turn.content}
            if turn.role == "tool":
                # Mistral's templates want ids of nine letters or digits, and the same one at the result.
                message["tool_call_id"] = f"call{results:05d}"
                results += 1
            if turn.calls:
                # Results come in the order of the calls; an unanswered call does not shift the next turn's.
                results = calls
                message["tool_calls"] = []
                for call in turn.calls:
                    arguments = call.arguments
                    if self._calls_as_text:
                        arguments = json.dumps(arguments, ensure_ascii=False)
                    function = {"name": call.name, "arguments": arguments}
                    message["tool_calls"].append(
                        {"type": "function", "id": f"call{calls:05d}", "function": function}
                    )
                    calls += 1
            messages.append(message)
        return messages

    def _write(
        self, messages: list[Message], tools: list[Message] | None = None, *, ask: bool = False
    ) -> str:
        """Return the text of messages; ``ask`` adds what comes before the model's next answer."""
        try:
            text: str = self._tokenizer.apply_chat_template(
                messages,
                tools=tools or None,
                chat_template=self._sources[bool(tools)],
                add_generation_prompt=ask,
                tokenize=False,
            )
            text.encode()
        # A template is a program from outside, and may fail in any way.
        except Exception as error:
            raise _refused(error) from error
        return text

    def _span(self, messages: list[Message], position: int, full: str, write: Any) -> tuple[int, int]:
        """Return where the answer at ``position`` begins and ends in ``full``, with its end-of-turn token."""
        start = self._start(messages, position, full, write)
        end = self._end(messages, position, full, write)
        if start >= end or not _shows(messages[position], full[start:end]):
            raise _lost(messages, position)
        return start, end

    def _start(self, messages: list[Message], position: int, full: str, write: Any) -> int:
        prompt: str = write(messages[:position], ask=True)
        if full.startswith(prompt):
            return len(prompt)
        # What precedes the answer depends on what follows, or is not what the model is asked with.
        marked = {**messages[position], "content": _MARK}
        before, found, _ = write([*messages[:position], marked, *messages[position + 1 :]]).partition(_MARK)
        if self._rules >= 3:
            befores = [before] if found else self._before_words(messages, position, write)
            for one in befores:
                start = self._asked(one, prompt)
                if start is not None and full.startswith(one[:start]):
                    return start
        if found and full.startswith(before):
            return len(before)
        shared = _shared(prompt, full)
        # Back to a border: a prompt and an answer may begin with the same letters.
        shared = shared[: max(self._last_special(shared), _last_space(shared))]
        if len(shared) <= len(write(messages[:position])):
            raise _lost(messages, position)
        return len(shared)

    def _before_words(self, messages: list[Message], position: int, write: Any) -> list[str]:
        """Return what is written before an answer in words, where that at ``position`` calls and has none.

        As Mistral's, which put the tools before the last question: what comes after the answer must stay, but
        the results of its calls, which are nothing without them.
        """
        following = range(position + 1, len(messages))
        after = next((at for at in following if messages[at]["role"] == "user"), len(messages))
        words = {"role": "assistant", "content": _MARK}
        try:
            before, found, _ = write([*messages[:position], words, *messages[after:]]).partition(_MARK)
        except RecordError:
            return []
        return [before] if found else []

    def _asked(self, before: str, prompt: str) -> int | None:
        """Return where in ``before``, the text up to an answer's words, the model would be asked.

        White space there is the answer's where the prompt does not end with it. None where ``before`` does
        not end as the prompt does.
        """
        body, asked = before.rstrip(), prompt.rstrip()
        ending = min(asked[self._last_opening(asked) :], (asked.split() or [""])[-1], key=len)
        space = prompt[len(asked) :]
        if not ending or not body.endswith(ending) or not before[len(body) :].startswith(space):
            return None
        return len(body) + len(space)

    def _last_opening(self, text: str) -> int:
        """Return where the last special token of a text begins, 0 where there is none."""
        return max((text.rfind(token) for token in self._specials if token in text), default=0)

    def _end(self, messages: list[Message], position: int, full: str, write: Any) -> int:
        head: str = full if position + 1 == len(messages) else write(messages[: position + 1])
        if full.startswith(head):
            stripped = head.rstrip()
            # No model writes the white space after its end-of-turn token.
            return len(stripped) if stripped.endswith(self._specials) else len(head)
        # What is written of the answer depends on what follows, as where earlier thinking is left out.
        message = messages[position]
        if message.get("tool_calls"):
            *others, last = message["tool_calls"]
            renamed = {**last, "function": {**last["function"], "name": _MARK}}
            message = {**message, "tool_calls": [*others, renamed]}
        else:
            message = {**message, "content": _MARK}
        _, found, after = write([*messages[:position], message, *messages[position + 1 :]]).rpartition(_MARK)
        alone = write([*messages[:position], message]).rpartition(_MARK)[2]
        shared = _shared(alone, after)
        ending = self._last_special(shared) or self._first_special(after)
        if not found or not full.endswith(after) or not ending:
            raise _lost(messages, position)
        return len(full) - len(after) + ending

    def _last_special(self, text: str) -> int:
        """Return where the last special token of a text ends, 0 where there is none."""
        return max((at + len(token) for token in self._specials if (at := text.rfind(token)) >= 0), default=0)

    def _first_special(self, text: str) -> int:
        """Return the length of the special token that a text begins with, 0 where it begins with none."""
        return max((len(token) for token in self._specials if text.startswith(token)), default=0)

    def _first_end(self, text: str) -> int:
        """Return as ``_first_special`` does; a sequence's beginning ends nothing."""
        begin, end = self._tokenizer.bos_token, self._tokenizer.eos_token
        return 0 if begin and begin != end and text.startswith(begin) else self._first_special(text)

    def _cut(self, text: str, spans: list[tuple[int, int, bool]]) -> tuple[tuple[Piece, ...], list[int]]:
        """Return the pieces, and the tokens that end an answer by beginning the next turn."""
        pieces: list[Piece] = []
        openers: list[int] = []
        at = 0
        for start, end, trained in spans:
            if start < at:
                raise RecordError("the model's chat template writes two answers at the same place")
            ending = ""
            if not text[start:end].rstrip().endswith(self.stops.texts):
                # Some templates end a turn by the token that begins the next: without it the model would
                # not learn to stop. Others write roles as plain text alone: those do not either.
                opener = self._first_end(text[end:])
                if opener:
                    openers.append(self._tokenizer.convert_tokens_to_ids(text[end : end + opener]))
                    end += opener
                else:
                    ending = self._tokenizer.eos_token or ""
            pieces += [(text[at:start], False), (text[start:end], trained), (ending, trained)]
            at = end
        return tuple(piece for piece in (*pieces, (text[at:], False)) if piece[0]), openers

    def _marked(
        self, conversation: Conversation, messages: list[Message], tools: list[Message]
    ) -> tuple[tuple[Piece, ...], list[int]]:
        """Return the tokens with the template's own marks, and those that end an answer beside the usual."""
        try:
            encoded = self._tokenizer.apply_chat_template(
                messages,
                tools=tools or None,
                chat_template=self._sources[bool(tools)],
                tokenize=True,
                return_dict=True,
                return_assistant_tokens_mask=True,
                tokenizer_kwargs={"verbose": False},
            )
        except Exception as error:
            raise _refused(error) from error
        ids, mask = list(encoded["input_ids"]), [bool(value) for value in encoded["assistant_masks"]]
        starts = [at for at, value in enumerate(mask) if value and (at == 0 or not mask[at - 1])]
        answers = [position for position, turn in enumerate(conversation.turns) if turn.role == "assistant"]
        if len(starts) != len(answers):
            raise _lost(messages, answers[0])
        specials = {self._tokenizer.convert_tokens_to_ids(token) for token in self._specials}
        openers: list[int] = []
        for start, position in zip(starts, answers, strict=True):
            end = start
            while end < len(mask) and mask[end]:
                mask[end] = conversation.turns[position].trained
                end += 1
            # Marks that leave the end-of-turn token out would never teach the model to stop.
            if ids[end - 1] not in self.stops.ids and end < len(ids) and ids[end] in specials:
                mask[end] = conversation.turns[position].trained
                openers.append(ids[end])
        return tuple(zip(ids, mask, strict=True)), openers


def _shared(one: str, other: str) -> str:
    """Return what two texts begin with alike."""
    at = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    return one[: min(len(one), len(other))] if at is None else one[:at]


def _last_space(text: str) -> int:
    """Return where the last white space of a text ends, 0 where there is none."""
    return next((at for at in range(len(text), 0, -1) if text[at - 1].isspace()), 0)


def _shows(message: Message, text: str) -> bool:
    """Whether the text holds the answer, or what is left of it without its thinking."""
    content = message["content"].strip()
    names = [call["function"]["name"] for call in message.get("tool_calls", ())]
    return all(name in text for name in names) and (
        content in text or content.rpartition("</think>")[2].strip() in text
    )


def _refused(error: Exception) -> RecordError:
    words = str(error).split("\n")[0][:160] or type(error).__name__
    return RecordError(f"the model's chat template refuses it: {words}")


def _lost(messages: list[Message], position: int) -> RecordError:
    # Answers are counted, not turns: a system turn may have gone into the question after it.
    number = sum(message["role"] == "assistant" for message in messages[: position + 1])
    return RecordError(
        f"the model's chat template rewrites answer {number} so that it cannot be told from the prompt; "
        "name a built-in template with --template"
    )
