"""What to try next: a pure function of the space, what became of earlier trials, and a seed.

Optuna's TPE is made anew for every ask, from (study seed, trial number, tries), on an in-memory study of
what is remembered of the history: so a resumed study asks exactly what an uninterrupted one would have
asked, and no replayed random state can repeat its start. Knows nothing of workers or databases.
"""

from __future__ import annotations

import dataclasses
import functools
import heapq
import math
from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from ..spaces.params import LoraParams
from ..spaces.quiet_optuna import quiet
from ..spaces.space import SearchSpace
from ..study.choices import Sampler
from ..study.records import State

STARTUP = 10
"""Trials 1 to 10 are quasi-random; ten is TPE's own default. It does not grow with the number of trials:
a study that is extended later has the start it would have had, and 24 trials leave TPE more than half."""

LEAST_FINISHED = 4
"""TPE is not asked before this many trials have ended: it would sample around chance."""

LAST_RESORT = 10
"""After this many duplicates for one number the draw is uniform: TPE, in a space of few configurations,
names its favourite again and again while others are still untried."""

REMEMBERED = 500
"""Of a longer history TPE looks at so many trials, so that an ask costs the same in every study."""

GOOD = 25
"""TPE takes the best tenth for good, and never more trials than this."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Past:
    """What the sampler may know of an earlier trial."""

    suggestion: Mapping[str, Any]
    """Its parameters as ``SearchSpace.encode`` gives them; all of them, else TPE's joint space collapses."""
    state: State
    """Where it stands."""
    value: float | None = None
    """Final eval loss of a complete trial."""
    curve: Mapping[int, float] = dataclasses.field(default_factory=dict)
    """Its finite eval losses by round."""

    @functools.cached_property
    def worst(self) -> float | None:
        """The greatest loss it ever had."""
        return max((*self.curve.values(), *(() if self.value is None else (self.value,))), default=None)

    @functools.cached_property
    def rank(self) -> tuple[float, float]:
        """Its place among ended trials, the best first, as TPE orders them: complete ones by their value,
        then those that were stopped, the latest first; what broke down comes last."""
        if self.state == "complete" and self.value is not None:
            return -math.inf, self.value
        if self.state == "pruned" and self.curve:
            last = max(self.curve)
            return -last, self.curve[last]
        return -1, math.inf


def propose(
    space: SearchSpace, history: Sequence[Past], *, number: int, seed: int, sampler: Sampler, tries: int = 0
) -> tuple[LoraParams, str]:
    """Return the parameters of the next trial and who proposed them.

    ``number`` is that of the trial; ``tries`` counts the duplicates that were proposed for it before.
    The source is ``startup`` (quasi-random, independent of the history), ``tpe`` or ``random``.
    """
    distributions = space.distributions()
    if not distributions:
        return space.decode({}), sampler
    if sampler == "random" or tries >= LAST_RESORT:
        point = np.random.default_rng((seed, number, tries)).random(len(distributions))
        return space.decode(_at(distributions, point)), "random"
    finished = sum(past.state != "running" for past in history)
    if number <= STARTUP or finished < LEAST_FINISHED:
        return space.decode(
            _at(distributions, _stratified(len(distributions), seed, number, tries))
        ), "startup"
    return space.decode(_ask_tpe(distributions, history, (seed, number, tries))), "tpe"


