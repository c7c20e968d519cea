"""Randomness as pure functions of what it is for, never of when it is drawn.

A trial's initial adapter and its dropout masks depend on its seed, the layer and the example's
position alone, so they are the same in any slot, beside any neighbours, and after a resume.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import numpy.typing as npt
import torch

_GOLDEN = 0x9E3779B97F4A7C15


def derive_seed(*parts: object) -> int:
    """Return a 63-bit seed from any printable parts; equal parts give equal seeds."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def permutation(length: int, seed: int) -> npt.NDArray[np.int64]:
    """Return ``[length]`` a shuffled ``0 … length - 1``, the same on every NumPy version.

    Positions are ranked by SplitMix64 (Steele et al., 2014) of their number; NumPy's own shuffles
    may change between releases, and a resumed trial must read the data in its old order.
    """
    return np.argsort(_splitmix64(np.arange(length, dtype=np.uint64), seed), kind="stable").astype(np.int64)


def spread_out(length: int, seed: int) -> npt.NDArray[np.int64]:
    """Return ``[length]`` a shuffled ``0 … length - 1`` of which every stretch lies evenly over the whole.

    Of any n that follow each other, each n-th part of the numbers has about one. It is van der Corput's
    sequence, whose points are its positions' bits reversed, scrambled as by Owen (1995): whether a bit is
    flipped hangs on the bits above it alone.
    """
    one, points = np.uint64(1), np.zeros(1, dtype=np.uint64)
    while len(points) < length:
        above = np.arange(len(points), dtype=np.uint64)
        flip = _splitmix64(above, derive_seed("flip", seed, len(points))) >> np.uint64(63)
        half = points << one
        points = np.concatenate([half | flip, half | (flip ^ one)])
    return np.argsort(np.argsort(points[:length]))


def _splitmix64(numbers: npt.NDArray[np.uint64], seed: int) -> npt.NDArray[np.uint64]:
    """Return 64 random bits for each number from 0."""
    with np.errstate(over="ignore"):
        z = (numbers + np.uint64(1)) * np.uint64(_GOLDEN) + np.uint64(seed)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def initial_a(seed: int, layer: str, rank: int, in_features: int) -> torch.Tensor:
    """Return ``[rank, in_features]`` the initial A of a layer; B starts at zero, as in PEFT.

    PEFT draws A by ``kaiming_uniform_(a=sqrt(5))``, which is uniform within ``1 / sqrt(in_features)``.
    """
    generator = torch.Generator().manual_seed(derive_seed("lora_A", seed, layer))
    bound = 1.0 / math.sqrt(in_features)
    return torch.empty(rank, in_features).uniform_(-bound, bound, generator=generator)


def dropout_mask(
    seed: int, layer: str, position: int, shape: tuple[int, int, int], p: float, device: torch.device | str
) -> torch.Tensor:
    """Return ``[m, T, in]`` which inputs of an adapter are kept in one micro-step of one trial.

    Args:
        seed: the trial's seed.
        layer: full name of the layer.
        position: examples that the trial had seen before the micro-step.
        shape: examples, padded length and features of the micro-step.
        p: chance that an input is dropped.
        device: where the mask is needed; a device has its own stream of numbers.
    """
    generator = torch.Generator(device=device)
    generator.manual_seed(derive_seed("dropout", seed, layer, position))
    return torch.rand(shape, generator=generator, device=device) >= p
