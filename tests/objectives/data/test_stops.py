"""One rule: each supervised answer ends with exactly one stop token of its own, supervised once."""

from __future__ import annotations

import functools
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loratune.errors import DataError
from loratune.objectives.data.chat_template import ChatTemplate
from loratune.objectives.data.encode import encode, ends_lost, truncate
from loratune.objectives.data.formats import (
    Conversation,
    PlainText,
    RecordError,
    ToolCall,
    Turn,
    parse_record,
)
from loratune.objectives.data.stops import find_stops
from loratune.objectives.data.templates import BUILT_IN, BuiltInTemplate, Template, render_text
from loratune.objectives.training.preparation import prepare
from loratune.study.config import DataConfig, ModelConfig, ObjectiveConfig
from transformers import PreTrainedTokenizerFast

MakeTokenizer = Callable[..., PreTrainedTokenizerFast]

SHAPES = runpy.run_path(str(Path(__file__).with_name("public_templates.py")))
PUBLIC: dict[str, Any] = SHAPES["PUBLIC"]
answers_of = SHAPES["answers_of"]
CHATML = PUBLIC["chatml"]


@functools.cache
def _template(make: MakeTokenizer, name: str) -> tuple[PreTrainedTokenizerFast, Template, tuple[str, str]]:
    """Return a tokenizer, its template, and what ends an answer in the middle and at the end."""
    if name in PUBLIC:
        public = PUBLIC[name]
        tokenizer = make(*public.specials, chat_template=public.text)
        return tokenizer, ChatTemplate(tokenizer), (public.ends[0], public.ends[1])
    tokenizer = make("<|im_start|>", "<|im_end|>")
    end = "<|im_end|>" if name == "built-in chatml" else "</s>"
    return tokenizer, BuiltInTemplate(name.removeprefix("built-in "), tokenizer), (end, end)


NAMES = (*PUBLIC, *(f"built-in {name}" for name in BUILT_IN))


def _text(tokenizer: Any, tokens: list[str]) -> str:
    return str(tokenizer.decode(tokenizer.convert_tokens_to_ids(tokens)))


def _encoded(tokenizer: Any, template: Template, conversation: Conversation) -> tuple[np.ndarray, np.ndarray]:
    (example,) = encode([template.render(conversation)], tokenizer)
    return example


def _check(tokenizer: Any, answers: list[list[str]], ends: tuple[str, str], said: list[str]) -> None:
    """Check the invariant on the runs of targets of a conversation."""
    stops = {*ends, "</s>", "<|im_end|>", "<|end|>", "<|eot_id|>", "<end_of_turn>", "<|END_OF_TURN_TOKEN|>"}
    assert len(answers) == len(said)
    for number, (answer, words) in enumerate(zip(answers, said, strict=True)):
        assert answer[-1] == (ends[1] if number + 1 == len(said) else ends[0])
        assert not stops.intersection(answer[:-1])
        assert words.strip() in _text(tokenizer, answer[:-1])


words = st.text("ab 1.\n", min_size=1, max_size=12).filter(str.strip)
# What a user may have put after an answer already: the token itself, twice, with white space around it.
tails = st.sampled_from(("", "", "STOP", " STOP", "STOP\n", "STOPSTOP", " STOP\n STOP ", "</s>", "</s>STOP"))
turns = st.lists(st.tuples(words, words, tails), min_size=1, max_size=4)


