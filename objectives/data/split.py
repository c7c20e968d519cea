"""Decides which example belongs to train, validation and test; pure, and knows nothing of files or tokens.

Membership depends on the seed and on what a record says, never on its place in the file, so the same records
are split the same way for every model and template.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ...errors import DataError

Part = str
"""``train``, ``validation`` or ``test``."""

PARTS: tuple[Part, ...] = ("train", "validation", "test")


def distinct(keys: Sequence[Sequence[bytes]]) -> list[list[int]]:
    """Return the positions to keep in each of several lists, so that no key is kept twice.

    Later lists win: what is in the test set is left out of validation, and what is in either out of train.
    Inside one list the first wins.
    """
    seen: set[bytes] = set()
    kept: list[list[int]] = []
    for part in reversed(keys):
        positions = []
        for position, key in enumerate(part):
            if key not in seen:
                seen.add(key)
                positions.append(position)
        kept.append(positions)
    return kept[::-1]


def check_shares(shares: Sequence[float]) -> None:
    """Raise ``DataError`` unless the shares of train, validation and test make sense."""
    train, validation, test = shares
    if not (train > 0 and validation > 0 and test >= 0 and abs(sum(shares) - 1) <= 1e-6):
        raise DataError(
            f"the split {tuple(shares)} is not valid: train and validation must be above 0, test at least 0, "
            "and their sum 1"
        )


def shuffled(keys: Sequence[bytes], seed: int) -> list[int]:
    """Return positions in an order fixed by the seed and the keys alone."""
    salt = str(seed).encode()

    def rank(position: int) -> bytes:
        return hashlib.sha256(salt + b":" + keys[position]).digest()

    return sorted(range(len(keys)), key=rank)


def take_shares(
    keys: Sequence[bytes], shares: Sequence[float], seed: int, *, validation: bool, test: bool
) -> tuple[list[int], list[int], list[int]]:
    """Split positions in three: train in the order given, the others shuffled.

    ``validation`` and ``test`` say which of the two are taken out here; one that the user gave as a file
    is not, and its list is empty.

    Raises:
        DataError: there are too few for one example in each.
    """
    wanted = [shares[1] if validation else 0.0, shares[2] if test else 0.0]
    counts = [max(1, round(share * len(keys))) if share > 0 else 0 for share in wanted]
    needed = 1 + sum(share > 0 for share in wanted)
    if len(keys) < needed:
        raise DataError(
            f"{len(keys)} distinct example{'s' * (len(keys) != 1)} cannot be split into train, validation "
            f"and test: at least {needed} are needed, so give more records, or files for validation and test"
        )
    while sum(counts) >= len(keys):
        counts[counts.index(max(counts))] -= 1
    order = shuffled(keys, seed)
    in_test, in_validation = order[: counts[1]], order[counts[1] : counts[1] + counts[0]]
    return sorted(order[sum(counts) :]), in_validation, in_test
