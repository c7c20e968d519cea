"""Every sampler by its settings, and the next trial that one of them proposes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ...spaces.params import LoraParams
from ...spaces.space import SearchSpace
from ...study.samplers import Gp, Grid, Qmc, Random, SamplerSettings, Tpe
from .base import Ask, Past, Sampler
from .gp import GpSampler
from .grid import GridSampler
from .points import drawn
from .qmc import QmcSampler
from .random import RandomSampler
from .tpe import TpeSampler

LAST_RESORT = 10
"""After this many duplicates for one number the draw is uniform: TPE, in a space of few configurations,
names its favourite again and again while others are still untried."""

_KINDS: Mapping[type[SamplerSettings], Callable[..., Sampler]] = {
    Tpe: TpeSampler,
    Random: RandomSampler,
    Qmc: QmcSampler,
    Grid: GridSampler,
    Gp: GpSampler,
}


def sampler_of(settings: SamplerSettings) -> Sampler:
    """Return the sampler that goes by these settings; ``UsageError`` where it lacks a library."""
    return _KINDS[type(settings)](settings=settings)


def propose(
    space: SearchSpace,
    history: Sequence[Past],
    *,
    number: int,
    seed: int,
    sampler: SamplerSettings,
    tries: int = 0,
) -> tuple[LoraParams, str] | None:
    """Return the parameters of the next trial and who proposed them, None where nothing is left to try.

    ``number`` is that of the trial; ``tries`` counts the duplicates that were proposed for it before. The
    source is the sampler's name, ``startup`` (quasi-random, independent of the history) or ``random``.
    """
    distributions = space.distributions()
    if not distributions:
        return space.decode({}), sampler.name
    ask = Ask(distributions=distributions, number=number, seed=seed, tries=tries)
    if tries >= LAST_RESORT:
        return space.decode(drawn(ask)), Random.name
    if (found := sampler_of(sampler).suggest(ask, history)) is None:
        return None
    suggestion, source = found
    return space.decode(suggestion), source
