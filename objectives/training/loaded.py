"""A kept adapter, or the base model as it is, in a free row of the pack for as long as it is looked at."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ...errors import StorageError
from ...spaces.params import LoraParams
from ...study.checkpoint_format import GROUPS
from . import checkpoint
from .pack import Pack


@contextlib.contextmanager
def loaded(pack: Pack, adapter: Path | None, params: LoraParams, fingerprint: str) -> Iterator[int]:
    """Put an adapter into a row, which is free again afterwards; yield the row.

    Raises ``StorageError`` for a file that cannot be read or is no adapter of these hyperparameters.

    Args:
        pack: has a free row.
        adapter: the adapter's file, or a training state; None: the row computes as the base model.
        params: hyperparameters of its trial.
        fingerprint: that of the data that it was trained on.
    """
    tensors = None
    if adapter is not None:
        tensors, _ = checkpoint.read(adapter, checkpoint.trained(params, fingerprint))
    row = pack.add(params, seed=0)
    try:
        if tensors is None:
            pack.clear(row)
        else:
            try:
                checkpoint.tensors_to_row(tensors, pack, row, params, groups=GROUPS[:1])
            except (KeyError, RuntimeError) as error:
                raise StorageError(f"adapter {adapter} does not fit the study: {error}") from error
        yield row
    finally:
        pack.remove(row)
