"""The words from which a user chooses, each list written once: whoever offers or checks them reads these.

Imports nothing, so that help can name them at once.
"""

from __future__ import annotations

from typing import Literal

Format = Literal["auto", "alpaca", "sharegpt", "messages", "prompt_completion", "text"]
"""How records are laid out."""

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
"""Numbers of the base model."""

Attention = Literal["sdpa", "eager"]
"""The attention of Transformers."""

Bits = Literal[4, 8]
"""Bits of a base model's linear layers, where they are quantized while it is loaded."""