def _stratified(dimensions: int, seed: int, number: int, tries: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return point ``number`` of a Latin hypercube: every ten trials visit each tenth of each range once.

    Source: McKay, Beckman and Conover, "A Comparison of Three Methods for Selecting Values of Input
    Variables", Technometrics 1979. For ten points it fills each range more evenly than a Sobol sequence,
    whose balance comes in powers of two.
    """
    block, index = divmod(max(number, 1) - 1, STARTUP)
    rng = np.random.default_rng((seed, block, tries))
    strata = rng.permuted(np.tile(np.arange(STARTUP), (dimensions, 1)), axis=1)[:, index]
    inside = rng.random((dimensions, STARTUP))[:, index]
    point: np.ndarray[Any, np.dtype[np.float64]] = (strata + inside) / STARTUP
    return point


def _at(distributions: Mapping[str, BaseDistribution], point: Sequence[float] | Any) -> dict[str, Any]:
    """Return the suggestion at a point of the unit cube; each choice has an equal share of its side."""
    suggestion: dict[str, Any] = {}
    for (name, distribution), share in zip(distributions.items(), map(float, point), strict=True):
        if isinstance(distribution, FloatDistribution):
            low, high = distribution.low, distribution.high
            if distribution.log:
                value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
            else:
                value = low + share * (high - low)
            suggestion[name] = min(max(value, low), high)
        elif isinstance(distribution, IntDistribution):
            count = distribution.high - distribution.low + 1
            suggestion[name] = distribution.low + min(int(share * count), count - 1)
        elif isinstance(distribution, CategoricalDistribution):
            count = len(distribution.choices)
            suggestion[name] = distribution.choices[min(int(share * count), count - 1)]
        else:
            raise AssertionError(f"{name}: unknown distribution {distribution!r}")
    return suggestion


def _ask_tpe(
    distributions: dict[str, BaseDistribution], history: Sequence[Past], seed: tuple[int, ...]
) -> dict[str, Any]:
    """Return what TPE suggests after this history; running trials count as bad (its constant liar)."""
    word = int(np.random.SeedSequence(seed).generate_state(1)[0])
    sampler = optuna.samplers.TPESampler(seed=word, multivariate=True, n_startup_trials=0, constant_liar=True)
    # As it was for all that ever broke down, remembered or not: what TPE is told of a trial stays.
    worst = max((past.worst for past in history if past.worst is not None), default=1.0)
    frozen = [_frozen(distributions, past, at, worst) for at, past in enumerate(remembered(history), 1)]
    with quiet():
        study = optuna.create_study(direction="minimize", sampler=sampler, storage=_Remembered(frozen))
        return study.ask(fixed_distributions=distributions).params


def remembered(history: Sequence[Past]) -> Sequence[Past]:
    """Return what TPE looks at, in order: all of a history of up to ``REMEMBERED`` trials, else a part.

    That part holds the trials which TPE takes for good, the very ones that it would find in the whole, so
    what is forgotten are the oldest of the others: those count least there, as TPE weighs them by their age.
    """
    if len(history) <= REMEMBERED:
        return history
    ended = [at for at, past in enumerate(history) if past.state != "running"]
    chosen = set(heapq.nsmallest(GOOD, ended, key=lambda at: history[at].rank))
    chosen.update(at for at, past in enumerate(history) if past.state == "running")
    for at in reversed(range(len(history))):
        if len(chosen) >= REMEMBERED:
            break
        chosen.add(at)
    return [history[at] for at in sorted(chosen)]


class _Remembered(optuna.storages.InMemoryStorage):
    """A study that has these trials beside the one that is asked for, which is number 0.

    Optuna's own study copies each trial that it is given, which took longer than all that TPE computes.
    """

    def __init__(self, trials: Sequence[FrozenTrial]) -> None:
        super().__init__()
        self._remembered = trials

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return those in the given states."""
        own = super().get_all_trials(study_id, deepcopy=deepcopy, states=states)
        return own + [trial for trial in self._remembered if states is None or trial.state in states]


def _frozen(distributions: dict[str, BaseDistribution], past: Past, number: int, worst: float) -> FrozenTrial:
    """Return a trial in Optuna's terms; what broke down is PRUNED with the worst finite value seen.

    Told as FAIL a trial is ignored by TPE, which then runs into the same cliff again and again; told at
    step 1 it ranks behind every trial that was stopped at a later rung.
    """
    state, value, curve = TrialState.PRUNED, past.value, past.curve
    if past.state == "complete":
        assert past.value is not None
        state = TrialState.COMPLETE
    elif past.state == "running":
        state = TrialState.RUNNING
    else:
        curve = past.curve if past.state == "pruned" and past.curve else {1: worst}
        value = curve[max(curve)]
    return FrozenTrial(
        number=number,
        trial_id=number,
        state=state,
        value=value,
        params=dict(past.suggestion),
        distributions=distributions,
        intermediate_values=dict(curve),
        datetime_start=None,
        datetime_complete=None,
        user_attrs={},
        system_attrs={},
    )
