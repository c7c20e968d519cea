"""Turns a conversation into pieces of text, each with or without a loss, by one of a few built-in templates.

The model's own chat template is in ``chat_template.py``. Knows nothing of files or splits.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ...errors import DataError, nearest
from .formats import Conversation, PlainText, Turn
from .stops import Stops, find_stops, one_token, without_stops

Piece = tuple[str | int, bool]
"""Text or one token id, and whether the loss is taken on it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rendered:
    """A conversation as pieces."""

    pieces: tuple[Piece, ...]
    """In order; no piece is empty."""
    whole: bool
    """Whether the text is tokenized as one, as a chat template's is, rather than piece by piece."""
    add_bos: bool
    """Whether the tokenizer's own beginning of a sequence comes first, where it has one."""
    stops: Stops | None = None
    """What ends its answers; None leaves them as the pieces are."""


class Template(Protocol):
    """Renders conversations for one tokenizer."""

    name: str
    """``model's own``, or the name of a built-in template."""
    text: str
    """All that decides the rendering, for the fingerprint."""
    stops: Stops
    """What ends its answers."""

    def render(self, conversation: Conversation) -> Rendered:
        """Return its pieces; raises ``RecordError`` where the template cannot express it."""


def _system_default(turn: Turn, eos: Piece) -> list[Piece]:
    return [(f"System: {turn.content}", False), eos, ("\n", False)]


def _question_default(turn: Turn, eos: Piece) -> list[Piece]:
    return [(f"Human: {turn.content}", False), eos, ("\nAssistant:", False)]


def _question_alpaca(turn: Turn, _: Piece) -> list[Piece]:
    return [(f"### Instruction:\n{turn.content}\n\n### Response:\n", False)]


def _question_chatml(turn: Turn, _: Piece) -> list[Piece]:
    return [(f"<|im_start|>user\n{turn.content}<|im_end|>\n<|im_start|>assistant\n", False)]


