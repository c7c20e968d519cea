"""Chat templates in the shape of public models', with the tokens that those models have.

Each is written twice: as it is, and with Transformers' marks around what the model is to say.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Public:
    """One family's template."""

    text: str
    """In Jinja."""
    marked: str
    """The same with ``{% generation %}`` around each answer, its end included where it has one."""
    specials: tuple[str, ...]
    """Its special tokens beside ``<s>`` and ``</s>``."""
    ends: tuple[str, ...]
    """What ends an answer between turns, and the last one."""
    writes_ends: bool = True
    """Whether the template itself writes them all."""
    system: bool = True
    """Whether it has a place for a system turn of its own."""
    calls: int = 0
    """How many tools an answer may call at once."""
    words_and_calls: bool = False
    """Whether an answer that calls a tool may say something too; others leave it out."""


def answers_of(tokenizer: Any, ids: Any, mask: Any) -> list[list[str]]:
    """Return the tokens of each run of targets."""
    edges = [0, *(np.flatnonzero(np.diff(mask)) + 1).tolist(), len(ids)]
    return [
        tokenizer.convert_ids_to_tokens(ids[start:end].tolist())
        for start, end in itertools.pairwise(edges)
        if end > start and mask[start]
    ]


def _public(text: str, answer: str, **more: Any) -> Public:
    """Return a template whose answers are written by ``answer``, which stands for ANSWER in its text."""
    marked = "{% generation %}" + answer + "{% endgeneration %}"
    return Public(text=text.replace("ANSWER", answer), marked=text.replace("ANSWER", marked), **more)


_ASK_CHATML = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"

_SAID_CHATML = (
    "<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}ANSWER{% else %}{{ m.content }}<|im_end|>"
    "{% endif %}{{ '\n' }}"
)

_QWEN25 = (
    "{% if tools %}<|im_start|>system\n"
    "{{ messages[0].content if messages[0].role == 'system' else 'You are helpful.' }}"
    "{{ '\n\n# Tools\n\n<tools>' }}{% for tool in tools %}{{ '\n' ~ tool | tojson }}{% endfor %}"
    "{{ '\n</tools><|im_end|>\n' }}"
    "{% elif messages[0].role == 'system' %}<|im_start|>system\n{{ messages[0].content }}<|im_end|>{{ '\n' }}"
    "{% else %}<|im_start|>system\nYou are helpful.<|im_end|>{{ '\n' }}{% endif %}"
    "{% for m in messages %}{% if m.role == 'user' %}<|im_start|>user\n{{ m.content }}<|im_end|>{{ '\n' }}"
    "{% elif m.role == 'assistant' %}<|im_start|>assistant{{ '\n' }}ANSWER{{ '\n' }}"
    "{% elif m.role == 'tool' %}{% if messages[loop.index0 - 1].role != 'tool' %}<|im_start|>user{% endif %}"
    "{{ '\n<tool_response>\n' ~ m.content ~ '\n</tool_response>' }}"
    "{% if loop.last or messages[loop.index0 + 1].role != 'tool' %}<|im_end|>{{ '\n' }}{% endif %}"
    "{% endif %}{% endfor %}" + _ASK_CHATML
)

