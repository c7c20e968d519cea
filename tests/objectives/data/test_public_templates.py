"""Tokens and mask of public models' templates, held against Transformers' own of the same text."""

from __future__ import annotations

import dataclasses
import functools
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loratune.objectives.data.chat_template import ChatTemplate
from loratune.objectives.data.encode import encode
from loratune.objectives.data.formats import Conversation, RecordError, parse_record
from loratune.objectives.data.templates import Template
from transformers import PreTrainedTokenizerFast

MakeTokenizer = Callable[..., PreTrainedTokenizerFast]

SHAPES = runpy.run_path(str(Path(__file__).with_name("public_templates.py")))
PUBLIC: dict[str, Any] = SHAPES["PUBLIC"]
answers_of = SHAPES["answers_of"]


@functools.cache
def _template(make: MakeTokenizer, name: str) -> tuple[PreTrainedTokenizerFast, Template]:
    tokenizer = make(*PUBLIC[name].specials, chat_template=PUBLIC[name].text)
    return tokenizer, ChatTemplate(tokenizer)


def _encoded(tokenizer: Any, template: Template, conversation: Conversation) -> tuple[np.ndarray, np.ndarray]:
    (example,) = encode([template.render(conversation)], tokenizer)
    return example


def _text(tokenizer: Any, tokens: list[str]) -> str:
    return str(tokenizer.decode(tokenizer.convert_tokens_to_ids(tokens)))


