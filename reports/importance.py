"""Which hyperparameters mattered: PED-ANOVA over the trials, and the values that the best ones share.

All trials that reached the first rung that stops any are counted, at equal data: the
complete ones alone are few, and chosen for being good.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from ..errors import ReportError, SpaceError
from ..spaces.dimension import Dimension
from ..spaces.params import value_of
from ..spaces.quiet_optuna import quiet
from ..spaces.range import Range
from ..study.format import counted, show_loss, show_share, show_value
from ..study.records import TrialRecord
from .view import StudyView

MIN_TRIALS = 20
"""Fewer trials than this say nothing about importance."""

EARLY = 20
"""With fewer complete trials than this it is called early: most of it rests on short training."""

TOP = 0.25
"""Share of the trials that counts as the best; docs/log.md has the experiment behind it."""

WIDE = 0.8
"""Where the best trials cover more of a range than this, their middle half says more than their ends."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bar:
    """One parameter's importance, and what the best trials chose."""

    name: str
    """The parameter."""
    share: float
    """Its part in what sets the best quarter of the trials apart, 0 to 1; all parts add up to 1."""
    words: str
    """Where the best trials lie, such as ``the best 10 lie between 0.004 and 0.02``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Importance:
    """What mattered, and what that is based on."""

    bars: tuple[Bar, ...]
    """One for each parameter that varied, the most important first."""
    trials: int
    """Trials behind it."""
    top: int
    """Trials that count as the best."""
    basis: str
    """What was compared, in words."""
    complete: int
    """How many of the study's trials are complete."""

    @property
    def caution(self) -> str | None:
        """Why it is to be called early; None where it is not."""
        if self.complete >= EARLY:
            return None
        verb = "is" if self.complete == 1 else "are"
        return (
            f"{self.complete or 'none'} of the study's trials {verb} complete, "
            f"fewer than {EARLY}, so the shares may still change much."
        )

    @property
    def sentences(self) -> tuple[str, ...]:
        """One for each parameter of some weight, the most important first."""
        first, *others = self.bars
        return (
            f"{first.name} accounts for {show_share(first.share)} of what sets the best quarter apart: "
            f"{first.words}.",
            *(f"{bar.name} accounts for {show_share(bar.share)}: {bar.words}." for bar in others),
        )


def importance(view: StudyView) -> Importance:
    """Measure what sets the best quarter of the trials apart.

    Raises ``ReportError`` below ``MIN_TRIALS`` trials, or where nothing varied or the losses are all alike.

    Source: Watanabe, Bansal and Hutter, PED-ANOVA, IJCAI 2023, as Optuna implements it.
    """
    scored = _rung_losses(view)
    _check_enough(view, scored)
    distributions = view.space.distributions()
    encoded = []
    for trial, _ in scored:
        try:
            encoded.append(view.space.encode(trial.params))
        except SpaceError as error:
            raise ReportError(f"trial {trial.number} lies outside the study's space: {error}") from error
    varied = [name for name in distributions if len({row[name] for row in encoded}) > 1]
    if not varied:
        raise ReportError(
            f"importance: the {counted(len(scored), 'trial')} that reached {_reach(view)} all have one "
            "configuration, so nothing tells them apart; search a wider space"
        )
    top = max(5, round(TOP * len(scored)))
    ranked = sorted(scored, key=lambda pair: (pair[1], pair[0].number))
    if ranked[top - 1][1] == ranked[-1][1]:
        raise ReportError(
            f"importance: of {len(scored)} trials too many share the worst loss to tell the best from the "
            "rest; search a narrower space, such as lower learning rates"
        )
    shares = _ped_anova(
        [{name: row[name] for name in varied} for row in encoded],
        {name: distributions[name] for name in varied},
        [loss for _, loss in scored],
    )
    best = [trial for trial, _ in ranked[:top]]
    bars = (
        Bar(name=name, share=shares[name], words=_where(view.space[name], best))
        for name in sorted(varied, key=lambda name: -shares[name])
    )
    basis = (
        f"the loss of the {counted(len(scored), 'trial')} that reached {_reach(view)}, before any is "
        "stopped; diverged ones count as the worst"
    )
    complete = sum(trial.state == "complete" for trial in view.trials)
    return Importance(bars=tuple(bars), trials=len(scored), top=top, basis=basis, complete=complete)


