from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loratune.errors import DataError
from loratune.objectives.data.formats import (
    FORMATS,
    Conversation,
    PlainText,
    RecordError,
    ToolCall,
    check_format,
    parse_record,
)

USER = {"role": "user", "content": "Q"}
ASSISTANT = {"role": "assistant", "content": "A"}


def _spoken(record: dict[str, Any], format: str) -> list[tuple[str, str]]:  # noqa: A002
    parsed = parse_record(record, format)
    assert isinstance(parsed, Conversation)
    return [(turn.role, turn.content) for turn in parsed.turns]


def _reason(record: dict[str, Any], format: str) -> str:  # noqa: A002
    with pytest.raises(RecordError) as caught:
        parse_record(record, format)
    return str(caught.value)


def test_an_alpaca_record_is_system_history_question_and_answer() -> None:
    record = {
        "instruction": "Add.",
        "input": "1 2",
        "output": "3",
        "system": "S",
        "history": [["q", "a"]],
    }
    assert _spoken(record, "alpaca") == [
        ("system", "S"),
        ("user", "q"),
        ("assistant", "a"),
        ("user", "Add.\n1 2"),
        ("assistant", "3"),
    ]


@pytest.mark.parametrize("more", [{}, {"input": ""}, {"input": None, "system": "", "history": None}])
def test_fields_that_an_alpaca_record_leaves_empty_add_nothing(more: dict[str, Any]) -> None:
    assert _spoken({"instruction": "Add.", "output": "3", **more}, "alpaca") == [
        ("user", "Add."),
        ("assistant", "3"),
    ]


def test_a_sharegpt_record_keeps_tools_and_calls() -> None:
    tool = {"name": "add", "description": "adds"}
    record = {
        "conversations": [
            {"from": "human", "value": "1+2?"},
            {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 1}}'},
            {"from": "observation", "value": "3"},
            {"from": "gpt", "value": "It is 3."},
        ],
        "system": "S",
        "tools": json.dumps([tool]),
    }
    parsed = parse_record(record, "sharegpt")
    assert isinstance(parsed, Conversation)
    assert [turn.role for turn in parsed.turns] == ["system", "user", "assistant", "tool", "assistant"]
    assert parsed.turns[2].calls == (ToolCall(name="add", arguments={"a": 1}),)
    assert parsed.turns[2].content == ""
    assert parsed.tools == ({"type": "function", "function": tool},)


def test_messages_keep_tool_calls_with_their_arguments_as_an_object() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    record = {
        "messages": [
            USER,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": "3"},
            {"role": "tool", "tool_call_id": "2", "content": "4"},
            ASSISTANT,
        ]
    }
    parsed = parse_record(record, "messages")
    assert isinstance(parsed, Conversation)
    assert parsed.turns[1].calls == (ToolCall(name="add", arguments={"a": 1}),)
    assert [turn.role for turn in parsed.turns] == ["user", "assistant", "tool", "tool", "assistant"]


def test_content_in_parts_is_joined_and_an_image_refused() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert _spoken({"messages": [{"role": "user", "content": parts}, ASSISTANT]}, "messages")[0] == (
        "user",
        "ab",
    )
    image = [{"type": "image_url", "image_url": {}}]
    assert "'image_url'; only text" in _reason(
        {"messages": [{"role": "user", "content": image}, ASSISTANT]}, "messages"
    )


def test_a_turn_of_weight_0_has_no_loss() -> None:
    parsed = parse_record({"messages": [USER, {**ASSISTANT, "weight": 0}, USER, ASSISTANT]}, "messages")
    assert isinstance(parsed, Conversation)
    assert [turn.trained for turn in parsed.turns if turn.role == "assistant"] == [False, True]
    assert "weight 0" in _reason({"messages": [USER, {**ASSISTANT, "weight": 0}]}, "messages")


def test_prompt_and_completion_are_texts_or_lists_of_messages() -> None:
    expected = [("user", "Q"), ("assistant", "A")]
    assert _spoken({"prompt": "Q", "completion": "A"}, "prompt_completion") == expected
    assert _spoken({"prompt": [USER], "completion": [ASSISTANT]}, "prompt_completion") == expected
    assert _spoken({"prompt": json.dumps([USER]), "completion": "A"}, "prompt_completion") == expected


def test_answers_inside_a_prompt_have_no_loss() -> None:
    parsed = parse_record({"prompt": [USER, ASSISTANT, USER], "completion": [ASSISTANT]}, "prompt_completion")
    assert isinstance(parsed, Conversation)
    assert [turn.trained for turn in parsed.turns if turn.role == "assistant"] == [False, True]


def test_text_is_taken_as_it_is() -> None:
    assert parse_record({"text": " a\n"}, "text") == PlainText(text=" a\n")