def _as_it_is(turn: Turn, _: Piece) -> list[Piece]:
    return [(turn.content, False)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Shape:
    """One built-in template."""

    system: Callable[[Turn, Piece], list[Piece]]
    """Pieces of the system turn."""
    question: Callable[[Turn, Piece], list[Piece]]
    """Pieces of a user's turn, up to where the answer begins."""
    end: str | None
    """Text that ends an answer; None for the tokenizer's end-of-sequence token."""
    between: str
    """What stands between an answer and the next question, without a loss."""
    default_system: str = ""
    """The system turn of a conversation that has none."""


_SHAPES: dict[str, _Shape] = {
    # default and alpaca are spelled as LLaMA-Factory's templates of the same names, which also takes the loss
    # on what it writes after an answer, and puts no beginning of a sequence first.
    "default": _Shape(system=_system_default, question=_question_default, end=None, between="\n"),
    "alpaca": _Shape(
        system=_as_it_is,
        question=_question_alpaca,
        end=None,
        between="\n\n",
        default_system="Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request.\n\n",
    ),
    "chatml": _Shape(
        system=lambda turn, _: [(f"<|im_start|>system\n{turn.content}<|im_end|>\n", False)],
        question=_question_chatml,
        end="<|im_end|>",
        between="\n",
    ),
    "plain": _Shape(system=_as_it_is, question=_as_it_is, end=None, between=""),
}

SAID = "\x00"
"""Stands for what is said where a shape is spelled."""

BUILT_IN = tuple(_SHAPES)
"""Names of the built-in templates; ``plain`` adds nothing but the end-of-sequence token."""


class BuiltInTemplate:
    """A named template for tokenizers that bring none."""

    def __init__(self, name: str, tokenizer: Any) -> None:
        """Use the template ``name`` with the tokenizer's end-of-sequence token."""
        self.name = name
        self._shape = _SHAPES[name]
        self._eos: int | None = tokenizer.eos_token_id
        end = self._shape.end
        if self._eos is None and (end is None or one_token(tokenizer, end) is None):
            raise DataError(
                "the tokenizer has no end-of-sequence token"
                + (f" and does not read {end} as one token" if end is not None else "")
                + f", so the template {name!r} has nothing to end an answer with: give it an eos_token"
                + ("" if end is not None else ", or name another template with --template, such as chatml")
            )
        self.stops = find_stops(tokenizer, () if end is None else (end,))
        sample = Conversation(
            turns=tuple(Turn(role=role, content=f"<{role}>") for role in ("system", "user", "assistant"))
        )
        self.text = f"{name}: {self.render(sample).pieces!r}"

    def render(self, conversation: Conversation) -> Rendered:
        """Return the pieces of a conversation; tools are described in the system turn."""
        shape = self._shape
        eos: Piece = (self._eos if self._eos is not None else "", False)
        end = shape.end if shape.end is not None else eos[0]
        turns = spell_out_tools(without_stops(conversation, self.stops)).turns
        if shape.default_system and turns[0].role != "system":
            turns = (Turn(role="system", content=shape.default_system), *turns)
        pieces: list[Piece] = []
        for position, turn in enumerate(turns):
            if turn.role == "system":
                pieces += shape.system(turn, eos)
            elif turn.role == "assistant":
                pieces += [(turn.content, turn.trained), (end, turn.trained)]
                if position + 1 < len(turns):
                    pieces.append((shape.between, False))
            else:
                pieces += shape.question(turn, eos)
        return Rendered(
            pieces=tuple(piece for piece in pieces if piece[0] != ""),
            whole=False,
            add_bos=True,
            stops=self.stops,
        )


def spelled_shape(
    name: str, tokenizer: Any
) -> tuple[list[Piece], list[Piece], list[Piece], list[Piece], str]:
    """Return a built-in template's pieces of a system turn, a question, an answer and what follows one.

    ``SAID`` stands for what is said; its own system turn comes last.
    """
    shape = _SHAPES[name]
    eos: Piece = (tokenizer.eos_token_id if tokenizer.eos_token_id is not None else "", False)
    end: list[Piece] = [eos] if shape.end is None else [(shape.end, False)]
    if shape.end is not None and one_token(tokenizer, shape.end) is None:
        end.append(eos)
    between: list[Piece] = [(shape.between, False)] if shape.between else []
    system = shape.system(Turn(role="system", content=SAID), eos)
    question = shape.question(Turn(role="user", content=SAID), eos)
    parts = (system, question, [(SAID, False), *end], between)
    system, question, answer, between = ([piece for piece in part if piece[0] != ""] for part in parts)
    return system, question, answer, between, shape.default_system


def render_text(record: PlainText, stops: Stops) -> Rendered:
    """Return the pieces of plain text: all of it has a loss, and it ends as the tokenizer's texts do.

    A text that brings a stop token at its end keeps that one.
    """
    end: tuple[Piece, ...] = () if stops.end is None else ((stops.end, True),)
    return Rendered(pieces=((record.text, True), *end), whole=False, add_bos=True, stops=stops)


def spell_out_tools(conversation: Conversation) -> Conversation:
    """Return the conversation in system, user and assistant turns of text alone.

    For templates that know no tools: descriptions join the system turn, calls become JSON, and what tools
    answer becomes the user's turn.
    """
    if not conversation.tools and not any(turn.calls or turn.role == "tool" for turn in conversation.turns):
        return conversation
    turns: list[Turn] = []
    for turn in conversation.turns:
        if turn.calls:
            calls = "\n".join(
                json.dumps({"name": call.name, "arguments": call.arguments}, ensure_ascii=False)
                for call in turn.calls
            )
            turn = dataclasses.replace(turn, content="\n".join(filter(None, (turn.content, calls))), calls=())
        elif turn.role == "tool":
            turn = dataclasses.replace(turn, role="user")
        if turn.role == "user" and turns and turns[-1].role == "user":
            turns[-1] = dataclasses.replace(turns[-1], content=f"{turns[-1].content}\n{turn.content}")
        else:
            turns.append(turn)
    if conversation.tools:
        described = "\n".join(json.dumps(_function(tool), ensure_ascii=False) for tool in conversation.tools)
        tools = f"You can call these tools, by JSON with their name and arguments:\n{described}"
        if turns[0].role == "system":
            turns[0] = dataclasses.replace(turns[0], content=f"{turns[0].content}\n\n{tools}")
        else:
            turns.insert(0, Turn(role="system", content=tools))
    return Conversation(turns=tuple(turns))


def merge_system(conversation: Conversation) -> Conversation:
    """Return the conversation with its system turn at the head of the first user's."""
    first, *rest = conversation.turns
    if first.role != "system":
        return conversation
    user = dataclasses.replace(rest[0], content=f"{first.content}\n\n{rest[0].content}")
    return dataclasses.replace(conversation, turns=(user, *rest[1:]))


def _function(tool: Mapping[str, Any]) -> Any:
    return tool.get("function", tool)


def check_template(name: str) -> None:
    """Raise ``DataError`` unless ``name`` is ``auto`` or a built-in template."""
    known = ("auto", *BUILT_IN)
    if name not in known:
        raise DataError(
            f"the template {name!r} is not known{nearest(name, known)}: auto (the model's own chat template, "
            f"else default) or one of {', '.join(BUILT_IN)}"
        )
