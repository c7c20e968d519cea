from __future__ import annotations

from collections.abc import Callable

import pytest
from loratune.errors import DataError
from loratune.objectives.data.formats import Conversation, PlainText, ToolCall, Turn
from loratune.objectives.data.stops import find_stops
from loratune.objectives.data.templates import (
    BUILT_IN,
    BuiltInTemplate,
    Rendered,
    check_template,
    merge_system,
    render_text,
    spell_out_tools,
)
from transformers import PreTrainedTokenizerFast

MakeTokenizer = Callable[..., PreTrainedTokenizerFast]

SYSTEM = Turn(role="system", content="S")
TWO = (
    Turn(role="user", content="Q1"),
    Turn(role="assistant", content="A1"),
    Turn(role="user", content="Q2"),
    Turn(role="assistant", content="A2"),
)
EOS = 1


def _text(rendered: Rendered) -> str:
    return "".join("</s>" if text == EOS else str(text) for text, _ in rendered.pieces)


def _targets(rendered: Rendered) -> str:
    return "|".join("</s>" if text == EOS else str(text) for text, target in rendered.pieces if target)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "default",
            "System: S</s>\nHuman: Q1</s>\nAssistant:A1</s>\nHuman: Q2</s>\nAssistant:A2</s>",
        ),
        (
            "alpaca",
            "S### Instruction:\nQ1\n\n### Response:\nA1</s>\n\n### Instruction:\nQ2\n\n### Response:\nA2</s>",
        ),
        (
            "chatml",
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ1<|im_end|>\n<|im_start|>assistant\nA1<|im_end|>"
            "\n<|im_start|>user\nQ2<|im_end|>\n<|im_start|>assistant\nA2<|im_end|>",
        ),
        ("plain", "SQ1A1</s>Q2A2</s>"),
    ],
)
def test_a_built_in_template_writes_a_conversation(
    make_tokenizer: MakeTokenizer, name: str, text: str
) -> None:
    rendered = BuiltInTemplate(name, make_tokenizer()).render(Conversation(turns=(SYSTEM, *TWO)))
    assert _text(rendered) == text
    end = "<|im_end|>" if name == "chatml" else "</s>"
    assert _targets(rendered) == f"A1|{end}|A2|{end}"
    assert rendered.add_bos


def test_the_alpaca_template_has_a_system_turn_of_its_own(make_tokenizer: MakeTokenizer) -> None:
    text = _text(BuiltInTemplate("alpaca", make_tokenizer()).render(Conversation(turns=TWO[:2])))
    assert text.startswith("Below is an instruction that describes a task.")


def test_a_turn_without_a_loss_has_no_target(make_tokenizer: MakeTokenizer) -> None:
    first = Turn(role="assistant", content="A1", trained=False)
    conversation = Conversation(turns=(TWO[0], first, *TWO[2:]))
    for name in BUILT_IN:
        targets = _targets(BuiltInTemplate(name, make_tokenizer()).render(conversation))
        assert targets.startswith("A2|"), name


def test_every_template_has_a_text_of_its_own_for_the_fingerprint(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer()
    assert len({BuiltInTemplate(name, tokenizer).text for name in BUILT_IN}) == len(BUILT_IN)


def test_a_tokenizer_without_an_end_is_refused_where_the_template_needs_one(
    make_tokenizer: MakeTokenizer,
) -> None:
    tokenizer = make_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(DataError, match=r"no end-of-sequence token.*chatml"):
        BuiltInTemplate("default", tokenizer)
    tokenizer = make_tokenizer("<|im_end|>")
    tokenizer.eos_token = None
    assert (
        _targets(BuiltInTemplate("chatml", tokenizer).render(Conversation(turns=TWO[:2]))) == "A1|<|im_end|>"
    )


def test_plain_text_is_all_target_and_ends(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer()
    text = PlainText(text="x y")
    assert render_text(text, find_stops(tokenizer)).pieces == (("x y", True), (EOS, True))
    tokenizer.eos_token = None
    assert render_text(text, find_stops(tokenizer)).pieces == (("x y", True),)


def test_tools_are_spelled_out_for_templates_that_know_none(make_tokenizer: MakeTokenizer) -> None:
    conversation = Conversation(
        turns=(
            Turn(role="user", content="1+2?"),
            Turn(role="assistant", content="", calls=(ToolCall(name="add", arguments={"a": 1}),)),
            Turn(role="tool", content="3"),
            Turn(role="tool", content="4"),
            Turn(role="assistant", content="It is 3."),
        ),
        tools=({"type": "function", "function": {"name": "add"}},),
    )
    spelled = spell_out_tools(conversation)
    assert [(turn.role, turn.content) for turn in spelled.turns[1:]] == [
        ("user", "1+2?"),
        ("assistant", '{"name": "add", "arguments": {"a": 1}}'),
        ("user", "3\n4"),
        ("assistant", "It is 3."),
    ]
    assert spelled.turns[0].role == "system"
    assert spelled.turns[0].content.endswith('\n{"name": "add"}')
    rendered = BuiltInTemplate("default", make_tokenizer()).render(conversation)
    assert _targets(rendered) == '{"name": "add", "arguments": {"a": 1}}|</s>|It is 3.|</s>'


def test_tools_join_a_system_turn_that_is_there() -> None:
    spelled = spell_out_tools(Conversation(turns=(SYSTEM, *TWO), tools=({"name": "add"},)))
    assert spelled.turns[0].content.startswith("S\n\nYou can call these tools")
    assert len(spelled.turns) == 5


def test_a_conversation_without_tools_is_left_alone() -> None:
    conversation = Conversation(turns=(SYSTEM, *TWO))
    assert spell_out_tools(conversation) is conversation


def test_a_system_turn_merges_into_the_first_question() -> None:
    merged = merge_system(Conversation(turns=(SYSTEM, *TWO)))
    assert [turn.content for turn in merged.turns] == ["S\n\nQ1", "A1", "Q2", "A2"]
    conversation = Conversation(turns=TWO)
    assert merge_system(conversation) is conversation


def test_an_unknown_template_is_refused_with_the_nearest() -> None:
    with pytest.raises(DataError, match=r"did you mean 'chatml'.*default, alpaca, chatml, plain"):
        check_template("chatlm")