def _check_enough(view: StudyView, scored: list[tuple[TrialRecord, float]]) -> None:
    """Raise ``ReportError`` where these trials can say nothing, for the reason that more would not mend."""
    if all(dimension.fixed for dimension in view.space.dimensions):
        raise ReportError(
            "importance: every hyperparameter of this study has one value, so there is nothing to compare; "
            "search ranges or lists, such as --set lora_rank=8,16,32"
        )
    losses = {loss for _, loss in scored}
    if len(scored) > 1 and len(losses) == 1:
        raise ReportError(
            f"importance: the {counted(len(scored), 'trial')} that reached {_reach(view)} all have the same "
            f"loss, {show_loss(losses.pop())}, so nothing tells them apart; search a wider space"
        )
    if len(scored) < MIN_TRIALS:
        there = counted(len(scored), "trial") if scored else "no trial"
        has = "has" if len(scored) < 2 else "have"
        more = "nothing untried is left, so search a wider space" if view.exhausted else None
        raise ReportError(
            f"importance: {there} {has} reached {_reach(view)}, and at least {MIN_TRIALS} are needed; "
            f"{more or view.more(' --trials N')}"
        )


def _reach(view: StudyView) -> str:
    return counted(_rung(view) * view.budget.round_examples, "example")


def _rung(view: StudyView) -> int:
    """Return the rung of the comparison: the first where a trial may be stopped, so that all reached it."""
    return view.study.config.pruner.compared_at


def _rung_losses(view: StudyView) -> list[tuple[TrialRecord, float]]:
    """Return each trial's loss at the rung; every diverged trial gets the worst of them."""
    rung = _rung(view)
    found: list[tuple[TrialRecord, float | None]] = []
    for trial in view.trials:
        if trial.state == "diverged":
            found.append((trial, None))
        elif trial.state in ("running", "complete", "pruned", "failed"):
            loss = view.eval_at(trial.number, rung)
            if loss is not None:
                found.append((trial, loss))
    finite = [loss for _, loss in found if loss is not None]
    if not finite:
        return []
    worst = max(finite)
    return [(trial, worst if loss is None else loss) for trial, loss in found]


def _ped_anova(
    params: list[dict[str, Any]],
    distributions: dict[str, optuna.distributions.BaseDistribution],
    losses: list[float],
) -> dict[str, float]:
    """Return each parameter's share; they add up to 1."""
    with quiet():
        study = optuna.create_study()
        study.add_trials(
            [
                optuna.trial.create_trial(params=row, distributions=distributions, value=loss)
                for row, loss in zip(params, losses, strict=True)
            ]
        )
        found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=TOP))
    # Where no parameter sets the best apart Optuna may return zeros or NaN; equal parts say just that.
    shares = {name: found.get(name, 0.0) for name in distributions}
    if not all(map(math.isfinite, shares.values())) or sum(shares.values()) <= 0:
        return {name: 1 / len(distributions) for name in distributions}
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()}


def _where(dimension: Dimension, best: list[TrialRecord]) -> str:
    """Say where the best trials lie in one dimension."""
    values = [value_of(trial.params, dimension.name) for trial in best]
    if not dimension.kind.ordered:
        common = max(sorted(set(values)), key=values.count)
        return f"{values.count(common)} of the best {len(best)} have {show_value(common)}"
    low, high = min(values), max(values)
    if low == high:
        return f"the best {len(best)} all have {show_value(low)}"
    if not isinstance(dimension, Range):
        common = max(sorted(set(values)), key=values.count)
        spread = "anywhere" if (low, high) == dimension.bounds else f"{show_value(low)} to {show_value(high)}"
        count = values.count(common)
        return f"the best {len(best)} lie {_between(spread)}, {count} of them at {show_value(common)}"
    covered = dimension.place(high) - dimension.place(low)
    if covered <= WIDE:
        return f"the best {len(best)} lie between {show_value(low)} and {show_value(high)}"
    middle = sorted(values)[len(values) // 4 : len(values) - len(values) // 4]
    low, high = middle[0], middle[-1]
    return f"{len(middle)} of the best {len(best)} lie between {show_value(low)} and {show_value(high)}"


def _between(spread: str) -> str:
    return "anywhere in the list" if spread == "anywhere" else f"between {spread.replace(' to ', ' and ')}"