@st.composite
def _records(draw: st.DrawFn) -> tuple[str, dict[str, Any], list[str]]:
    """Return a format, a record of it, and the answers that are supervised."""
    said = draw(turns)
    last = said[-1]
    kind = draw(st.sampled_from(("messages", "sharegpt", "alpaca", "prompt_completion")))
    if kind == "alpaca":
        history = [[question, answer + tail] for question, answer, tail in said[:-1]]
        return (
            kind,
            {"instruction": last[0], "output": last[1] + last[2], "history": history},
            [answer for _, answer, _ in said],
        )
    if kind == "prompt_completion":
        return kind, {"prompt": last[0], "completion": last[1] + last[2]}, [last[1]]
    user, assistant = ("user", "assistant") if kind == "messages" else ("human", "gpt")
    role, content = ("role", "content") if kind == "messages" else ("from", "value")
    messages: list[dict[str, Any]] = []
    for question, answer, tail in said:
        messages.append({role: user, content: question})
        messages.append({role: assistant, content: answer + tail})
    # Weights of 0 leave answers out of the loss, the last one too.
    weights = [draw(st.booleans()) for _ in said] if kind == "messages" else [True] * len(said)
    weights[draw(st.integers(0, len(said) - 1))] = True
    for message, weight in zip(messages[1::2], weights, strict=True):
        if not weight:
            message["weight"] = 0
    name = "messages" if kind == "messages" else "conversations"
    return kind, {name: messages}, [pair[1] for pair, weight in zip(said, weights, strict=True) if weight]


def _with_stop(value: Any, stop: str) -> Any:
    if isinstance(value, str):
        return value.replace("STOP", stop)
    if isinstance(value, list):
        return [_with_stop(one, stop) for one in value]
    if isinstance(value, dict):
        return {key: _with_stop(one, stop) for key, one in value.items()}
    return value


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(NAMES), _records())
def test_each_answer_ends_with_one_stop_of_its_own(
    make_tokenizer: MakeTokenizer, name: str, record: tuple[str, dict[str, Any], list[str]]
) -> None:
    kind, fields, said = record
    tokenizer, template, ends = _template(make_tokenizer, name)
    conversation = parse_record(_with_stop(fields, ends[0]), kind)
    assert isinstance(conversation, Conversation)
    last_is_trained = conversation.turns[-1].trained
    ids, mask = _encoded(tokenizer, template, conversation)
    _check(tokenizer, answers_of(tokenizer, ids, mask), ends if last_is_trained else (ends[0], ends[0]), said)
    opening = [] if name in PUBLIC and "bos_token" not in PUBLIC[name].text else [0]
    assert ids[: len(opening) + 1].tolist().count(0) == len(opening)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(NAMES), _records())
def test_what_a_user_put_after_an_answer_changes_nothing(
    make_tokenizer: MakeTokenizer, name: str, record: tuple[str, dict[str, Any], list[str]]
) -> None:
    kind, fields, _ = record
    tokenizer, template, _ = _template(make_tokenizer, name)
    with_stops = parse_record(_with_stop(fields, "</s>"), kind)
    assert isinstance(with_stops, Conversation)
    without = Conversation(
        turns=tuple(
            Turn(role=turn.role, content=_before_stops(turn.content), trained=turn.trained)
            for turn in with_stops.turns
        )
    )
    for one, other in zip(
        _encoded(tokenizer, template, with_stops), _encoded(tokenizer, template, without), strict=True
    ):
        assert np.array_equal(one, other)


def _before_stops(content: str) -> str:
    while content.rstrip().endswith("</s>"):
        content = content.rstrip().removesuffix("</s>")
    return content


def test_a_middle_answer_ends_as_the_last_does_where_roles_are_words(make_tokenizer: MakeTokenizer) -> None:
    tokenizer, template, _ = _template(make_tokenizer, "words")
    turns = tuple(
        Turn(role=role, content=content)
        for role, content in (("user", "a?"), ("assistant", "Yes 0."), ("user", "b?"), ("assistant", "No 0."))
    )
    ids, mask = _encoded(tokenizer, template, Conversation(turns=turns))  # type: ignore[arg-type]
    assert tokenizer.decode(ids.tolist()) == (
        "Human: a?\n\nAssistant: Yes 0.</s>\n\nHuman: b?\n\nAssistant: No 0.</s>"
    )
    assert [_text(tokenizer, one) for one in answers_of(tokenizer, ids, mask)] == [
        " Yes 0.</s>",
        " No 0.</s>",
    ]


