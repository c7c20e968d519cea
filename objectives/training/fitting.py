"""Whether a base model's weights fit on one GPU, asked before any of them is read.

A worker holds its base model on one card: trials' rows, gradients and moments lie in one tensor each, and
would have to be cut up with the layers. What is larger than a card is refused here. Knows nothing of what
trials take beside the weights.
"""

from __future__ import annotations

import torch

from ...errors import ModelError
from ...study.config import ModelConfig
from .. import size
from ..quantization import bytes_of_base

GIB = 2**30


def card_bytes(device: torch.device) -> int | None:
    """Return the memory of a GPU, whoever holds it now; None of a CPU, which can do with less."""
    return int(torch.cuda.mem_get_info(device)[1]) if device.type == "cuda" else None


def check_fits(
    config: ModelConfig, dtype: torch.dtype, card: int | None, *, card_name: str, quantized: bool
) -> None:
    """Raise ``ModelError`` for a model whose weights alone take more than the card has.

    Args:
        config: which model, and in how many bits its linear layers are loaded.
        dtype: the number type of all other weights.
        card: bytes that the card has, None where there is none.
        card_name: the card in words.
        quantized: whether the files hold quantized weights, of which the number says little.
    """
    if card is None or quantized:
        return
    shapes = size.shapes_here(config.name_or_path)  # none of a model that is not on this machine yet
    bits = config.quantization_bit
    needed = bytes_of_base(shapes, dtype.itemsize, bits)
    if needed <= card:
        return
    held = f"in {str(dtype).removeprefix('torch.')}" if bits is None else f"in {bits} bits"
    smaller = "choose a smaller model or a larger card"
    if bits is None and (four := bytes_of_base(shapes, dtype.itemsize, 4)) <= card:
        smaller += f", or --quantization-bit 4, in which they take {four / GIB:.1f} GiB"
    raise ModelError(
        f"{config.name_or_path}: its weights take {needed / GIB:.1f} GiB {held}, and {card_name} has "
        f"{card / GIB:.1f}; a base model must fit on one GPU, however many there are: {smaller}"
    )
