"""A model larger than a card is refused before a weight is read, with what it takes and what there is."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from loratune.errors import ModelError
from loratune.objectives import size
from loratune.objectives.training import fitting, model
from loratune.study.config import ModelConfig

GIB = 2**30


def check(
    monkeypatch: pytest.MonkeyPatch,
    weights: float,
    card: float | None,
    bits: Any = None,
    *,
    quantized: bool = False,
) -> None:
    # A thousandth of them the output head's, which is not quantized.
    rows = int(weights * 1e6)
    shapes = {"lm_head.weight": (rows, 1), "layers.0.up_proj.weight": (rows, 999)}
    monkeypatch.setattr(size, "shapes_here", lambda _: shapes)
    fitting.check_fits(
        ModelConfig(name_or_path="big/model", quantization_bit=bits),
        torch.bfloat16,
        None if card is None else int(card * GIB),
        card_name="NVIDIA L4",
        quantized=quantized,
    )


def test_weights_that_a_card_cannot_hold_are_refused_and_four_bits_offered_where_those_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ModelError) as error:
        check(monkeypatch, weights=32, card=24)
    assert str(error.value) == (
        "big/model: its weights take 59.6 GiB in bfloat16, and NVIDIA L4 has 24.0; a base model must fit on "
        "one GPU, however many there are: choose a smaller model or a larger card, or --quantization-bit 4, "
        "in which they take 15.4 GiB"
    )
    with pytest.raises(ModelError, match=r"take 33.7 GiB in 4 bits, and NVIDIA L4 has 24.0; .* larger card$"):
        check(monkeypatch, weights=70, card=24, bits=4)


@pytest.mark.parametrize(
    ("weights", "card", "bits", "quantized"),
    [(8, 24, None, False), (32, 24, 4, False), (32, 24, None, True), (700, None, None, False)],
)
def test_what_fits_or_cannot_be_told_is_loaded(
    monkeypatch: pytest.MonkeyPatch, weights: float, card: float | None, bits: Any, quantized: bool
) -> None:
    check(monkeypatch, weights, card, bits, quantized=quantized)


def test_no_weight_is_read_of_what_is_refused(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> None:
    config = ModelConfig(name_or_path=str(tiny_model), device="cpu")
    read: list[Any] = []
    monkeypatch.setattr(model, "card_bytes", lambda _: 1000)
    monkeypatch.setattr(
        model.transformers.AutoModelForCausalLM, "from_pretrained", lambda *given, **_: read.append(given)
    )
    with pytest.raises(ModelError, match="a base model must fit on one GPU"):
        model.load_model(config)
    with pytest.raises(ModelError, match="in bfloat16"):
        model.load_model(dataclasses.replace(config, dtype="bfloat16"))
    assert read == []
