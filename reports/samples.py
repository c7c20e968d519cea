"""What the models of a study write as answers, beside each other, as the report shows it."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampledPrompt:
    """A validation prompt and what became of it."""

    prompt: str
    """The end of what is asked."""
    right: str
    """The beginning of the right answer."""
    written: tuple[str, ...]
    """What each model wrote; it ends in ``…`` where it was cut."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Samples:
    """What several models wrote to the same prompts."""

    models: tuple[str, ...]
    """Their names: ``base model``, ``trial 0 (default)`` and ``trial 7 (best)``, as far as they can write."""
    prompts: tuple[SampledPrompt, ...]
    """The prompts, in the order of the data."""
    most: int
    """Tokens of an answer, at most."""
    notes: tuple[str, ...] = ()
    """Who is missing and why, in sentences."""
