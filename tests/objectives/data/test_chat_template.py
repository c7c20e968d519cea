from __future__ import annotations

from collections.abc import Callable

import pytest
from loratune.errors import DataError
from loratune.objectives.data.chat_template import ChatTemplate
from loratune.objectives.data.encode import encode
from loratune.objectives.data.formats import Conversation, RecordError, ToolCall, Turn
from transformers import PreTrainedTokenizerFast

MakeTokenizer = Callable[..., PreTrainedTokenizerFast]

ASK = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}" + ASK

# As Qwen3's: thinking is left out of all answers but those after the last question, which always show some.
THINKING = (
    "{% set ns = namespace(last=0) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' %}{% set thought = '' %}{% set said = m.content %}"
    "{% if '</think>' in said %}{% set thought = said.split('</think>')[0].split('<think>')[-1].strip() %}"
    "{% set said = said.split('</think>')[-1].lstrip() %}{% endif %}"
    "{% if loop.index0 > ns.last %}<think>\n{{ thought }}\n</think>\n\n{% endif %}{{ said }}"
    "{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}" + ASK
)

# As Gemma's: no system turn, the assistant is called model, white space is trimmed.
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)

# As Llama 2's: the prompt ends without any words for what comes next.
INST = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token }}[INST] {{ m.content }} [/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content }} {{ eos_token }}{% endif %}{% endfor %}"
)

# As Phi-3's: the end of the whole conversation has a token of its own.
ENDED = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)

# As GLM-4's: a turn ends where the next one begins.
UNENDED = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)

# As DeepSeek-R1's: the prompt opens a thought that the record may not have.
PROMPTED = (
    "{% for m in messages %}{% if m.role == 'user' %}<|user|>{{ m.content }}"
    "{% else %}<|assistant|>{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}"
)

# As Qwen3.5's without thinking: the prompt closes a thought that the record may have.
UNTHINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and not m.content.startswith('<think>') %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n\n</think>\n\n{% endif %}"
)

CALLS = (
    "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for call in m.tool_calls or [] %}<call>{{ call.function.name }}:ARGUMENTS</call>{% endfor %}"
    "<|im_end|>\n{% endfor %}" + ASK
)

SPECIALS = (
    "<|im_start|>",
    "<|im_end|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
)

SYSTEM = Turn(role="system", content="S")
TWO = (
    Turn(role="user", content="Q1"),
    Turn(role="assistant", content="A1"),
    Turn(role="user", content="Q2"),
    Turn(role="assistant", content="A2"),
)
THOUGHT = (
    TWO[0],
    Turn(role="assistant", content="<think>\nT1\n</think>\n\nA1"),
    TWO[2],
    Turn(role="assistant", content="<think>\nT2\n</think>\n\nA2"),
)


def _tokens(tokenizer: PreTrainedTokenizerFast, *turns: Turn, **more: object) -> tuple[str, list[str]]:
    """Return the whole text, and the text of each run of target tokens."""
    conversation = Conversation(turns=turns, **more)  # type: ignore[arg-type]
    (example,) = encode([ChatTemplate(tokenizer).render(conversation)], tokenizer)
    ids, mask = example
    runs: list[list[int]] = []
    for at, (token, target) in enumerate(zip(ids.tolist(), mask.tolist(), strict=True)):
        if target and not mask[at - 1]:
            runs.append([])
        if target:
            runs[-1].append(token)
    return tokenizer.decode(ids.tolist()), [tokenizer.decode(run) for run in runs]


