"""Which weights are trained without adapters."""

import pytest
import torch
from loratune.errors import ModelError
from loratune.objectives.training.model import hold
from loratune.objectives.training.plain_model import trained_weights
from loratune.study.plain_method import PlainMethod
from tiny_packs import make_base
from transformers import GPT2Config, GPT2LMHeadModel

FULL = PlainMethod(name="full", learning_rate=1e-3)


def count(weights):
    return sum(weight.numel() for weight in weights.values())


@pytest.mark.parametrize("tied", [False, True])
def test_full_is_every_weight_and_tied_ones_once(tied):
    base = make_base(tie_word_embeddings=tied)
    assert count(trained_weights(base, FULL)) == base.model.num_parameters()
    assert ("lm_head.weight" in trained_weights(base, FULL)) is not tied


def test_the_last_layers_are_found_in_another_architecture():
    shape = GPT2Config(vocab_size=64, n_embd=16, n_layer=3, n_head=2, n_positions=32)
    base = hold(GPT2LMHeadModel(shape), torch.device("cpu"), torch.float32, name_or_path="gpt")
    found = trained_weights(base, PlainMethod(name="freeze", layers=2, learning_rate=1e-3))
    assert {name.split(".")[2] for name in found} == {"1", "2"}
    assert all(name.startswith("transformer.h.") for name in found)


def test_layers_that_cannot_be_told_are_refused():
    base = make_base()
    base.model.config.num_hidden_layers = 5
    with pytest.raises(ModelError, match="cannot be told; take --method full"):
        trained_weights(base, PlainMethod(name="freeze", layers=1, learning_rate=1e-3))
