"""Chat templates in the shape of public models', with the tokens that those models have."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Public:
    """One family's template."""

    text: str
    """In Jinja."""
    specials: tuple[str, ...]
    """Its special tokens beside ``<s>`` and ``</s>``."""
    ends: tuple[str, ...]
    """What ends an answer between turns, and the last one."""
    writes_ends: bool = True
    """Whether the template itself writes them all."""


_ASK_CHATML = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"

PUBLIC = {
    "chatml": Public(
        text="{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        + _ASK_CHATML,
        specials=("<|im_start|>", "<|im_end|>"),
        ends=("<|im_end|>", "<|im_end|>"),
    ),
    "qwen": Public(
        text="{% if messages[0].role != 'system' %}<|im_start|>system\nYou are helpful.<|im_end|>\n"
        "{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
        "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>"
        "{% endif %}{{ '\n' }}{% endfor %}" + _ASK_CHATML,
        specials=("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
        ends=("<|im_end|>", "<|im_end|>"),
    ),
    "llama3": Public(
        text="{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
        "{{ m.content | trim }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
        specials=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>"),
        ends=("<|eot_id|>", "<|eot_id|>"),
    ),
    "llama2": Public(
        text="{% for m in messages %}{% if m.role == 'user' %}{{ bos_token }}"
        "[INST] {{ m.content | trim }} [/INST]{% elif m.role == 'assistant' %} "
        "{{ m.content | trim }} {{ eos_token }}{% endif %}{% endfor %}",
        specials=(),
        ends=("</s>", "</s>"),
    ),
    "mistral": Public(
        text="{{ bos_token }}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}{% if m.role == 'user' %}"
        "[INST] {{ m.content }}[/INST]{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}",
        specials=("[INST]", "[/INST]"),
        ends=("</s>", "</s>"),
    ),
    "gemma": Public(
        text="{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}"
        "{% endif %}{% for m in messages %}<start_of_turn>"
        "{{ 'model' if m.role == 'assistant' else m.role }}{{ '\n' }}"
        "{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
        "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
        specials=("<start_of_turn>", "<end_of_turn>"),
        ends=("<end_of_turn>", "<end_of_turn>"),
    ),
    "phi3": Public(
        text="{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}",
        specials=("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        ends=("<|end|>", "<|end|>"),
    ),
    "zephyr": Public(
        text="{% for m in messages %}<|{{ m.role }}|>\n{{ m.content + eos_token }}\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
        specials=(),
        ends=("</s>", "</s>"),
    ),
    "deepseek": Public(
        text="{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}<｜User｜>{{ m.content }}"
        "{% elif m.role == 'assistant' %}<｜Assistant｜>{{ m.content }}{{ eos_token }}"
        "{% else %}{{ m.content }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<｜Assistant｜>{% endif %}",
        specials=("<｜User｜>", "<｜Assistant｜>"),
        ends=("</s>", "</s>"),
    ),
    "vicuna": Public(
        text="{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}USER: {{ m.content }} "
        "{% elif m.role == 'assistant' %}ASSISTANT: {{ m.content }}{{ eos_token }}"
        "{% else %}{{ m.content }} {% endif %}{% endfor %}"
        "{% if add_generation_prompt %}ASSISTANT:{% endif %}",
        specials=(),
        ends=("</s>", "</s>"),
    ),
    "command-r": Public(
        text="{{ bos_token }}{% for m in messages %}<|START_OF_TURN_TOKEN|>"
        "{{ '<|CHATBOT_TOKEN|>' if m.role == 'assistant' else '<|' ~ m.role | upper ~ '_TOKEN|>' }}"
        "{{ m.content }}<|END_OF_TURN_TOKEN|>{% endfor %}"
        "{% if add_generation_prompt %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{% endif %}",
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
    "glm4": Public(
        text="[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
        specials=("[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|system|>", "<|observation|>"),
        ends=("<|user|>", "</s>"),
        writes_ends=False,
    ),
    # Roles are words, and nothing ends a turn.
    "words": Public(
        text="{% for m in messages %}{{ '\n\n' if loop.index0 }}{{ 'Human' if m.role == 'user' else "
        "m.role | capitalize }}: {{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '\n\nAssistant:' }}{% endif %}",
        specials=(),
        ends=("</s>", "</s>"),
        writes_ends=False,
    ),
    "words and line ends": Public(
        text="{% for m in messages %}{{ m.role | upper }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}ASSISTANT: {% endif %}",
        specials=("</tool_call>",),
        ends=("</s>", "</s>"),
        writes_ends=False,
    ),
}
"""By family; each with its own tokens only, as one tokenizer has them."""