@pytest.mark.parametrize(
    ("template", "answers"),
    [
        (CHATML, ["A1<|im_end|>", "A2<|im_end|>"]),
        (THINKING, ["A1<|im_end|>", "<think>\n\n</think>\n\nA2<|im_end|>"]),
        (GEMMA, ["A1<end_of_turn>", "A2<end_of_turn>"]),
        (INST, [" A1 </s>", " A2 </s>"]),
        (ENDED, ["A1<|end|>", "A2<|end|>"]),
        (UNENDED, ["A1<|user|>", "A2</s>"]),
        (PROMPTED, ["A1</s>", "A2</s>"]),
        (UNTHINKING, ["A1<|im_end|>", "A2<|im_end|>"]),
    ],
    ids=["chatml", "thinking", "gemma", "inst", "ended", "unended", "prompted", "unthinking"],
)
@pytest.mark.parametrize("fast", [True, False])
def test_the_loss_is_on_each_answer_and_its_end(
    make_tokenizer: MakeTokenizer,
    template: str,
    answers: list[str],
    fast: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokenizer = make_tokenizer(*SPECIALS, chat_template=template)
    monkeypatch.setattr(type(tokenizer), "is_fast", fast)
    text, found = _tokens(tokenizer, *TWO)
    assert found == answers
    rendered = tokenizer.apply_chat_template(
        [{"role": t.role, "content": t.content} for t in TWO], tokenize=False
    )
    assert text.removesuffix("</s>") == rendered.rstrip().removesuffix("</s>").rstrip("\n")


@pytest.mark.parametrize(
    ("template", "answers"),
    [
        (CHATML, ["<think>\nT1\n</think>\n\nA1<|im_end|>", "<think>\nT2\n</think>\n\nA2<|im_end|>"]),
        (THINKING, ["A1<|im_end|>", "<think>\nT2\n</think>\n\nA2<|im_end|>"]),
        (PROMPTED, ["T1\n</think>\n\nA1</s>", "T2\n</think>\n\nA2</s>"]),
        (UNTHINKING, ["T1\n</think>\n\nA1<|im_end|>", "T2\n</think>\n\nA2<|im_end|>"]),
    ],
    ids=["chatml", "thinking", "prompted", "unthinking"],
)
def test_thinking_is_learnt_where_the_template_keeps_it(
    make_tokenizer: MakeTokenizer, template: str, answers: list[str]
) -> None:
    _, found = _tokens(make_tokenizer(*SPECIALS, chat_template=template), *THOUGHT)
    assert found == answers


def test_an_answer_may_be_a_letter_of_the_prompt(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer(*SPECIALS, chat_template=PROMPTED)
    _, found = _tokens(tokenizer, TWO[0], Turn(role="assistant", content="<b>"))
    assert found == ["<b></s>"]


def test_an_answer_that_begins_as_the_prompt_goes_on_keeps_its_first_letters(
    make_tokenizer: MakeTokenizer,
) -> None:
    tokenizer = make_tokenizer(*SPECIALS, chat_template=UNTHINKING.replace("<think>\\n\\n", "<think>"))
    _, found = _tokens(tokenizer, TWO[0], Turn(role="assistant", content="<think></i>T</think>A"))
    assert found == ["<think></i>T</think>A<|im_end|>"]


def test_an_answer_that_repeats_the_question_is_found_in_its_own_place(make_tokenizer: MakeTokenizer) -> None:
    for template in (CHATML, THINKING, INST):
        tokenizer = make_tokenizer(*SPECIALS, chat_template=template)
        same = (Turn(role="user", content="same"), Turn(role="assistant", content="same"))
        text, found = _tokens(tokenizer, *same, *same)
        assert text.count("same") == 4
        assert [answer.count("same") for answer in found] == [1, 1]


def test_the_beginning_of_a_sequence_comes_once(make_tokenizer: MakeTokenizer) -> None:
    text, _ = _tokens(make_tokenizer(*SPECIALS, chat_template=GEMMA), *TWO)
    assert text.count("<s>") == 1
    text, _ = _tokens(make_tokenizer(*SPECIALS, chat_template=CHATML), *TWO)
    assert "<s>" not in text


def test_a_system_turn_goes_where_the_template_can_say_it(make_tokenizer: MakeTokenizer) -> None:
    text, _ = _tokens(make_tokenizer(*SPECIALS, chat_template=CHATML), SYSTEM, *TWO)
    assert text.startswith("<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ1<|im_end|>")
    text, found = _tokens(make_tokenizer(*SPECIALS, chat_template=GEMMA), SYSTEM, *TWO)
    assert text.startswith("<s><start_of_turn>user\nS\n\nQ1<end_of_turn>")
    assert found == ["A1<end_of_turn>", "A2<end_of_turn>"]


def test_a_system_turn_that_the_template_would_drop_is_merged_too(make_tokenizer: MakeTokenizer) -> None:
    text, _ = _tokens(make_tokenizer(chat_template=INST), SYSTEM, *TWO)
    assert text.startswith("<s>[INST] S\n\nQ1 [/INST]")


@pytest.mark.parametrize(
    "arguments", ["(call.function.arguments | tojson)", "(call.function.arguments + '')"]
)
def test_calls_are_learnt_in_the_template_s_own_words(make_tokenizer: MakeTokenizer, arguments: str) -> None:
    template = CALLS.replace("ARGUMENTS", f"{{{{ {arguments} }}}}")
    tokenizer = make_tokenizer(*SPECIALS, chat_template=template)
    turns = (
        Turn(role="user", content="1+2?"),
        Turn(role="assistant", content="", calls=(ToolCall(name="add", arguments={"a": 1}),)),
        Turn(role="tool", content="3"),
        Turn(role="assistant", content="It is 3."),
    )
    text, found = _tokens(tokenizer, *turns, tools=({"type": "function", "function": {"name": "add"}},))
    assert found == ['<call>add:{"a": 1}</call><|im_end|>', "It is 3.<|im_end|>"]
    assert "<|im_start|>tool\n3<|im_end|>" in text
    assert text.startswith('<|im_start|>system\n[{"type": "function"')


def test_calls_are_spelled_out_where_the_template_would_drop_them(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer(*SPECIALS, chat_template=GEMMA)
    turns = (
        Turn(role="user", content="1+2?"),
        Turn(role="assistant", content="", calls=(ToolCall(name="add", arguments={"a": 1}),)),
        Turn(role="tool", content="3"),
        Turn(role="assistant", content="It is 3."),
    )
    _, found = _tokens(tokenizer, *turns, tools=({"name": "add"},))
    assert found == ['{"name": "add", "arguments": {"a": 1}}<end_of_turn>', "It is 3.<end_of_turn>"]


def test_a_turn_without_a_loss_has_no_target(make_tokenizer: MakeTokenizer) -> None:
    untrained = Turn(role="assistant", content="A1", trained=False)
    for template in (CHATML, THINKING, UNENDED):
        _, found = _tokens(make_tokenizer(*SPECIALS, chat_template=template), TWO[0], untrained, *TWO[2:])
        assert len(found) == 1
        assert "A2" in found[0]


# Shouts every answer but the last, so that only its own marks say where they are.
MARKED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content if loop.last else m.content | lower }}{% endgeneration %}"
    "{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}" + ASK
)


