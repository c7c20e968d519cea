"""The configurations that both sides train: the default, then some drawn once from the space."""

from __future__ import annotations

import optuna
from loratune.spaces.params import LoraParams
from loratune.spaces.range import Range
from loratune.spaces.space import SearchSpace


def draw(space: SearchSpace, default: LoraParams, count: int, seed: int, highest: float) -> list[LoraParams]:
    """Return ``count`` different configurations: the default (trial 0 of every study), then drawn ones."""
    rates = space["learning_rate"]
    low, high = rates.bounds
    calm = space.replace(
        Range(
            name="learning_rate", low=low, high=min(high, highest), log=isinstance(rates, Range) and rates.log
        )
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    drawn = {default: None}
    while len(drawn) < count:
        drawn[calm.decode(study.ask(calm.distributions()).params)] = None
    return list(drawn)[:count]