def test_an_answer_without_a_loss_ends_too_where_roles_are_words(make_tokenizer: MakeTokenizer) -> None:
    tokenizer, template, _ = _template(make_tokenizer, "words")
    turns = (
        Turn(role="user", content="a?"),
        Turn(role="assistant", content="Yes.", trained=False),
        Turn(role="user", content="b?"),
        Turn(role="assistant", content="No."),
    )
    ids, mask = _encoded(tokenizer, template, Conversation(turns=turns))
    assert "Yes.</s>\n\nHuman" in tokenizer.decode(ids.tolist())
    assert [_text(tokenizer, one) for one in answers_of(tokenizer, ids, mask)] == [" No.</s>"]


def _plain(tokenizer: Any, text: str) -> tuple[str, str]:
    (example,) = encode([render_text(PlainText(text=text), find_stops(tokenizer))], tokenizer)
    ids, mask = example
    return tokenizer.decode(ids.tolist()), tokenizer.decode(ids[mask].tolist())


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("hello 0", "<s>hello 0</s>"),
        ("<s> hello 0</s>", "<s> hello 0</s>"),
        ("<s>hello</s>\n", "<s>hello</s>"),
        ("\n<s><s>hello</s> </s>", "<s>hello</s>"),
        ("hello \n", "<s>hello \n</s>"),
        ("a</s>b", "<s>a</s>b</s>"),
    ],
)
def test_plain_text_begins_once_and_ends_once(make_tokenizer: MakeTokenizer, text: str, whole: str) -> None:
    found, predicted = _plain(make_tokenizer(), text)
    assert found == whole
    assert predicted == whole.removeprefix("<s>")


def test_chatml_as_plain_text_ends_by_its_own_token_where_that_is_one(make_tokenizer: MakeTokenizer) -> None:
    turns = "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
    found, _ = _plain(make_tokenizer(*CHATML.specials), turns + turns)
    assert found == "<s>" + (turns + turns).rstrip()
    found, _ = _plain(make_tokenizer(), turns)
    assert found == f"<s>{turns}</s>"


def test_the_end_is_a_token_even_where_chatml_s_is_not(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer()
    conversation = Conversation(turns=(Turn(role="user", content="Q"), Turn(role="assistant", content="A")))
    ids, mask = _encoded(tokenizer, BuiltInTemplate("chatml", tokenizer), conversation)
    assert tokenizer.decode(ids[mask].tolist()) == "A<|im_end|></s>"
    tokenizer.eos_token = None
    with pytest.raises(DataError, match=r"does not read <\|im_end\|> as one token.*give it an eos_token"):
        BuiltInTemplate("chatml", tokenizer)


def test_a_stop_inside_an_answer_is_the_user_s_text(make_tokenizer: MakeTokenizer) -> None:
    for name in ("chatml", "words", "built-in default"):
        tokenizer, template, ends = _template(make_tokenizer, name)
        conversation = Conversation(
            turns=(Turn(role="user", content="Q"), Turn(role="assistant", content=f"a{ends[1]}b {ends[1]}"))
        )
        ids, mask = _encoded(tokenizer, template, conversation)
        assert tokenizer.decode(ids[mask].tolist()).strip() == f"a{ends[1]}b {ends[1]}"


def test_an_answer_that_is_nothing_but_a_stop_is_a_bad_record(make_tokenizer: MakeTokenizer) -> None:
    for name in NAMES:
        _, template, _ = _template(make_tokenizer, name)
        conversation = Conversation(
            turns=(Turn(role="user", content="Q"), Turn(role="assistant", content=" </s>\n"))
        )
        with pytest.raises(RecordError, match="turn 2, the assistant's, is nothing but </s>"):
            template.render(conversation)


CALLING = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}"
    "{% for call in m.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}"
    "END{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.mark.parametrize(
    ("written", "ends"),
    [
        ("<|im_end|>", ["<|im_end|>", "<|im_end|>"]),
        ("{{ '<|eom_id|>' if m.tool_calls else '<|eot_id|>' }}", ["<|eom_id|>", "<|eot_id|>"]),
        ("{{ '<call_ends>' if m.tool_calls else '<|eot_id|>' }}", ["<call_ends>", "<|eot_id|>"]),
        # A closing tag is no stop, so nothing ends these.
        ("\n", ["</s>", "</s>"]),
        # As GLM's: what follows a call is the tool's turn.
        ("", ["<|tool|>", "</s>"]),
    ],
)
def test_calls_end_once(make_tokenizer: MakeTokenizer, written: str, ends: list[str]) -> None:
    opening = () if written == "\n" else ("<|user|>", "<|assistant|>", "<|tool|>")
    tokenizer = make_tokenizer(
        "<|im_end|>",
        "<|eom_id|>",
        "<|eot_id|>",
        "<call_ends>",
        *opening,
        chat_template=CALLING.replace("END", written),
    )
    tokenizer.add_tokens(["<tool_call>", "</tool_call>"])
    call = ToolCall(name="add", arguments={"a": 1})
    conversation = Conversation(
        turns=(
            Turn(role="user", content="1+2?"),
            Turn(role="assistant", content="Well.</s>", calls=(call,)),
            Turn(role="tool", content="3"),
            Turn(role="assistant", content="It is 3."),
        )
    )
    answers = answers_of(tokenizer, *_encoded(tokenizer, ChatTemplate(tokenizer), conversation))
    assert [answer[-1] for answer in answers] == ends
    stops = {"<|im_end|>", "<|eom_id|>", "<|eot_id|>", "<call_ends>", "</s>", "<|tool|>"}
    assert not any(stops.intersection(answer[:-1]) for answer in answers)


