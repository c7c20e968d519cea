"""What one piece of training asks of a device: kernels, reads that wait for it, moves to and from it.

Counted from what torch is asked to do, so a CPU tells as well as a GPU. Knows nothing of packs or trials.

    with counted() as counts:
        pack.accumulate(batch, dropout)
    counts.kernel_total, counts.read_total, counts.move_total

A kernel is an operator that computes: views, allocations and what merely describes a tensor are left out,
and an operator on a list of tensors counts once. A GPU may launch several kernels for one. A read is
whatever needs a value from the device before Python can go on (``item``, ``tolist``, ``bool``, an index of
booleans); a move is a tensor that is asked to be on a device or on the CPU.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

READS = frozenset(
    (
        *("aten::_local_scalar_dense", "aten::item", "aten::is_nonzero", "aten::equal"),
        *("aten::nonzero", "aten::masked_select", "aten::_unique2", "aten::unique_dim"),
        *("aten::unique_consecutive", "aten::bincount"),
    )
)
"""Operators whose result, or its shape, Python must know."""

READ_METHODS = {
    torch.Tensor.tolist: "tolist",
    torch.Tensor.numpy: "numpy",
    torch.Tensor.__array__: "numpy",
}
"""Methods that copy to the CPU without an operator being seen there."""

INDEXING = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")

FREE = frozenset(
    (
        *("aten::empty", "aten::empty_like", "aten::empty_strided", "aten::new_empty", "aten::detach"),
        *(
            "aten::new_empty_strided",
            "aten::_unsafe_view",
            "aten::alias",
            "aten::lift_fresh",
            "aten::resize_",
        ),
        *("aten::sym_size", "aten::sym_stride", "aten::sym_numel", "aten::is_same_size", "aten::set_"),
        *("aten::_reshape_alias", "aten::_reshape_copy", "aten::_local_scalar_dense", "aten::_to_cpu"),
    )
)
"""Operators that launch nothing and are no views by their schema."""


@dataclasses.dataclass(kw_only=True)
class Counts:
    """What was asked of the device."""

    kernels: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """By operator."""
    reads: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """By operator or method."""
    moves: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """By method."""
    marks: list[Counts] = dataclasses.field(default_factory=list)
    """How they stood each time that the marking operator came."""

    @property
    def kernel_total(self) -> int:
        """All kernels."""
        return self.kernels.total()

    @property
    def read_total(self) -> int:
        """All reads."""
        return self.reads.total()

    @property
    def move_total(self) -> int:
        """All moves."""
        return self.moves.total()

    @property
    def parts(self) -> tuple[Counts, ...]:
        """What came between each mark and the next."""
        return tuple(later - earlier for earlier, later in itertools.pairwise(self.marks))

    def copy(self) -> Counts:
        """Return them as they stand."""
        return Counts(kernels=self.kernels.copy(), reads=self.reads.copy(), moves=self.moves.copy())

    def __sub__(self, earlier: Counts) -> Counts:
        """Return what came after ``earlier``."""
        return Counts(
            kernels=self.kernels - earlier.kernels,
            reads=self.reads - earlier.reads,
            moves=self.moves - earlier.moves,
        )


@contextlib.contextmanager
def counted(mark: str | None = None) -> Iterator[Counts]:
    """Count what happens within, backward passes too.

    Args:
        mark: an operator that begins a new part, such as ``aten::embedding``, once a forward pass.
    """
    counts = Counts()
    with _Operators(counts, mark), _Methods(counts):
        yield counts


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operator that reaches a device, those of the backward pass too."""

    def __init__(self, counts: Counts, mark: str | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._counts, self._mark = counts, mark

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket._qualified_op_name
        if name == self._mark:
            self._counts.marks.append(self._counts.copy())
        if name in READS or (name in INDEXING and _by_booleans(args)):
            self._counts.reads[name] += 1
        if name not in FREE and not func.is_view:
            self._counts.kernels[name] += 1
        return func(*args, **(kwargs or {}))


class _Methods(TorchFunctionMode):
    """Sees what Python asks of a tensor, where no operator would tell."""

    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self._counts = counts

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in READ_METHODS:
            self._counts.reads[READ_METHODS[func]] += 1
        elif func is torch.Tensor.cpu or func is torch.Tensor.cuda:
            self._counts.moves[func.__name__] += 1
        elif func is torch.Tensor.to:
            given = [*args[1:], kwargs.get("device")]
            if any(isinstance(one, torch.device | str) for one in given):
                self._counts.moves["to"] += 1
        return func(*args, **kwargs)


def _by_booleans(args: tuple[Any, ...]) -> bool:
    """Say whether an index holds booleans: how many are true decides the shape of the result."""
    indices = args[1] if len(args) > 1 else ()
    return any(isinstance(one, torch.Tensor) and one.dtype in (torch.bool, torch.uint8) for one in indices)
