"""The check at load refuses what would be trained wrongly, and leaves the model as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from loratune.errors import ModelError
from loratune.objectives.training import selfcheck
from loratune.objectives.training.model import BaseModel, hold
from loratune.objectives.training.recomputing import recompute_activations
from loratune.objectives.training.selfcheck import check_pack
from loratune.objectives.training.targets import resolve_targets
from loratune.study.facts import Geometry


@pytest.fixture(name="base")
def make_base() -> BaseModel:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=48,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        initializer_range=0.2,
    )
    model = transformers.LlamaForCausalLM(config)
    return hold(model, torch.device("cpu"), torch.float32, name_or_path="org/tiny")


def geometry_of(base: BaseModel, *targets: str) -> Geometry:
    return Geometry(
        rank_max=32,
        micro_step_lengths=(16,),
        eval_rows=2,
        targets=resolve_targets(base.model, targets or ("all",)),
        dtype="float32",
        attn_implementation="sdpa",
        gradient_checkpointing=False,
    )


def refusal(base: BaseModel, geometry: Geometry | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        check_pack(base, geometry or geometry_of(base))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("org/tiny: ")
    return message


def hooks_of(base: BaseModel) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in base.model.modules())


def change(module: torch.nn.Module, how: Callable[..., Any]) -> None:
    """Let a module compute ``how(its own forward, *what it is given)``."""
    own = module.forward
    module.forward = lambda *args, **kwargs: how(own, *args, **kwargs)


def test_a_sound_model_passes_and_stays_as_it_was(base: BaseModel) -> None:
    before = {name: weight.clone() for name, weight in base.model.state_dict().items()}
    check_pack(base, geometry_of(base))
    assert hooks_of(base) == 0
    assert all(torch.equal(weight, before[name]) for name, weight in base.model.state_dict().items())
    assert not any(weight.requires_grad or weight.grad is not None for weight in base.model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_sound_model_passes_in_half_precision(base: BaseModel, dtype: torch.dtype) -> None:
    half = hold(base.model.to(dtype), base.device, dtype, name_or_path="org/tiny")
    check_pack(half, geometry_of(half))


@pytest.mark.parametrize(
    ("dtype", "cure"), [(torch.float16, "give --dtype float32"), (torch.float32, "download the model again")]
)
def test_numbers_that_are_none_are_no_fault_of_the_head(
    base: BaseModel, dtype: torch.dtype, cure: str
) -> None:
    with torch.no_grad():
        base.model.lm_head.weight.mul_(1e6 if dtype == torch.float16 else 1e39)
    half = hold(base.model.to(dtype), base.device, dtype, name_or_path="org/tiny")
    message = refusal(half, geometry_of(half))
    assert f"its logits are not finite in {str(dtype).removeprefix('torch.')}" in message
    assert cure in message


def test_a_pack_without_layers_is_refused(base: BaseModel) -> None:
    geometry = Geometry(**{**vars(geometry_of(base)), "targets": ()})
    assert "no layer would carry an adapter" in refusal(base, geometry)


@pytest.mark.parametrize(
    "after",
    [
        lambda logits: logits * 0.5,
        lambda logits: 30 * torch.tanh(logits / 30),
        lambda logits: logits.clamp(-30, 30),
    ],
    ids=["scale", "soft cap", "hard cap"],
)
def test_logits_that_are_changed_after_the_head_are_refused(base: BaseModel, after: Any) -> None:
    def changed(own: Any, *args: Any, **kwargs: Any) -> Any:
        output = own(*args, **kwargs)
        output.logits = after(output.logits)
        return output

    change(base.model, changed)
    assert "its logits are changed after the output head" in refusal(base)
    assert hooks_of(base) == 0


def test_a_head_that_reads_something_else_is_refused(base: BaseModel) -> None:
    class Shifted(transformers.LlamaForCausalLM):
        def forward(self, input_ids: Any, **kwargs: Any) -> Any:
            hidden = self.model(input_ids=input_ids, use_cache=False).last_hidden_state
            return transformers.modeling_outputs.CausalLMOutputWithPast(logits=self.lm_head(hidden * 1.01))

    base.model.__class__ = Shifted
    assert "does not read the decoder's last hidden states" in refusal(base)


def test_attention_that_looks_ahead_is_refused(base: BaseModel) -> None:
    def whole(own: Any, hidden_states: torch.Tensor, **kwargs: Any) -> Any:
        return own(hidden_states + hidden_states.mean(dim=1, keepdim=True), **kwargs)

    change(base.model.model.layers[0].self_attn, whole)
    assert "a token's prediction depends on later tokens" in refusal(base)


def test_a_layer_that_is_given_gathered_rows_is_refused(base: BaseModel) -> None:
    mlp = base.model.model.layers[1].mlp
    change(mlp, lambda own, x: own(x.flatten(0, 1)).view(x.shape))
    message = refusal(base)
    assert "the layer model.layers.1.mlp.gate_proj does not receive all rows in order" in message
    assert "leave gate_proj out of lora_target" in message
    assert hooks_of(base) == 0
    check_pack(base, geometry_of(base, "q_proj,v_proj"))


def test_a_layer_that_is_given_rows_in_another_order_is_refused(base: BaseModel) -> None:
    mlp = base.model.model.layers[1].mlp
    change(mlp, lambda own, x: own(x.roll(1, dims=0)).roll(-1, dims=0))
    assert "one trial's adapter changes another trial" in refusal(base)


def test_a_layer_that_is_never_called_is_refused(base: BaseModel) -> None:
    change(base.model.model.layers[1].mlp, lambda own, x: torch.zeros_like(x))
    assert "the layer model.layers.1.mlp.gate_proj is never called" in refusal(base)


def test_a_model_that_recomputes_its_activations_passes(base: BaseModel) -> None:
    recompute_activations(base)
    check_pack(base, geometry_of(base))


def test_the_bases_own_dropout_under_recomputation_is_refused() -> None:
    config = transformers.OPTConfig(
        vocab_size=48,
        hidden_size=16,
        ffn_dim=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        word_embed_proj_dim=16,
        dropout=0.5,
    )
    model = transformers.OPTForCausalLM(config)
    base = hold(model, torch.device("cpu"), torch.float32, name_or_path="org/tiny")
    geometry = geometry_of(base, "q_proj,v_proj")
    check_pack(base, geometry)
    recompute_activations(base)
    assert "something else each time (dropout" in refusal(base, geometry)


def test_dropout_that_is_still_on_is_refused(base: BaseModel) -> None:
    change(base.model.model.layers[0].mlp, lambda own, x: torch.nn.functional.dropout(own(x), p=0.2))
    assert "something else each time (dropout" in refusal(base)


class InferenceOnly(torch.nn.Linear):
    """Computes what it should and leaves no trace for a backward pass, as kernels for inference do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return super().forward(x)