def test_a_template_without_ends_needs_a_tokenizer_with_one(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer(chat_template=PUBLIC["words"].text)
    tokenizer.eos_token = None
    with pytest.raises(DataError, match=r"ends an answer with no token of its own.*--template"):
        ChatTemplate(tokenizer)


def test_an_answer_that_is_cut_is_known_to_have_lost_its_end(make_tokenizer: MakeTokenizer) -> None:
    tokenizer, template, _ = _template(make_tokenizer, "built-in default")
    conversation = Conversation(
        turns=(
            Turn(role="user", content="Q1"),
            Turn(role="assistant", content="A1"),
            Turn(role="user", content="Q2"),
            Turn(role="assistant", content="a long answer" * 5),
        )
    )
    tokens, mask = _encoded(tokenizer, template, conversation)
    lost = {}
    for cutoff_len in range(2, len(tokens) + 1):
        cut, target = truncate(tokens, mask, cutoff_len)
        ends = [answer[-1:] == ["</s>"] for answer in answers_of(tokenizer, cut, target)]
        lost[cutoff_len] = ends_lost(mask, cutoff_len)
        assert lost[cutoff_len] == 2 - sum(ends)
    assert lost[len(tokens)] == 0
    assert lost[len(tokens) - 1] == 1
    assert lost[5] == 2


def test_a_worker_finds_that_the_model_stops_elsewhere(
    tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    (model / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}<pad>{% endfor %}"
    )
    config = ObjectiveConfig(
        model=ModelConfig(name_or_path=str(model), device="cpu"),
        data=DataConfig(train=str(tiny_data), cutoff_len=64),
        batch_sizes=(2,),
        lora_ranks=(1,),
        lora_targets=("all",),
        examples=64,
        eval_examples=16,
        slots=1,
        cache_dir=str(tmp_path / "cache"),
    )
    # The second worker takes the tokens from the cache.
    for endings in (prepare(config).facts.data.endings, prepare(config).facts.data.endings):
        assert (endings.tokens, endings.ids) == (("<pad>",), (2,))
        assert (endings.model_tokens, endings.model_ids) == (("</s>",), (1,))
        assert endings.tokenizer_token == "</s>"
        assert not endings.added
        assert (endings.chat_template, endings.prompts_differ) == ("", 0)
