"""Which quantized base models are known to train rightly, and how those are held; others are refused.

Knows bitsandbytes' layers by their names alone. Whether a layer that was loaded has a backward pass,
selfcheck.py finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transformers

from ...errors import ModelError
from ...study.offered import QUANTIZED_AS, Bits
from ..quantization import LIBRARY, check_library, quantized_by

CURE = "give the unquantized model, for which --quantization-bit 4 saves as much"

_LAYERS = {"Linear4bit": 4, "Linear8bitLt": 8}
"""bitsandbytes' layers: their bits."""


def check_quantized(name: str, shape: Any) -> None:
    """Raise ``ModelError`` unless a model's configuration is unquantized or quantized by bitsandbytes.

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
        check_library(f"{name}: is quantized and", "give the unquantized model")


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
    method = quantized_by(settings)
    if method == LIBRARY:
        return None
    return f"is quantized by {method}, through which training is not known to be right"


def settings_for(bits: Bits | None, dtype: torch.dtype) -> Any:
    """Return how Transformers is told to quantize a base while it is loaded; None where it is not to.

    Four bits are multiplied in the number type of everything else.
    """
    if bits is None:
        return None
    make: Any = transformers.BitsAndBytesConfig
    return make(**QUANTIZED_AS[bits], **({"bnb_4bit_compute_dtype": dtype} if bits == 4 else {}))


def hold_for_training(model: Any) -> int | None:
    """Let quantized layers compute as they must under a pack; return their bits, None where there are none.

    In evaluation mode a layer of four bits, given inputs that need no gradient on a CPU with AVX512-BF16,
    packs its weights anew for inference, in bfloat16 and without a backward pass: so those layers stay in
    training mode, in which nothing else differs. A layer of eight bits takes the columns with outliers out of
    a whole batch at once (LLM.int8, Dettmers et al., 2022), so that a trial's numbers would depend on what
    its neighbours feel: so none is taken out, and each row is rounded by its own greatest entry.
    """
    found = None
    for module in model.modules():
        # PEFT calls what it wraps them with by the same names.
        bits = _LAYERS.get(type(module).__name__)
        if bits is None or not isinstance(module, torch.nn.Linear):
            continue
        found = bits
        module.train()
        if bits == 8:
            state: Any = module.state
            state.threshold = 0.0
    return found


def never_reads_output(layer: torch.nn.Module) -> bool:
    """Say whether the backward pass of a layer is known to need its input and weights alone.

    The output of one that is not may not be written to: a library that keeps it where autograd does not look
    would compute with what was written, without a word.
    """
    return type(layer).__name__ in _LAYERS


def weight_bytes(model: Any) -> int:
    """Return the bytes of a model's weights, with the scales that quantized ones have beside them."""
    held = [one for weight in model.parameters() for one in (weight, *_scales(weight))]
    # Of eight bits, a layer takes the scales over from its weight when it first computes.
    scales = (getattr(getattr(module, "state", None), "SCB", None) for module in model.modules())
    held += [one for one in scales if isinstance(one, torch.Tensor)]
    return sum(one.numel() * one.element_size() for one in held)


def quantization_note(bits: int | None, device: torch.device) -> str | None:
    """Return what the user should know of a base of so many bits."""
    if bits != 8 or device.type != "cuda":
        return None
    return (
        "the base of 8 bits keeps no columns with outliers in 16 bits, as LLM.int8 would, since these are "
        "chosen over all trials of a pack: its own loss may be higher; 4 bits have no such columns"
    )


def _scales(weight: Any) -> list[torch.Tensor]:
    """Return the tensors that bitsandbytes keeps beside a weight."""
    beside = [getattr(weight, "SCB", None)]
    state = getattr(weight, "quant_state", None)
    while state is not None:
        beside += [state.absmax, state.code, state.offset]
        state = state.state2
    return [held for held in beside if isinstance(held, torch.Tensor)]
