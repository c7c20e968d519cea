"""Which cards keep attention's scores, told by pretended kernels."""

from __future__ import annotations

import contextlib

import pytest
import torch
import transformers
from loratune.objectives.testing.counting import counted
from loratune.objectives.training import attention
from loratune.objectives.training.attention import head_shape, keeps_scores, never_packed
from transformers import masking_utils

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels as PyTorch has them: flash wants half precision, the efficient one no grouped heads."""

    def flash(asked: torch.backends.cuda.SDPAParams) -> bool:
        return asked.query.dtype in (torch.float16, torch.bfloat16) and asked.query.shape[-1] <= 256

    def efficient(asked: torch.backends.cuda.SDPAParams) -> bool:
        return not asked.enable_gqa

    cuda = torch.backends.cuda
    monkeypatch.setattr(cuda, "can_use_flash_attention", flash)
    monkeypatch.setattr(cuda, "can_use_efficient_attention", efficient)
    monkeypatch.setattr(cuda, "can_use_cudnn_attention", lambda asked: False)
    zeros = torch.zeros
    monkeypatch.setattr(attention.torch, "zeros", lambda *shape, device, dtype: zeros(*shape, dtype=dtype))


def llama(**changes: int) -> transformers.LlamaConfig:
    shape = {"hidden_size": 64, "num_attention_heads": 8, "num_key_value_heads": 2}
    return transformers.LlamaConfig(**{**shape, **changes})


def test_grouped_heads_in_float32_keep_their_scores() -> None:
    assert keeps_scores(llama(), GPU, torch.float32)
    assert not keeps_scores(llama(num_key_value_heads=8), GPU, torch.float32)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_has_flash_attention(dtype: torch.dtype) -> None:
    assert not keeps_scores(llama(), GPU, dtype)


def test_without_flash_attention_grouped_heads_of_float16_keep_their_scores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.cuda, "can_use_flash_attention", lambda asked: False)
    assert keeps_scores(llama(), GPU, torch.float16)


def test_heads_too_large_for_pytorch_to_group_are_expanded_by_transformers() -> None:
    assert not keeps_scores(llama(head_dim=320), GPU, torch.float32)


def test_a_cpu_keeps_none() -> None:
    assert not keeps_scores(llama(), CPU, torch.float32)


def test_what_is_asked_is_a_causal_training_step_of_the_models_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        torch.backends.cuda, "can_use_flash_attention", lambda params: asked.append(params) or True
    )
    assert not keeps_scores(llama(), GPU, torch.bfloat16)
    (params,) = asked
    assert (params.query.shape[1], params.key.shape[1], params.query.shape[-1]) == (8, 2, 8)
    assert params.is_causal
    assert params.query.requires_grad
    assert params.attn_mask is None


def test_the_shape_of_heads_is_read_from_any_configuration() -> None:
    assert head_shape(llama()) == (8, 2, 8)
    assert head_shape(llama(head_dim=16)) == (8, 2, 16)
    assert head_shape(transformers.GPT2Config(n_embd=32, n_head=4)) == (4, 4, 8)
    assert head_shape(transformers.Gemma3Config().get_text_config()) == (8, 4, 256)


def test_a_pass_asks_the_device_nothing_and_computes_the_same() -> None:
    shape = {"vocab_size": 64, "intermediate_size": 32, "num_hidden_layers": 2, "hidden_size": 32}
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(llama(**shape, num_attention_heads=4)).eval()
    given = torch.randint(64, (3, 16))
    with torch.no_grad(), counted() as plain:
        theirs = model.model(input_ids=given, use_cache=False).last_hidden_state
    with torch.no_grad(), counted() as counts, never_packed():
        ours = model.model(input_ids=given, use_cache=False).last_hidden_state
    assert plain.read_total == 1, "Transformers no longer looks; never_packed can go"
    assert counts.read_total == 0
    assert torch.equal(ours, theirs)


def test_what_others_ask_of_transformers_is_answered_as_before() -> None:
    packed = torch.tensor([[0, 1, 2, 0, 1, 2]])
    with contextlib.suppress(KeyError), never_packed():
        assert masking_utils.find_packed_sequence_indices(packed) is None
        raise KeyError
    assert masking_utils.find_packed_sequence_indices(packed).tolist() == [[0, 0, 0, 1, 1, 1]]


def test_a_transformers_that_does_not_look_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(masking_utils, "find_packed_sequence_indices")
    with never_packed():
        pass
    assert not hasattr(masking_utils, "find_packed_sequence_indices")
