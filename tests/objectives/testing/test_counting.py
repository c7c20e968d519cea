"""What a piece of training asks of a device is counted on a CPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from loratune.objectives.testing.counting import counted

VALUES = torch.tensor([[1.0, -2.0], [3.0, 4.0]])
READS: dict[str, Callable[[], object]] = {
    "item": lambda: VALUES[0, 0].item(),
    "float": lambda: float(VALUES.sum()),
    "bool": lambda: bool((VALUES > 0).all()),
    "tolist": lambda: VALUES.tolist(),
    "tolist of one number": lambda: VALUES.sum().tolist(),
    "numpy": lambda: VALUES.numpy(),
    "nonzero": lambda: VALUES.nonzero(),
    "an index of booleans": lambda: VALUES[VALUES > 0],
    "masked_select": lambda: VALUES.masked_select(VALUES > 0),
    "equal": lambda: torch.equal(VALUES, VALUES + 1),
    "unique": lambda: torch.unique(VALUES),
}
NO_READS: dict[str, Callable[[], object]] = {
    "a product": lambda: VALUES @ VALUES,
    "an index of positions": lambda: VALUES[torch.tensor([1])],
    "a choice": lambda: torch.where(VALUES > 0, VALUES, 0.0),
    "a view": lambda: VALUES.t()[0].reshape(2, 1),
}


@pytest.mark.parametrize("name", READS)
def test_whatever_python_must_wait_for_is_one_read(name: str) -> None:
    with counted() as counts:
        READS[name]()
    assert counts.read_total == 1, counts.reads


@pytest.mark.parametrize("name", NO_READS)
def test_what_stays_on_the_device_is_no_read(name: str) -> None:
    with counted() as counts:
        NO_READS[name]()
    assert counts.read_total == 0, counts.reads


def test_views_and_allocations_are_no_kernels() -> None:
    with counted() as counts:
        torch.empty(3, 4).view(2, 6).t()[0].unsqueeze(0).expand(3, 2).detach()
    assert counts.kernel_total == 0, counts.kernels


def test_an_operator_on_many_tensors_is_one_kernel() -> None:
    rows = [torch.ones(3) for _ in range(8)]
    with counted() as counts:
        torch._foreach_add_(rows, 1.0)
    assert dict(counts.kernels) == {"aten::_foreach_add_": 1}


def test_a_backward_pass_is_counted_too() -> None:
    weight = torch.ones(2, 2, requires_grad=True)
    with counted() as counts:
        (VALUES @ weight).backward(torch.ones(2, 2))
    assert counts.kernels["aten::mm"] == 2


def test_tensors_that_are_asked_to_be_on_a_device_are_moves_and_a_number_type_is_none() -> None:
    with counted() as counts:
        VALUES.to(torch.device("cpu")).to("cpu", copy=True).to(device="cpu").cpu()
        VALUES.to(torch.float64).to(VALUES)
    assert counts.move_total == 4, counts.moves


def test_a_marking_operator_cuts_the_counts_into_parts() -> None:
    table = torch.ones(4, 2)
    with counted(mark="aten::embedding") as counts:
        for times in (1, 2, 3):
            found = torch.nn.functional.embedding(torch.tensor([1]), table)
            for _ in range(times):
                found = found * 2
    assert [part.kernels["aten::mul"] for part in counts.parts] == [1, 2]


def test_nothing_is_counted_outside() -> None:
    with counted() as counts:
        pass
    VALUES.sum().item()
    assert counts.kernel_total == counts.read_total == counts.move_total == 0
