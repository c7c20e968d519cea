"""Which quantized base models are known to train rightly; every other one is refused before it is loaded.

Knows configurations, not layers: whether a layer that was loaded has a backward pass, selfcheck.py finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import ModelError

CURE = "give the unquantized model, or one quantized to 4 bits by bitsandbytes"


def check_quantized(name: str, shape: Any) -> None:
    """Raise ``ModelError`` unless a model's configuration is unquantized or of 4 bits by bitsandbytes.

    Args:
        name: the model as the user gave it.
        shape: its ``PretrainedConfig``.
    """
    for part in (shape, shape.get_text_config()):
        settings = getattr(part, "quantization_config", None)
        if settings is None:
            continue
        if not isinstance(settings, Mapping):
            settings = settings.to_dict()
        why = _why_not(settings)
        if why is not None:
            raise ModelError(f"{name}: {why}; {CURE}")


def check_trainable(name: str, model: Any) -> None:
    """Raise ``ModelError`` where the library that quantized a loaded model cannot train through it."""
    quantizer = getattr(model, "hf_quantizer", None)
    if quantizer is not None and not quantizer.is_trainable:
        raise ModelError(
            f"{name}: {type(quantizer).__name__} of Transformers can run its weights but not train "
            f"through them; {CURE}"
        )


def _why_not(settings: Mapping[str, Any]) -> str | None:
    """Return why a quantization is refused, None where it is known to train rightly."""
    method = getattr(settings.get("quant_method"), "value", settings.get("quant_method"))
    if method is None and (settings.get("load_in_8bit") or settings.get("load_in_4bit")):
        method = "bitsandbytes"  # checkpoints from before the method was named
    if method != "bitsandbytes":
        return f"is quantized by {method}, through which training is not known to be right"
    if settings.get("load_in_4bit"):
        return None
    # LLM.int8 (Dettmers et al., 2022) takes the columns with outliers out of a whole batch at once, so a
    # trial's numbers would depend on what its neighbours feel.
    return "is quantized to 8 bits by bitsandbytes, which lets the trials of one batch change each other"
