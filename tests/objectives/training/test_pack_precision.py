"""The pack in half precision and on quantized layers: micro-batches add up, and views are not written to."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from loratune.objectives.training import update
from loratune.objectives.training.batches import collate
from loratune.objectives.training.pack import Pack
from tiny_packs import make_base, make_geometry, make_params, make_split, shake
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_step_sums_half_precision_micro_batches_without_rounding_them(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    into, exact = torch.zeros(2, 8, 24), torch.zeros(2, 8, 24, dtype=torch.float64)
    for _ in range(64):
        left = torch.randn(2, 8, 40, generator=generator).to(dtype)
        right = torch.randn(2, 40, 24, generator=generator).to(dtype)
        update._accumulate(into, left, right)
        exact += left.double() @ right.double()
    error = float((into.double() - exact).abs().max() / exact.abs().max())
    assert error < 1e-6  # rounded to bfloat16 on the way it would be near 1e-3


def test_a_whole_half_precision_pack_adds_up_micro_batches_to_the_last_digits() -> None:
    half = make_base()
    half.model.to(torch.bfloat16)
    base = dataclasses.replace(half, dtype=torch.bfloat16)
    pack = Pack(base, make_geometry(base), 1)
    shake(pack, pack.add(make_params(), seed=1), make_params())
    split = make_split([5] * 64, [14] * 64)
    exact = torch.zeros(pack.layout.width, dtype=torch.float64)
    together = torch.zeros(pack.layout.width)
    for start in range(0, 64, 2):
        batch = collate(split, [np.arange(start, start + 2)], 16, base.device)
        pack.grads.zero_()
        pack.accumulate(batch, [None])
        exact += pack.grads[0].double()
        pack.grads[0] = together
        pack.accumulate(batch, [None])
        together = pack.grads[0].clone()
    live = float(exact.abs().max())
    assert live > 0
    assert float((together.double() - exact).abs().max()) < 1e-6 * live
    # Nor is what one micro-batch adds a number of bfloat16.
    pack.grads.zero_()
    pack.accumulate(batch, [None])
    assert not torch.equal(pack.grads.to(torch.bfloat16).float(), pack.grads)
    pack.close()


def test_on_a_gpu_half_precision_is_multiplied_into_float32_by_one_kernel() -> None:
    seen = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func.namespace == "aten":
                seen.append(str(func))
            return func(*args, **(kwargs or {}))

    with FakeTensorMode(), Watch():
        into = torch.zeros(2, 8, 24, device="cuda")
        left = torch.zeros(2, 8, 40, device="cuda", dtype=torch.bfloat16)
        right = torch.zeros(2, 40, 24, device="cuda", dtype=torch.bfloat16)
        seen.clear()
        update._accumulate(into, left, right)
    assert seen == ["aten.bmm.dtype", "aten.add_.Tensor"]


class _AsQuantized(torch.autograd.Function):
    """A product whose result is a view made by itself, as bitsandbytes returns one with a bias."""

    @staticmethod
    def forward(ctx, inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(weight)
        return (inputs.flatten(0, 1) @ weight.T + bias).view(*inputs.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return gradients[0] @ weight, None, None


class _Quantized(torch.nn.Linear):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return _AsQuantized.apply(inputs, self.weight, self.bias)


class _OwnOutput(torch.autograd.Function):
    """A product whose backward pass goes by its own output, kept where autograd does not look."""

    @staticmethod
    def forward(ctx, inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        ctx.output = torch.nn.functional.linear(inputs, weight, bias).clone()  # no view of another
        ctx.before = ctx.output.clone()
        ctx.weight = weight
        return ctx.output

    @staticmethod
    def backward(ctx, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        kept = (ctx.output == ctx.before).to(gradients[0].dtype)  # 1 everywhere, unless it was written to
        return (gradients[0] * kept) @ ctx.weight, None, None


class _Keeping(torch.nn.Linear):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return _OwnOutput.apply(inputs, self.weight, self.bias)


@pytest.mark.parametrize("other", [_Quantized, _Keeping])
def test_what_a_quantized_layer_may_need_again_is_not_written_to(other: type[torch.nn.Linear]) -> None:
    found = []
    for kind in (torch.nn.Linear, other):
        base = make_base()
        for block in base.model.get_decoder().layers:
            plain = block.mlp.up_proj
            layer = kind(plain.in_features, plain.out_features)
            layer.weight, layer.bias = plain.weight, torch.nn.Parameter(torch.ones(plain.out_features))
            block.mlp.up_proj = layer.requires_grad_(False)
        pack = Pack(base, make_geometry(base), slots=2)
        for seed in range(2):
            shake(pack, pack.add(make_params(), seed), make_params(), seed)
        batch = collate(make_split([4, 2], [16, 11]), [np.array([0, 1])] * 2, 16, base.device)
        found.append((pack.accumulate(batch, [None, None]), pack.grads.clone()))
        pack.close()
    torch.testing.assert_close(found[0], found[1])
    assert found[0][1].any()
