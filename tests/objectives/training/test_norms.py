"""RMS norms that PyTorch computes in the place of Transformers: the same function, and only where it is."""

from __future__ import annotations

import copy

import pytest
import torch
import transformers
from loratune.objectives.training.norms import fuse_norms

TINY = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}


def make_model(kind: str, dtype: torch.dtype = torch.float32):
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, **TINY, head_dim=8)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.normal_(mean=1.0, std=0.3)
    return model.eval()


def logits_and_gradient(model):
    torch.manual_seed(1)
    states = torch.randn(3, 10, TINY["hidden_size"]).to(model.dtype).requires_grad_()
    logits = model(inputs_embeds=states, use_cache=False).logits.float()
    (gradient,) = torch.autograd.grad(logits.square().sum(), states)
    return logits.detach(), gradient.float()


@pytest.mark.parametrize(("kind", "norms"), [("llama", 5), ("qwen2", 5), ("qwen3", 9), ("mistral", 5)])
def test_a_model_with_fused_norms_computes_what_it_did(kind, norms):
    model = make_model(kind)
    before, gradient = logits_and_gradient(model)
    assert fuse_norms(model) == norms
    after, gradient_after = logits_and_gradient(model)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradient_after, gradient, rtol=1e-3, atol=1e-4)


def test_in_half_precision_the_two_differ_by_roundings_alone():
    exact, _ = logits_and_gradient(make_model("llama"))
    model = make_model("llama", torch.bfloat16)
    theirs, _ = logits_and_gradient(model)
    assert fuse_norms(model) == 5
    ours, _ = logits_and_gradient(model)
    assert not torch.equal(ours, theirs)
    assert (ours - exact).norm() < 1.2 * (theirs - exact).norm()


def test_a_norm_of_another_formula_is_left_as_it_is():
    model = make_model("gemma")
    before, _ = logits_and_gradient(model)
    assert fuse_norms(model) == 0
    after, _ = logits_and_gradient(model)
    assert torch.equal(after, before)


def test_a_norm_whose_output_is_another_is_left_as_it_is_whatever_its_name():
    class HalvedRMSNorm(type(make_model("llama").model.norm)):
        def forward(self, hidden_states):
            return super().forward(hidden_states) / 2

    model = make_model("llama")
    halved = HalvedRMSNorm(TINY["hidden_size"])
    model.model.norm = halved
    assert fuse_norms(model) == 4
    assert "forward" not in vars(halved)


def test_a_norm_that_somebody_has_replaced_is_left_as_it_is():
    model = make_model("llama")
    model.model.norm.forward = lambda hidden: hidden
    assert fuse_norms(model) == 4
    assert fuse_norms(model) == 0


def test_states_of_another_number_type_go_through_the_norm_of_transformers():
    model = make_model("llama")
    norm = model.model.norm
    rows = torch.randn(2, TINY["hidden_size"]).to(torch.bfloat16)
    before = norm(rows)
    fuse_norms(model)
    after = norm(rows)
    assert after.dtype == before.dtype == torch.float32
    assert torch.equal(after, before)


def test_a_copy_of_a_model_norms_by_its_own_weights():
    model = make_model("llama")
    fuse_norms(model)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.model.norm.weight.mul_(2)
    rows = torch.randn(2, TINY["hidden_size"])
    torch.testing.assert_close(other.model.norm(rows), 2 * model.model.norm(rows))
