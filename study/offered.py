"""The words from which a user chooses, each list written once: whoever offers or checks them reads these.

Imports nothing, so that help can name them at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Format = Literal["auto", "alpaca", "sharegpt", "messages", "prompt_completion", "text"]
"""How records are laid out."""

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
"""Numbers of the base model."""

Attention = Literal["sdpa", "eager"]
"""The attention of Transformers."""

Bits = Literal[4, 8]
"""Bits of a base model's linear layers, where they are quantized while it is loaded."""

QUANTIZED_AS: Mapping[Bits, Mapping[str, bool | str | float]] = {
    4: {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    8: {"load_in_8bit": True, "llm_int8_threshold": 0.0},
}
"""By these, what Transformers' ``BitsAndBytesConfig`` is told. Four bits are those of QLoRA (Dettmers et al.,
2023): normal floats whose scales are quantized as well. Of eight, no columns stay in 16 bits."""