def test_a_template_s_own_marks_help_where_the_text_alone_does_not_tell(
    make_tokenizer: MakeTokenizer,
) -> None:
    tokenizer = make_tokenizer(*SPECIALS, chat_template=MARKED)
    assert _tokens(tokenizer, *TWO)[1] == ["a1<|im_end|>", "A2<|im_end|>"]
    untrained = Turn(role="assistant", content="A1", trained=False)
    assert _tokens(tokenizer, TWO[0], untrained, *TWO[2:])[1] == ["A2<|im_end|>"]


def test_answers_that_cannot_be_told_from_the_prompt_are_refused(make_tokenizer: MakeTokenizer) -> None:
    template = MARKED.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    with pytest.raises(RecordError, match=r"rewrites answer 1 .* --template"):
        _tokens(make_tokenizer(*SPECIALS, chat_template=template), *TWO)


def test_a_template_that_hides_an_answer_is_refused(make_tokenizer: MakeTokenizer) -> None:
    template = CHATML.replace("m.content", "'hidden' if m.content == 'A1' else m.content")
    with pytest.raises(RecordError, match=r"rewrites answer 1"):
        _tokens(make_tokenizer(*SPECIALS, chat_template=template), *TWO[:2])


def test_what_the_template_refuses_is_said_in_its_words(make_tokenizer: MakeTokenizer) -> None:
    template = "{% if messages | length > 3 %}{{ raise_exception('Too long!\nReally') }}{% endif %}" + CHATML
    tokenizer = make_tokenizer(*SPECIALS, chat_template=template)
    assert _tokens(tokenizer, *TWO[:2])[1] == ["A1<|im_end|>"]
    with pytest.raises(RecordError, match=r"chat template refuses it: Too long!$"):
        _tokens(tokenizer, *TWO)


@pytest.mark.parametrize("template", ["{{ messages[0].nothing.at.all }}", "{% if %}", "hello"])
def test_a_template_that_renders_nothing_is_refused_at_once(
    make_tokenizer: MakeTokenizer, template: str
) -> None:
    with pytest.raises(DataError, match=r"chat template cannot be used.*--template"):
        ChatTemplate(make_tokenizer(chat_template=template))


def test_half_a_character_in_a_call_is_a_bad_record(make_tokenizer: MakeTokenizer) -> None:
    template = CALLS.replace("ARGUMENTS", "{{ call.function.arguments.a }}")
    call = ToolCall(name="add", arguments={"a": "\ud800"})
    with pytest.raises(RecordError, match="refuses it"):
        _tokens(
            make_tokenizer(*SPECIALS, chat_template=template),
            TWO[0],
            Turn(role="assistant", content="", calls=(call,)),
        )


def test_the_date_in_a_template_never_changes(make_tokenizer: MakeTokenizer) -> None:
    template = "{{ strftime_now('%d %b %Y, %Y-%m-%d') }}|" + CHATML
    text, _ = _tokens(make_tokenizer(*SPECIALS, chat_template=template), *TWO)
    assert text.startswith("26 Jul 2024, 2024-07-26|<|im_start|>user")
