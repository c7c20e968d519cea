"""The first trials of a study, before a sampler proposes any: what they are held against comes first.

That is the user's own configuration where a file of their trainer was given, else the preset's known-good
one. Loads nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import SpaceError, UsageError
from ..spaces.params import LoraParams
from ..spaces.parse import configuration, load_space
from ..spaces.presets import Preset, preset
from ..spaces.space import ALPHA, SearchSpace
from ..study.facts import Facts
from ..study.ladder import at_lower_rate
from ..study.study_config import StudyConfig
from .trainer_file import OwnRun


def first_trials(
    base: Preset, space: SearchSpace, own: OwnRun | None, listed: Iterable[Mapping[str, Any]], *, lower: bool
) -> tuple[LoraParams, ...]:
    """Return the configurations that are tried first, in their order.

    Args:
        base: the preset, whose known-good configuration is one of them.
        space: what may be tried; it holds ``own``.
        own: what the user trains with today.
        listed: what the user listed; what one leaves out is as in the known-good configuration.
        lower: whether that is tried at half its rate too: the presets' rates are those of a schedule that
            falls from its peak on; of one that is held, a lower rate is best.
    """
    known = space.closest(base.default)
    half = at_lower_rate(known, space) if lower else None
    return (
        *(() if own is None else (own.params,)),
        known,
        *(() if half is None else (half,)),
        *(_enqueued(values, known) for values in listed),
    )


def source_of(base: Preset, space: SearchSpace, own: OwnRun | None) -> str:
    """Return where the configuration of trial 0 comes from, in words."""
    if own is not None:
        return "; ".join((f"{own.name}, a file for LLaMA-Factory", *own.notes))
    moved = space.closest(base.default) != base.default
    return base.default_source + ("; moved to the nearest point of the space" if moved else "")


def holding(space: SearchSpace, own: OwnRun, *, said: Collection[str], file: Path | None) -> SearchSpace:
    """Return the space, widened where the user did not say it, so that it has their own configuration.

    Raises ``SpaceError`` where what they said leaves it out.
    """
    named = {*said, *(one.name for one in (load_space(file) if file is not None else ()))}
    wider = space.holding(own.params, but=named | (ALPHA if named & ALPHA else set()))
    try:
        wider.encode(own.params)
    except SpaceError as error:
        raise SpaceError(f"{error}; {own.name} trains with it, which trial 0 is to be: widen it") from None
    return wider


def fit_to_budget(config: StudyConfig, facts: Facts) -> StudyConfig:
    """Leave out the batch sizes that the data is too small for; the plan says which."""
    largest = max(facts.budget.batch_sizes)
    if largest == max(config.space.batch_sizes()):
        return config
    space = config.space.without_batch_sizes_above(largest)
    first, *_ = config.first
    known = config.space.closest(preset(config.preset).default) if config.has_own else first
    # Nobody chose the batch size of the known-good configuration, nor of that at half its rate.
    unchosen = {known, None if config.ladder is None else at_lower_rate(known, config.space)}
    unchosen -= {first} if config.has_own else set()
    fitted = []
    for number, params in enumerate(config.first):
        moved = space.closest(params) if params in unchosen else params
        if moved.batch_size > largest:
            whose = config.default_name if number == 0 else "enqueue"
            raise SpaceError(
                f"{whose}: batch_size {params.batch_size} does not fit the data; at most {largest} does: "
                "give more data, or a smaller one"
            )
        fitted.append(moved)
    return dataclasses.replace(config, space=space, first=tuple(fitted))


def _enqueued(values: Mapping[str, Any], known: LoraParams) -> LoraParams:
    """Return a configuration that the user enqueued; what it leaves out is as in the known-good one."""
    try:
        return configuration(values, known)
    except SpaceError as error:
        raise UsageError(f"enqueue: {error}") from None