@pytest.mark.parametrize("targets", [("all",), ("q_proj,v_proj",)], ids=["adapted", "beside the adapted"])
@pytest.mark.parametrize("recompute", [False, True])
def test_a_layer_without_a_backward_pass_is_refused(
    base: BaseModel, targets: tuple[str, ...], recompute: bool
) -> None:
    base.model.model.layers[1].mlp.down_proj.__class__ = InferenceOnly
    if recompute:
        recompute_activations(base)
    hooks = hooks_of(base)
    message = refusal(base, geometry_of(base, *targets))
    assert "the layer model.layers.1.mlp.down_proj (InferenceOnly) has no backward pass" in message
    assert hooks_of(base) == hooks


def test_a_layer_without_a_backward_pass_is_no_harm_where_nothing_below_is_trained(base: BaseModel) -> None:
    base.model.model.layers[0].mlp.down_proj.__class__ = InferenceOnly
    check_pack(base, geometry_of(base, "layers.1.self_attn.q_proj"))


def test_the_pack_itself_stops_where_a_layer_leaves_the_tape_later(base: BaseModel) -> None:
    geometry = geometry_of(base)
    check_pack(base, geometry)
    base.model.model.layers[1].mlp.down_proj.__class__ = InferenceOnly
    pack = selfcheck.Pack(base, geometry, 3)
    pack.fill()
    batch = selfcheck._batch(torch.randint(48, (6, 16)))
    assert bool(pack.losses(batch, slice(0, 3)).isfinite().all())  # computing alone needs no backward pass
    with pytest.raises(ModelError, match=r"down_proj has no backward pass"):
        pack.accumulate(batch, [None] * 3)


def test_an_adapter_that_does_nothing_is_refused(base: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf(selfcheck.Pack):
        def _hook(self, layer: Any) -> Any:
            return lambda _module, _args, output: output + 0 * self._anchor

    monkeypatch.setattr(selfcheck, "Pack", Deaf)
    assert "an adapter has no effect on its own trial" in refusal(base)


def test_whatever_else_goes_wrong_is_one_line(base: BaseModel) -> None:
    def fail(own: Any, x: Any) -> None:
        raise ValueError("first line\nsecond line")

    change(base.model.model.layers[1].mlp, fail)
    assert "LlamaForCausalLM cannot be packed (ValueError: first line second line)" in refusal(base)
    assert hooks_of(base) == 0


def test_an_operation_that_cannot_repeat_its_sums_names_the_flag_that_asks_it_to(base: BaseModel) -> None:
    def fail(own: Any, x: Any) -> None:
        raise RuntimeError("histc_cuda does not have a deterministic implementation, but you set\nmore")

    change(base.model.model.layers[1].mlp, fail)
    message = refusal(base)
    assert "LlamaForCausalLM cannot be trained with --deterministic on this GPU (histc_cuda" in message
    assert message.endswith("leave the flag out")


def test_memory_that_runs_out_is_no_fault_of_the_model(base: BaseModel) -> None:
    def fail(own: Any, x: Any) -> None:
        raise torch.OutOfMemoryError("out of memory")

    change(base.model.model.layers[1].mlp, fail)
    with pytest.raises(torch.OutOfMemoryError):
        check_pack(base, geometry_of(base))