def _call(*numbers: int) -> dict[str, Any]:
    calls = [
        {
            "type": "function",
            "id": f"call{number:05d}",
            "function": {"name": "add", "arguments": {"a": number, "b": {"c": [1, "é"]}}},
        }
        for number in numbers
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def _said(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def _result(number: int) -> dict[str, Any]:
    return _said("tool", f"{number}", tool_call_id=f"call{number:05d}", name="add")


SYSTEM = _said("system", "Be brief.\n\nBe kind.")
FIRST = (_said("user", "Q0?"), _said("assistant", "Yes 0."))
SECOND = (_said("user", "Is it\n1? "), _said("assistant", "No:\n\n- 1\n- Q0?"))
THIRD = (_said("user", "Yes 0."), _said("assistant", "Yes 0."))
CALLED = (_said("user", "1+2?"), _call(0), _result(0), _said("assistant", "It is 3."))
TWICE = (_said("user", "1+2?"), _call(0), _result(0), _call(1), _result(1), _said("assistant", "It is 3."))
WORDS = (CALLED[0], {**_call(0), "content": "Let me add."}, *CALLED[2:])
BOTH = (_said("user", "Both?"), _call(0, 1), _result(0), _result(1), _said("assistant", "3 and 4."))

PLAIN = {
    "one turn": FIRST,
    "three turns": (*FIRST, *SECOND, *THIRD),
    "a system turn": (SYSTEM, *FIRST),
    "a system turn and three": (SYSTEM, *FIRST, *SECOND, *THIRD),
    "white space around": (_said("user", " Q?\n"), _said("assistant", "\n Yes \n"), *SECOND),
    "an answer without a loss": (SYSTEM, *FIRST, SECOND[0], {**SECOND[1], "weight": 0}, *THIRD),
    "a last answer without a loss": (*FIRST, *SECOND, THIRD[0], {**THIRD[1], "weight": 0}),
}
CALLING_TOOLS = {
    "a call": CALLED,
    "a system turn and a call": (SYSTEM, *CALLED),
    "two calls, one after the other": TWICE,
    "a call between other turns": (SYSTEM, *FIRST, *CALLED, *SECOND),
    "a call that is last": (*FIRST, *CALLED[:2]),
    "two calls at once": (SYSTEM, *BOTH, *SECOND),
    "words and a call": (*WORDS, *SECOND),
    "a call without a loss": (CALLED[0], {**_call(0), "weight": 0}, *CALLED[2:], *SECOND),
}
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds.",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    },
}


def _theirs(
    tokenizer: Any, public: Any, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None
) -> tuple[list[int], list[bool]]:
    """Return tokens and mask as Transformers makes them of the template with marks."""
    made = tokenizer.apply_chat_template(
        messages,
        tools=tools,
        chat_template=public.marked,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    ids, mask = list(made["input_ids"]), [bool(value) for value in made["assistant_masks"]]
    # The marks change nothing else.
    assert ids == tokenizer.apply_chat_template(messages, tools=tools, return_dict=False)
    runs = [
        (at, next((end for end in range(at, len(mask)) if not mask[end]), len(mask)))
        for at in range(len(mask))
        if mask[at] and not mask[at - 1]
    ]
    answers = [message for message in messages if message["role"] == "assistant"]
    assert len(runs) == len(answers)
    for (start, end), message in reversed(list(zip(runs, answers, strict=True))):
        trained = message.get("weight", 1) != 0
        mask[start:end] = [trained] * (end - start)
        if not public.writes_ends:
            # It ends where the next turn begins, if that has a token, else by what is put there.
            if ids[end : end + 1] != [tokenizer.convert_tokens_to_ids(public.ends[0])]:
                ids.insert(end, tokenizer.eos_token_id)
                mask.insert(end, trained)
            mask[end] = trained
    last = max(at for at, target in enumerate(mask) if target)
    return ids[: last + 1], mask[: last + 1]


def _can_say(public: Any, messages: tuple[dict[str, Any], ...]) -> bool:
    calling = [message for message in messages if "tool_calls" in message]
    return all(
        len(message["tool_calls"]) <= public.calls and (public.words_and_calls or not message["content"])
        for message in calling
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (name, said)
        for name, public in PUBLIC.items()
        for said, messages in {**PLAIN, **CALLING_TOOLS}.items()
        if _can_say(public, messages)
    ],
)
def test_tokens_and_mask_are_those_of_transformers(
    make_tokenizer: MakeTokenizer, name: str, said: str
) -> None:
    public = PUBLIC[name]
    tokenizer, template = _template(make_tokenizer, name)
    ends = public.ends
    messages = list(({**PLAIN, **CALLING_TOOLS})[said])
    tools = [TOOL] if said in CALLING_TOOLS else None
    conversation = parse_record({"messages": messages, **({"tools": tools} if tools else {})}, "messages")
    assert isinstance(conversation, Conversation)
    ids, mask = _encoded(tokenizer, template, conversation)
    if messages[0]["role"] == "system" and not public.system:
        system, user, *rest = messages
        messages = [{**user, "content": f"{system['content']}\n\n{user['content']}"}, *rest]
    expected_ids, expected_mask = _theirs(tokenizer, public, messages, tools)
    assert tokenizer.decode(ids.tolist()) == tokenizer.decode(expected_ids)
    assert ids.tolist() == expected_ids
    shown = [tokenizer.decode(ids[at : at + 1].tolist()) + "_" * bool(mask[at]) for at in range(len(ids))]
    assert mask.tolist() == expected_mask, "".join(shown)
    trained = [m for m in messages if m["role"] == "assistant" and m.get("weight", 1) != 0]
    answers = answers_of(tokenizer, ids, mask)
    assert len(answers) == len(trained)
    for answer, message in zip(answers, trained, strict=True):
        assert answer[-1] == (ends[1] if message is messages[-1] else ends[0])
        assert not {*ends, "</s>"}.intersection(answer[:-1])
        assert (message["content"] or "add").strip() in _text(tokenizer, answer[:-1])


def test_the_rules_before_the_third_refuse_a_call_where_the_tools_move_on(
    make_tokenizer: MakeTokenizer,
) -> None:
    tokenizer, _ = _template(make_tokenizer, "mistral with tools")
    record = {"messages": list(CALLING_TOOLS["a call between other turns"]), "tools": [TOOL]}
    conversation = parse_record(record, "messages")
    assert isinstance(conversation, Conversation)
    with pytest.raises(RecordError, match="rewrites answer 2"):
        ChatTemplate(tokenizer, rules=2).render(conversation)
    plain = dataclasses.replace(conversation, turns=conversation.turns[1:3] + conversation.turns[-2:])
    answers = answers_of(tokenizer, *_encoded(tokenizer, ChatTemplate(tokenizer, rules=2), plain))
    assert [_text(tokenizer, answer) for answer in answers] == ["Yes 0.</s>", " No:\n\n- 1\n- Q0?</s>"]
    answers = answers_of(tokenizer, *_encoded(tokenizer, ChatTemplate(tokenizer), plain))
    assert [_text(tokenizer, answer) for answer in answers] == [" Yes 0.</s>", " No:\n\n- 1\n- Q0?</s>"]
