"""What we train on as a chat template in Jinja, for whoever asks the model without us.

A template writes one text, which is tokenized as a whole; the built-in templates tokenize piece by piece.
Where a tokenizer puts a space before each piece, the template has to write it. Which way is right for a
tokenizer is found by trying them on made-up prompts, and how many of them still differ is told.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from .chat_template import ChatTemplate
from .encode import encode, opening_ids
from .formats import Conversation, RecordError, Turn
from .templates import SAID, BuiltInTemplate, Piece, Template, spelled_shape

_TURNS = """\
{%- set ns = namespace(turns=[], system='') -%}
{%- for message in messages -%}
{%- set said = message['content'] if message['content'] is string else '' -%}
{%- if message['content'] is not string and message['content'] is iterable -%}
{%- set said = message['content'] | map(attribute='text') | join -%}
{%- endif -%}
{%- if message['tool_calls'] is defined and message['tool_calls'] -%}
{%- set calls = namespace(lines=[said] if said else []) -%}
{%- for call in message['tool_calls'] -%}
{%- set function = call['function'] if call['function'] is defined else call -%}
{%- set arguments = function['arguments'] -%}
{%- set arguments = arguments if arguments is string else arguments | tojson -%}
{%- set line = '{"name": ' ~ function['name'] | tojson ~ ', "arguments": ' ~ arguments ~ '}' -%}
{%- set calls.lines = calls.lines + [line] -%}
{%- endfor -%}
{%- set said = calls.lines | join('\\n') -%}
{%- endif -%}
{%- set role = 'user' if message['role'] == 'tool' else message['role'] -%}
{%- if role == 'system' -%}
{%- set ns.system = said -%}
{%- elif role == 'user' and ns.turns and ns.turns[-1][0] == 'user' -%}
{%- set ns.turns = ns.turns[:-1] + [('user', ns.turns[-1][1] ~ '\\n' ~ said)] -%}
{%- else -%}
{%- set ns.turns = ns.turns + [(role, said)] -%}
{%- endif -%}
{%- endfor -%}
{%- if tools is defined and tools -%}
{%- set shown = namespace(lines=[]) -%}
{%- for tool in tools -%}
{%- set tool = tool['function'] if tool['function'] is defined else tool -%}
{%- set shown.lines = shown.lines + [tool | tojson] -%}
{%- endfor -%}
{%- set described = TOOLS ~ shown.lines | join('\\n') -%}
{%- set ns.system = ns.system ~ '\\n\\n' ~ described if ns.system else described -%}
{%- endif -%}
"""
"""Brings messages into system, user and assistant turns of text alone, as ``spell_out_tools`` does."""

_ENDED = """\
{%- macro _written(messages, add_generation_prompt) %}
SOURCE{% endmacro -%}
{%- set _full = _written(messages, add_generation_prompt) -%}
{%- set _at = namespace(at=0) -%}
{%- for message in messages -%}
{%- if message['role'] == 'assistant' -%}
{%- set _head = _written(messages[:loop.index], false) | length -%}
{{- _full[_at.at:_head] ~ eos_token -}}
{%- set _at.at = _head -%}
{%- endif -%}
{%- endfor -%}
{{- _full[_at.at:] -}}"""
"""Puts the end of a sequence after each answer of a template that writes none."""

_SAMPLE = tuple(
    Conversation(
        turns=(
            *((Turn(role="system", content="Answer in one word."),) if system else ()),
            *(
                turn
                for question, answer in (*history, (last, "Yes."))
                for turn in (Turn(role="user", content=question), Turn(role="assistant", content=answer))
            ),
        )
    )
    for system in (False, True)
    for history in ((), (("Is 7 a prime?", "It is."), ("And 8?\nThink.", "No: 2 x 4.\n\nSee?")))
    for last in ("Hello", "what's 12 + 30?", "Name the colours:\n- red\n- blue\n", "(一) 你好吗?")
)
"""Made-up conversations: words, digits, lines, signs, letters of several bytes; one turn and three."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """A template in Jinja, and how well it does."""

    text: str
    """The template; empty for the tokenizer's own as it is."""
    prompts: int
    """Prompts that it was tried on."""
    differ: int
    """Those that it tokenizes otherwise than in training."""


def as_jinja(template: Template, tokenizer: Any) -> Found:
    """Return the template in Jinja that tokenizes prompts as in training, or the nearest to it."""
    if isinstance(template, BuiltInTemplate):
        texts = [
            _built_in(template.name, tokenizer, between, after)
            for between, after in (("", ""), (" ", ""), (" ", " "))
        ]
    elif isinstance(template, ChatTemplate):
        # Its own, unless ends were put in, or a date that it writes was kept from changing.
        source = template.source.removesuffix("\n")
        texts = ["", source if template.ends_answers else _ENDED.replace("SOURCE", source)]
    else:
        texts = [""]
    trained = _trained(template, tokenizer)
    found = [_compare(text, trained, tokenizer) for text in texts]
    return min(found, key=lambda one: one.differ)