_LLAMA31 = (
    "{{ bos_token }}<|start_header_id|>system<|end_header_id|>\n\n{% if tools %}Environment: ipython\n"
    "{% endif %}Cutting Knowledge Date: December 2023\n\n"
    "{% if messages[0].role == 'system' %}{{ messages[0].content | trim }}"
    "{% set messages = messages[1:] %}{% endif %}<|eot_id|>"
    "{% if tools %}<|start_header_id|>user<|end_header_id|>\n\nGiven these functions, answer with JSON.\n\n"
    "{% for tool in tools %}{{ tool | tojson(indent=4) }}{{ '\n\n' }}{% endfor %}"
    "{{ messages[0].content | trim }}<|eot_id|>{% set messages = messages[1:] %}{% endif %}"
    "{% for m in messages %}{% if m.tool_calls and m.tool_calls | length != 1 %}"
    "{{ raise_exception('one call at once') }}{% endif %}"
    "<|start_header_id|>{{ 'ipython' if m.role == 'tool' else m.role }}<|end_header_id|>\n\n"
    "{% if m.role == 'assistant' %}ANSWER{% elif m.role == 'tool' %}{{ m.content | tojson }}<|eot_id|>"
    "{% else %}{{ m.content | trim }}<|eot_id|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)

# The tools stand before the last question, wherever that is, and a system turn only where a question is last.
_MISTRAL3 = (
    "{% if messages[0].role == 'system' %}{% set first = messages[0].content %}"
    "{% set messages = messages[1:] %}{% endif %}{% set ns = namespace(said=0, last=0) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}"
    "{% if m.role != 'tool' and not m.tool_calls %}{% if (m.role == 'user') != (ns.said % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% set ns.said = ns.said + 1 %}{% endif %}"
    "{% endfor %}{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}"
    "{% if tools and loop.index0 == ns.last %}[AVAILABLE_TOOLS] {{ tools | tojson }}[/AVAILABLE_TOOLS]"
    "{% endif %}[INST] {% if loop.last and first is defined %}{{ first ~ '\n\n' }}{% endif %}"
    "{{ m.content }}[/INST]{% elif m.role == 'tool' %}"
    "{% if m.tool_call_id | length != 9 %}{{ raise_exception('nine letters') }}{% endif %}"
    '[TOOL_RESULTS] {"content": {{ m.content }}, "call_id": "{{ m.tool_call_id }}"}[/TOOL_RESULTS]'
    "{% else %}ANSWER{% endif %}{% endfor %}"
)

PUBLIC = {
    "chatml": _public(
        "{% for m in messages %}" + _SAID_CHATML + "{% endfor %}" + _ASK_CHATML,
        "{{ m.content }}<|im_end|>",
        specials=("<|im_start|>", "<|im_end|>"),
        ends=("<|im_end|>", "<|im_end|>"),
    ),
    # Its own text has the marks, as some models' do.
    "qwen": _public(
        "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are helpful.<|im_end|>\n"
        "{% endif %}{% for m in messages %}"
        + _SAID_CHATML.replace("ANSWER", "{% generation %}ANSWER{% endgeneration %}")
        + "{% endfor %}"
        + _ASK_CHATML,
        "{{ m.content }}<|im_end|>",
        specials=("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
        ends=("<|im_end|>", "<|im_end|>"),
    ),
    "qwen2.5": _public(
        _QWEN25,
        "{{ m.content or '' }}{% for call in m.tool_calls or [] %}"
        "{{ '\n' if m.content or not loop.first }}<tool_call>\n"
        '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}'
        "{{ '\n</tool_call>' }}{% endfor %}<|im_end|>",
        specials=("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
        ends=("<|im_end|>", "<|im_end|>"),
        calls=2,
        words_and_calls=True,
    ),
    "llama3": _public(
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
        "{% if m.role == 'assistant' %}ANSWER{% else %}{{ m.content | trim }}<|eot_id|>{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n"
        "{% endif %}",
        "{{ m.content | trim }}<|eot_id|>",
        specials=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>"),
        ends=("<|eot_id|>", "<|eot_id|>"),
    ),
    "llama3.1": _public(
        _LLAMA31,
        '{% for call in m.tool_calls or [] %}{"name": "{{ call.function.name }}", '
        '"parameters": {{ call.function.arguments | tojson }}}{% else %}{{ m.content | trim }}{% endfor %}'
        "<|eot_id|>",
        specials=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>"),
        ends=("<|eot_id|>", "<|eot_id|>"),
        calls=1,
    ),
    "llama2": _public(
        "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token }}"
        "[INST] {{ m.content | trim }} [/INST]{% elif m.role == 'assistant' %}ANSWER{% endif %}{% endfor %}",
        " {{ m.content | trim }} {{ eos_token }}",
        specials=(),
        ends=("</s>", "</s>"),
        system=False,
    ),
    "mistral": _public(
        "{{ bos_token }}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}{% if m.role == 'user' %}"
        "[INST] {{ m.content }}[/INST]{% else %}ANSWER{% endif %}{% endfor %}",
        " {{ m.content }}{{ eos_token }}",
        specials=("[INST]", "[/INST]"),
        ends=("</s>", "</s>"),
        system=False,
    ),
    "mistral with tools": _public(
        _MISTRAL3,
        "{% if m.tool_calls %}[TOOL_CALLS] [{% for call in m.tool_calls %}"
        "{% if call.id | length != 9 %}{{ raise_exception('nine letters') }}{% endif %}"
        '{{ (call.function | tojson)[:-1] }}, "id": "{{ call.id }}"}'
        "{{ ', ' if not loop.last }}{% endfor %}]"
        "{% else %} {{ m.content | trim }}{% endif %}{{ eos_token }}",
        specials=(
            "[INST]",
            "[/INST]",
            "[TOOL_CALLS]",
            "[AVAILABLE_TOOLS]",
            "[/AVAILABLE_TOOLS]",
            "[TOOL_RESULTS]",
            "[/TOOL_RESULTS]",
        ),
        ends=("</s>", "</s>"),
        system=False,
        calls=2,
    ),
    "gemma": _public(
        "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}"
        "{% endif %}{% for m in messages %}<start_of_turn>"
        "{{ 'model' if m.role == 'assistant' else m.role }}{{ '\n' }}"
        "{% if m.role == 'assistant' %}ANSWER{% else %}{{ m.content | trim }}<end_of_turn>{% endif %}"
        "{{ '\n' }}{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
        "{{ m.content | trim }}<end_of_turn>",
        specials=("<start_of_turn>", "<end_of_turn>"),
        ends=("<end_of_turn>", "<end_of_turn>"),
        system=False,
    ),
    "phi3": _public(
        "{% for m in messages %}<|{{ m.role }}|>\n{% if m.role == 'assistant' %}ANSWER"
        "{% else %}{{ m.content }}<|end|>{% endif %}{{ '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}",
        "{{ m.content }}<|end|>",
        specials=("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        ends=("<|end|>", "<|end|>"),
    ),
    "zephyr": _public(
        "{% for m in messages %}<|{{ m.role }}|>\n{% if m.role == 'assistant' %}ANSWER"
        "{% else %}{{ m.content + eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
        "{{ m.content + eos_token }}",
        specials=(),
        ends=("</s>", "</s>"),
    ),
    "deepseek": _public(
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}<｜User｜>{{ m.content }}"
        "{% elif m.role == 'assistant' %}<｜Assistant｜>ANSWER"
        "{% else %}{{ m.content }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<｜Assistant｜>{% endif %}",
        "{{ m.content }}{{ eos_token }}",
        specials=("<｜User｜>", "<｜Assistant｜>"),
        ends=("</s>", "</s>"),
    ),
    "vicuna": _public(
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}USER: {{ m.content }} "
        "{% elif m.role == 'assistant' %}ASSISTANT:ANSWER"
        "{% else %}{{ m.content }} {% endif %}{% endfor %}"
        "{% if add_generation_prompt %}ASSISTANT:{% endif %}",
        " {{ m.content }}{{ eos_token }}",
        specials=(),
        ends=("</s>", "</s>"),
    ),
    "command-r": _public(
        "{{ bos_token }}{% for m in messages %}<|START_OF_TURN_TOKEN|>{% if m.role == 'assistant' %}"
        "<|CHATBOT_TOKEN|>ANSWER{% else %}<|{{ m.role | upper }}_TOKEN|>{{ m.content }}<|END_OF_TURN_TOKEN|>"
        "{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{% endif %}",
        "{{ m.content }}<|END_OF_TURN_TOKEN|>",
        specials=(
            "<|START_OF_TURN_TOKEN|>",
            "<|END_OF_TURN_TOKEN|>",
            "<|USER_TOKEN|>",
            "<|CHATBOT_TOKEN|>",
            "<|SYSTEM_TOKEN|>",
        ),
        ends=("<|END_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
    ),
    # A turn ends where the next one begins, and the last one nowhere.
    "glm4": _public(
        "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>\n"
        "{% if m.role == 'assistant' %}ANSWER{% else %}{{ m.content }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
        "{{ m.content }}",
        specials=("[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|system|>", "<|observation|>"),
        ends=("<|user|>", "</s>"),
        writes_ends=False,
    ),
    # Roles are words, and nothing ends a turn.
    "words": _public(
        "{% for m in messages %}{{ '\n\n' if loop.index0 }}{{ 'Human' if m.role == 'user' else "
        "m.role | capitalize }}:{% if m.role == 'assistant' %}ANSWER{% else %} {{ m.content }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}{{ '\n\nAssistant:' }}{% endif %}",
        " {{ m.content }}",
        specials=(),
        ends=("</s>", "</s>"),
        writes_ends=False,
    ),
    "words and line ends": _public(
        "{% for m in messages %}{{ m.role | upper }}: {% if m.role == 'assistant' %}ANSWER"
        "{% else %}{{ m.content }}{{ '\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}ASSISTANT: {% endif %}",
        "{{ m.content }}{{ '\n' }}",
        specials=("</tool_call>",),
        ends=("</s>", "</s>"),
        writes_ends=False,
    ),
}
"""By family; each with its own tokens only, as one tokenizer has them."""
