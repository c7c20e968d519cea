"""The template that an export carries asks the model as training did, token for token."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loratune.objectives.data.chat_template import ChatTemplate
from loratune.objectives.data.encode import encode
from loratune.objectives.data.formats import Conversation, ToolCall, Turn
from loratune.objectives.data.jinja_templates import as_jinja
from loratune.objectives.data.templates import BUILT_IN, BuiltInTemplate, Template
from tokenizers import normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

MakeTokenizer = Callable[..., PreTrainedTokenizerFast]

PUBLIC: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("public_templates.py")))["PUBLIC"]

TOOLS = ({"type": "function", "function": {"name": "add", "description": "Adds: «a» + b"}},)
CALLING = Conversation(
    turns=(
        Turn(role="system", content="Be exact."),
        Turn(role="user", content="1+2?"),
        Turn(
            role="assistant",
            content="Let me see.",
            calls=(ToolCall(name="add", arguments={"a": 1, "b": [2, None]}),),
        ),
        Turn(role="tool", content="3"),
        Turn(role="tool", content="it is 3"),
        Turn(role="assistant", content="It is 3."),
    ),
    tools=TOOLS,
)


def _prompt(template: Template, tokenizer: Any, conversation: Conversation) -> list[int]:
    (example,) = encode([template.render(conversation)], tokenizer)
    ids, mask = example
    return list(ids[: int(np.flatnonzero(~mask)[-1]) + 1])


def _asked(text: str, tokenizer: Any, conversation: Conversation) -> list[int]:
    messages: list[dict[str, Any]] = []
    for turn in conversation.turns[:-1]:
        messages.append({"role": turn.role, "content": turn.content})
        if turn.calls:
            messages[-1]["tool_calls"] = [
                {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in turn.calls
            ]
    tokens: list[int] = tokenizer.apply_chat_template(
        messages,
        tools=list(conversation.tools) or None,
        chat_template=text,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=False,
    )
    return tokens


def _spaced(tokenizer: PreTrainedTokenizerFast, how: str) -> PreTrainedTokenizerFast:
    """Make a tokenizer put a space before a text: before each, or before the first of a sequence alone."""
    backend = tokenizer.backend_tokenizer
    if how == "each":
        backend.normalizer = normalizers.Prepend("_")
    elif how == "first":
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Metaspace(replacement="_", prepend_scheme="first"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    return tokenizer


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("specials", [(), ("<|im_start|>", "<|im_end|>")])
@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_template_is_written_token_for_token(
    make_tokenizer: MakeTokenizer, name: str, specials: tuple[str, ...], bos: bool
) -> None:
    tokenizer = make_tokenizer(*specials, bos=bos)
    template = BuiltInTemplate(name, tokenizer)
    found = as_jinja(template, tokenizer)
    assert (found.prompts, found.differ) == (16, 0)
    assert _asked(found.text, tokenizer, CALLING) == _prompt(template, tokenizer, CALLING)


@pytest.mark.parametrize("name", BUILT_IN)
def test_where_a_tokenizer_begins_a_text_with_a_space_the_template_writes_it(
    make_tokenizer: MakeTokenizer, name: str
) -> None:
    # As Metaspace does: the space is a letter, "_" in both, and written by the template as a space.
    tokenizer = _spaced(make_tokenizer("<|im_start|>", "<|im_end|>"), "first")
    template = BuiltInTemplate(name, tokenizer)
    assert as_jinja(template, tokenizer).differ == 0


def test_a_template_that_cannot_be_written_so_says_how_many_prompts_differ(
    make_tokenizer: MakeTokenizer,
) -> None:
    # A token across the border of two pieces, which only a whole text has.
    tokenizer = make_tokenizer(merges=("\u010a#",))
    found = as_jinja(BuiltInTemplate("alpaca", tokenizer), tokenizer)
    assert 0 < found.differ <= found.prompts


@pytest.mark.parametrize("name", PUBLIC)
def test_the_model_s_own_template_is_kept_where_it_ends_answers(
    make_tokenizer: MakeTokenizer, name: str
) -> None:
    public = PUBLIC[name]
    tokenizer = make_tokenizer(*public.specials, chat_template=public.text)
    template = ChatTemplate(tokenizer)
    found = as_jinja(template, tokenizer)
    assert found.differ == 0
    assert found.prompts >= 8
    assert bool(found.text) == ("words" in name)


def test_ends_that_training_put_in_are_in_the_template_too(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer(chat_template=PUBLIC["words"].text)
    found = as_jinja(ChatTemplate(tokenizer), tokenizer)
    messages = [
        {"role": role, "content": text}
        for role, text in (("user", "a?"), ("assistant", "Yes."), ("user", "b?"))
    ]
    text = tokenizer.apply_chat_template(
        messages, chat_template=found.text, add_generation_prompt=True, tokenize=False
    )
    assert text == "Human: a?\n\nAssistant: Yes.</s>\n\nHuman: b?\n\nAssistant:"


def test_a_date_that_was_kept_from_changing_is_kept_in_the_template(make_tokenizer: MakeTokenizer) -> None:
    dated = "{{ strftime_now('%d %b %Y') }}|" + PUBLIC["chatml"].text
    tokenizer = make_tokenizer(*PUBLIC["chatml"].specials, chat_template=dated)
    found = as_jinja(ChatTemplate(tokenizer), tokenizer)
    assert found.differ == 0
    assert "strftime_now" in found.text