@pytest.mark.parametrize(
    ("format", "record", "reason"),
    [
        ("alpaca", {"instruction": "a", "input": "b"}, "no field 'output'; it has 'instruction', 'input'"),
        ("alpaca", {"instruction": "a", "output": ""}, "'output' is empty"),
        ("alpaca", {"instruction": "a", "output": " \n"}, "'output' is empty"),
        ("alpaca", {"instruction": "a", "output": 5}, "'output' must be text, not a number"),
        ("alpaca", {"instruction": ["a"], "output": "b"}, "'instruction' must be text, not a list"),
        ("alpaca", {"instruction": "", "input": "", "output": "b"}, "'instruction' and 'input' are empty"),
        ("alpaca", {"instruction": "a", "output": "b", "history": [["q"]]}, "'history' entry 1"),
        (
            "alpaca",
            {"instruction": "a", "output": "b", "history": "x"},
            "'history' is text, but not a JSON list",
        ),
        ("alpaca", {"instruction": "a", "output": "\ud800"}, "'output' holds half a character"),
        ("text", {"text": "  "}, "'text' is empty"),
        ("text", {"text": None}, "no field 'text'"),
        ("prompt_completion", {"prompt": "", "completion": "A"}, "'prompt' is empty"),
        ("prompt_completion", {"prompt": "Q", "completion": " "}, "'completion' is empty"),
        ("prompt_completion", {"prompt": [USER, ASSISTANT], "completion": "A"}, "turns 2 and 3 are both"),
        ("messages", {"messages": []}, "'messages' is empty"),
        ("messages", {"messages": {"role": "user"}}, "'messages' must be a list, not an object"),
        ("messages", {"messages": ["hi"]}, "turn 1 must be an object with 'role' and 'content', not text"),
        ("messages", {"messages": [{"content": "x"}]}, "turn 1 has no 'role'"),
        ("messages", {"messages": [USER, {"role": "asistant", "content": "A"}]}, "did you mean 'assistant'?"),
        ("messages", {"messages": [USER, {"role": ["x"], "content": "A"}]}, "unknown role ['x']"),
        (
            "messages",
            {"messages": [USER, {"role": "assistant", "content": ""}]},
            "turn 2, the assistant's, is empty",
        ),
        (
            "messages",
            {"messages": [{"role": "user", "content": ""}, ASSISTANT]},
            "turn 1, the user's, is empty",
        ),
        ("messages", {"messages": [USER]}, "no turn of the assistant"),
        ("messages", {"messages": [{"role": "system", "content": "S"}]}, "no turn of the assistant"),
        ("messages", {"messages": [ASSISTANT]}, "turn 1 is the assistant's, but no user has spoken"),
        (
            "messages",
            {"messages": [{"role": "system", "content": "S"}, ASSISTANT]},
            "turn 2 is the assistant's, but no user has spoken before it",
        ),
        ("messages", {"messages": [USER, USER, ASSISTANT]}, "turns 1 and 2 are both the user's"),
        ("messages", {"messages": [USER, ASSISTANT, ASSISTANT]}, "turns 2 and 3 are both the assistant's"),
        ("messages", {"messages": [USER, USER]}, "no turn of the assistant"),
        ("messages", {"messages": [USER, {"role": "Asistant", "content": "A"}]}, "did you mean 'assistant'"),
        (
            "messages",
            {"messages": [USER, {"role": "system", "content": "S"}, ASSISTANT]},
            "may only come first",
        ),
        (
            "messages",
            {"messages": [USER, {"role": "tool", "content": "x"}, ASSISTANT]},
            "turn 2 is a tool's, but no call",
        ),
        ("messages", {"messages": [USER, ASSISTANT], "tools": [1]}, "'tools' must be a list of objects"),
        (
            "sharegpt",
            {"conversations": [{"from": "human", "value": "x"}, {"from": "function_call", "value": "{"}]},
            "turn 2 is a function call, but not valid JSON",
        ),
        (
            "sharegpt",
            {"conversations": [{"from": "human", "value": "x"}, {"from": "function_call", "value": "{}"}]},
            "turn 2 has a function call without a name",
        ),
    ],
)
def test_a_bad_record_says_why(format: str, record: dict[str, Any], reason: str) -> None:  # noqa: A002
    assert reason in _reason(record, format)


@pytest.mark.parametrize("name", ["Assistant", "ASSISTANT", "gpt", "GPT", "bot", "model", " assistant "])
def test_a_role_is_read_however_it_is_spelled(name: str) -> None:
    record = {"messages": [{"role": "USER", "content": "Q"}, {"role": name, "content": "A"}]}
    usual = parse_record({"messages": [USER, ASSISTANT]}, "messages")
    assert [turn.role for turn in parse_record(record, "messages").turns] == [
        turn.role for turn in usual.turns
    ]
    with pytest.raises(RecordError, match="unknown role"):
        parse_record(record, "messages", rules=1)


@pytest.mark.parametrize(
    ("after", "cut"), [([USER], 1), ([{"role": "tool", "content": "12"}], 1), ([USER, USER], 2), ([], 0)]
)
def test_turns_after_the_last_answer_are_cut_off(after: list[Any], cut: int) -> None:
    whole = parse_record({"messages": [USER, ASSISTANT]}, "messages")
    parsed = parse_record({"messages": [USER, ASSISTANT, *after]}, "messages")
    assert isinstance(parsed, Conversation)
    assert parsed.turns == whole.turns
    assert parsed.canonical() == whole.canonical()
    assert parsed.cut_off == cut


def test_the_first_rules_refuse_a_conversation_without_an_answer_at_its_end() -> None:
    with pytest.raises(RecordError, match="the last turn is the user's"):
        parse_record({"messages": [USER, ASSISTANT, USER]}, "messages", rules=1)


def test_an_unknown_format_is_refused_with_the_nearest() -> None:
    with pytest.raises(DataError, match="did you mean 'alpaca'"):
        check_format("alpacca")


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            ["instruction", "output", "messages", "prompt", "completion", "text", "tools", "history"]
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=3),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["role", "content", "from", "value"]), inner, max_size=3)
            ),
            max_leaves=6,
        ),
    ),
    st.sampled_from(sorted(FORMATS)),
)
def test_no_record_does_worse_than_be_refused(record: dict[str, Any], format: str) -> None:  # noqa: A002
    with contextlib.suppress(RecordError):
        assert json.loads(parse_record(record, format).canonical().removeprefix("text:"))