def _trained(template: Template, tokenizer: Any) -> list[tuple[Conversation, list[int]]]:
    """Return made-up conversations that the template can express, and their prompts' tokens in training."""
    usable, rendered = [], []
    # A system turn that the template does not know is put into the question in training, as its users must.
    system = not isinstance(template, ChatTemplate) or template.knows_system
    for conversation in _SAMPLE:
        if conversation.turns[0].role == "system" and not system:
            continue
        with contextlib.suppress(RecordError):
            rendered.append(template.render(conversation))
            usable.append(conversation)
    return [
        (conversation, _prompt(*example))
        for conversation, example in zip(usable, encode(rendered, tokenizer), strict=True)
    ]


def _compare(text: str, trained: list[tuple[Conversation, list[int]]], tokenizer: Any) -> Found:
    """Try a template in Jinja; a prompt that it refuses is not one that it writes otherwise."""
    pairs = [(tokens, _asked(conversation, text or None, tokenizer)) for conversation, tokens in trained]
    taken = [(tokens, asked) for tokens, asked in pairs if asked is not None]
    differ = sum(tokens != asked for tokens, asked in taken)
    return Found(text=text, prompts=len(taken), differ=differ)


def _prompt(ids: Any, mask: Any) -> list[int]:
    """Return the tokens before the last answer."""
    outside = np.flatnonzero(~mask)
    tokens: list[int] = ids[: int(outside[-1]) + 1].tolist() if len(outside) else []
    return tokens


def _asked(conversation: Conversation, text: str | None, tokenizer: Any) -> list[int] | None:
    """Return the tokens that a user of Transformers asks the model with, None where the template refuses."""
    messages = [{"role": turn.role, "content": turn.content} for turn in conversation.turns[:-1]]
    try:
        tokens: list[int] = tokenizer.apply_chat_template(
            messages, chat_template=text, add_generation_prompt=True, tokenize=True, return_dict=False
        )
    # A template is a program from outside, and may fail in any way.
    except Exception:
        return None
    return tokens


def _built_in(name: str, tokenizer: Any, between: str, after: str) -> str:
    """Return a built-in template in Jinja.

    ``between`` stands between two pieces of text, ``after`` between a special token and a piece.
    """
    system, question, answer, last, default = spelled_shape(name, tokenizer)
    tools = "You can call these tools, by JSON with their name and arguments:\n"
    text = _TURNS.replace("TOOLS", _quoted(tools))
    if default:
        text += f"{{%- if not ns.system -%}}{{%- set ns.system = {_quoted(default)} -%}}{{%- endif -%}}\n"
    opening = "".join(tokenizer.convert_ids_to_tokens(opening_ids(tokenizer)))
    write = _Writer(
        between=between,
        after=after,
        end=tokenizer.eos_token or "",
        specials=tuple(tokenizer.get_added_vocab()),
    )
    return (
        text
        + (f"{{{{- {_quoted(opening)} -}}}}\n" if opening else "")
        + f"{{%- set at = namespace(text=false, first={'false' if opening else 'true'}) -%}}\n"
        + f"{{%- if ns.system -%}}\n{write(system, 'ns.system')}{{%- endif -%}}\n"
        + "{%- for role, said in ns.turns -%}\n{%- if role == 'assistant' -%}\n"
        + write(answer, "said")
        + f"{{%- if not loop.last -%}}\n{write(last, 'said')}{{%- endif -%}}\n"
        + f"{{%- else -%}}\n{write(question, 'said')}{{%- endif -%}}\n{{%- endfor -%}}\n"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Writer:
    """Spells pieces in Jinja; ``at.text`` is true after a text, ``at.first`` before anything at all."""

    between: str
    """What stands between two texts."""
    after: str
    """What stands between a special token and a text."""
    end: str
    """The tokenizer's end of a sequence."""
    specials: tuple[str, ...]
    """Texts that are one token wherever they stand."""

    def __call__(self, pieces: Sequence[Piece], said: str) -> str:
        """Return Jinja that writes the pieces, ``said`` in the place of what is said."""
        lines = []
        for piece, _ in pieces:
            text = piece if isinstance(piece, str) else self.end
            shown = " ~ ".join(said if part is None else _quoted(part) for part in _parts(text))
            if (self.between or self.after) and not text.startswith(self.specials):
                border = f"{_quoted(self.between)} if at.text else '' if at.first else {_quoted(self.after)}"
                shown = f"({border}) ~ {shown}"
            ends_in_text = "false" if text.endswith(self.specials) else "true"
            lines += [f"{{{{- {shown} -}}}}", f"{{%- set at.text = {ends_in_text} -%}}"]
            lines += ["{%- set at.first = false -%}"]
        return "".join(f"{line}\n" for line in lines)


def _parts(piece: str) -> list[str | None]:
    """Return the parts of a piece, None for what is said."""
    parts: list[str | None] = []
    for number, part in enumerate(piece.split(SAID)):
        if number:
            parts.append(None)
        if part:
            parts.append(part)
    return parts


def _quoted(text: str) -> str:
    """Return a text as a literal of Jinja, which reads escapes as Python does."""
    return json.dumps(text)
