"""The numbers of an evaluation, one for each example, as bytes of columns and back.

Little-endian, in four bytes each. Loads NumPy, which what only lists studies need not wait for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy

from ..study.records import Evaluation

_WHOLE, _REAL = "<i4", "<f4"


def read(row: sqlalchemy.RowMapping) -> Evaluation:
    """Read an evaluation; raises ``ValueError`` where its bytes are no vectors of one length."""
    losses, tokens = _numbers(row["losses"], _REAL), _numbers(row["tokens"], _WHOLE)
    # Not there yet in a database of before, and empty in its rows since.
    correct, marks = (
        None if (values := row.get(name)) is None else _numbers(values, kind)
        for name, kind in (("correct", _WHOLE), ("marks", _REAL))
    )
    table = row.get("label_losses")
    found = Evaluation(
        losses=losses.astype(np.float32),
        tokens=tokens.astype(np.int64),
        correct=None if correct is None else correct.astype(np.int64),
        label_losses=None if table is None else _table(table),
        marks=None if marks is None else marks.astype(np.float32),
    )
    lengths = {len(values) for values in (losses, tokens, correct, marks) if values is not None}
    if len(lengths) > 1 or not len(tokens) or (tokens < 1).any():
        raise ValueError("these are no numbers of one set of examples")
    return found


def written(found: Evaluation) -> dict[str, Any]:
    """Return the columns of an evaluation; what was not measured is empty."""
    table = found.label_losses
    return {
        "losses": _bytes(found.losses, _REAL),
        "tokens": _bytes(found.tokens, _WHOLE),
        "correct": None if found.correct is None else _bytes(found.correct, _WHOLE),
        "marks": None if found.marks is None else _bytes(found.marks, _REAL),
        # How many labels there are comes first.
        "label_losses": None
        if table is None
        else _bytes(np.asarray([table.shape[1]]), _WHOLE) + _bytes(table, _REAL),
    }


def _numbers(values: Any, kind: str) -> npt.NDArray[Any]:
    return np.frombuffer(bytes(values), dtype=kind)


def _bytes(values: npt.NDArray[Any], kind: str) -> bytes:
    return values.astype(kind).tobytes()


def _table(values: Any) -> npt.NDArray[np.float32]:
    (width,) = np.frombuffer(bytes(values), dtype=_WHOLE, count=1)
    return np.frombuffer(bytes(values), dtype=_REAL, offset=4).astype(np.float32).reshape(-1, int(width))
