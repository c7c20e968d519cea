"""Trials that go through the base model at once: neighbouring rows of a pack, cut by tokens.

A worker holds K trials and runs G of them at a time, group after group, in every micro-step: adapters,
gradients and moments grow with K, activations with G, and nothing is computed twice. G follows from the
tokens of a pass, so that many short rows go together and few long ones: past some thousand tokens a device
is as busy as it can be. Pure arithmetic; knows nothing of memory.
"""

from __future__ import annotations

PASS_TOKENS = {"cpu": 4096, "cuda": 16384}
"""Tokens, padding included, that go through the base model at once at most, by kind of device
(docs/benchmarks.md)."""


def at_once(trials: int, tokens: int, most: int) -> int:
    """Return how many of some trials go together, each with so many ``tokens`` in a pass.

    At least one, however long it is; all of them where ``most`` is 0.

    >>> at_once(8, 2000, 4096)
    2
    """
    if most == 0:
        return trials
    return max(1, min(trials, most // max(1, tokens)))


def groups(trials: int, tokens: int, most: int, first: int = 0) -> list[slice]:
    """Return the rows of each group, from row ``first`` on; as even as they can be, so few shapes come.

    >>> groups(5, 2000, 4096)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    if trials == 0:
        return []
    size = at_once(trials, tokens, most)
    count = -(-trials // size)
    least, larger = divmod(trials, count)
    found, start = [], first
    for group in range(count):
        stop = start + least + (group < larger)
        found.append(slice(start, stop))
        start = stop
    return found
