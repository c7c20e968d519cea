"""All that there is to know of one hyperparameter, beside what training does with it.

Knows none by name; ``params.py`` is the register of them.
"""

from __future__ import annotations

import dataclasses

from .value_kinds import Value, ValueKind


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hyperparameter:
    """One hyperparameter: what it may be, how it is shown, and what others call it."""

    name: str = ""
    """What users write: the field of ``LoraParams``, from which it is taken."""
    kind: ValueKind
    """Which values are allowed."""
    default: Value | None = None
    """Its value where nobody names it, the field's own default; None where it must be named."""
    meaning: str
    """What it is, in one line of Markdown."""
    stands_for: str | None = None
    """The field of ``LoraParams`` that follows from it, where it is none itself."""
    heading: str
    """Head of its column in tables, where the name would be wider than what stands below it."""
    leading: bool = False
    """Whether a table that must leave out columns keeps this one longer."""
    form: str = ".3g"
    """How tables write its numbers, as ``format`` takes it."""
    width: int = 0
    """Least width of its column, where values usually are as wide as that."""
    peft: str | None = None
    """The argument of PEFT's ``LoraConfig`` that it is; None where it is none."""
    trainer: str | None = None
    """The argument of Transformers' ``TrainingArguments`` that it is; None where it is none."""
