"""RMS norms that PyTorch computes in the place of Transformers: the same function, and only where it is."""

from __future__ import annotations

import copy

import pytest
import torch
import transformers
from loratune.objectives.training.norms import all_fused, fuse_norms, unfuse_norms
from tiny_packs import SHAPE
from transformers.models.llama.modeling_llama import LlamaRMSNorm

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def make_model(kind: str, dtype: torch.dtype = torch.float32):
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, **SHAPE, head_dim=8)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.normal_(mean=1.0, std=0.3)
    return model.eval()


def fused(model):
    """Return how many modules no longer run their class's own forward pass."""
    return sum("forward" in vars(module) for module in model.modules())


def logits_and_gradient(model):
    torch.manual_seed(1)
    states = torch.randn(3, 10, SHAPE["hidden_size"]).to(model.device, model.dtype).requires_grad_()
    logits = model(inputs_embeds=states, use_cache=False).logits.float()
    (gradient,) = torch.autograd.grad(logits.square().sum(), states)
    return logits.detach(), gradient.float()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("kind", "norms"), [("llama", 5), ("qwen2", 5), ("qwen3", 9), ("mistral", 5)])
def test_a_model_with_fused_norms_computes_what_it_did(kind, norms, device):
    model = make_model(kind).to(device)
    before, gradient = logits_and_gradient(model)
    assert not all_fused(model)
    fuse_norms(model)
    assert fused(model) == norms
    assert all_fused(model)
    after, gradient_after = logits_and_gradient(model)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradient_after, gradient, rtol=1e-3, atol=1e-4)
    unfuse_norms(model)
    assert fused(model) == 0
    assert torch.equal(logits_and_gradient(model)[0], before)


@pytest.mark.parametrize("device", DEVICES)
def test_in_half_precision_the_two_differ_by_roundings_alone(device):
    exact, _ = logits_and_gradient(make_model("llama").to(device))
    model = make_model("llama", torch.bfloat16).to(device)
    theirs, _ = logits_and_gradient(model)
    fuse_norms(model)
    assert all_fused(model)
    ours, _ = logits_and_gradient(model)
    assert not torch.equal(ours, theirs)
    assert (ours - exact).norm() < 1.2 * (theirs - exact).norm()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("weight", [1.0, 0.05, 0.002])
def test_small_weights_are_no_reason_to_leave_a_norm_out(dtype, weight):
    """In float16 some of what comes out is below its smallest normal number."""
    for seed in range(5):
        torch.manual_seed(seed)
        norm = LlamaRMSNorm(4096)
        torch.nn.init.normal_(norm.weight, mean=weight, std=weight / 3)
        norm.to(dtype)
        fuse_norms(norm)
        assert all_fused(norm), seed


def test_a_norm_that_keeps_its_epsilon_by_another_name_is_left_as_it_is():
    model = make_model("gemma")
    before, _ = logits_and_gradient(model)
    fuse_norms(model)
    assert not all_fused(model)
    after, _ = logits_and_gradient(model)
    assert torch.equal(after, before)


class HalvedRMSNorm(LlamaRMSNorm):
    def forward(self, hidden_states):
        return super().forward(hidden_states) / 2


class OnePlusRMSNorm(LlamaRMSNorm):
    def forward(self, hidden_states):
        return super().forward(hidden_states) + hidden_states


class EpsilonOutsideRMSNorm(LlamaRMSNorm):
    def forward(self, hidden_states):
        root = hidden_states.float().square().mean(-1, keepdim=True).sqrt()
        return self.weight * (hidden_states / (root + self.variance_epsilon)).to(hidden_states.dtype)


class GatedRMSNorm(LlamaRMSNorm):
    def forward(self, hidden_states, gate):
        return super().forward(hidden_states * gate)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("other", [HalvedRMSNorm, OnePlusRMSNorm, EpsilonOutsideRMSNorm, GatedRMSNorm])
def test_a_norm_that_computes_something_else_is_left_as_it_is_whatever_its_name(other, dtype):
    model = make_model("llama", dtype)
    model.model.norm = other(SHAPE["hidden_size"]).to(dtype)
    fuse_norms(model)
    assert fused(model) == 4
    assert "forward" not in vars(model.model.norm)
    assert not all_fused(model)


def test_a_norm_that_somebody_has_replaced_is_left_as_it_is():
    model = make_model("llama")
    replaced = model.model.norm.forward = lambda hidden: hidden
    fuse_norms(model)
    fuse_norms(model)
    assert fused(model) == 5
    unfuse_norms(model)
    assert model.model.norm.forward is replaced
    assert fused(model) == 1


def test_states_of_another_number_type_go_through_the_norm_of_transformers():
    norm = make_model("llama").model.norm
    rows = torch.randn(2, SHAPE["hidden_size"]).to(torch.bfloat16)
    before = norm(rows)
    fuse_norms(norm)
    after = norm(rows)
    assert after.dtype == before.dtype == torch.float32
    assert torch.equal(after, before)


def test_a_copy_of_a_model_norms_by_its_own_weights():
    model = make_model("llama")
    fuse_norms(model)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.model.norm.weight.mul_(2)
    rows = torch.randn(2, SHAPE["hidden_size"])
    torch.testing.assert_close(other.model.norm(rows), 2 * model.model.norm(rows))
