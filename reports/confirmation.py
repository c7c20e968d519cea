"""What a confirmation found: the best trials and the default, trained again under several seeds.

Pure, from rows alone. How a difference is judged is in crossed.py, what is said of it in confirm_words.py;
docs/search.md says why it is judged so.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence

from ..study.format import show_state
from ..study.locked_set import Opening
from ..study.records import Evaluation, StudyRecord
from .confirm_facts import Configuration, Confirmation, ConfirmView, Spread, Tested
from .crossed import Estimate, over_both, over_seeds

LEVEL = 0.95
"""How sure a single interval is."""

ERROR = 0.05
"""How often, at most, the truly best configuration is not among those that are named as tied."""


def confirmation(view: ConfirmView, *, untested: str | None = None) -> Confirmation:
    """Judge a confirming study."""
    stage = view.study.config.stage
    assert stage is not None, "it follows from no study"
    ended = sum(trial.state != "running" for trial in view.trials)
    over = ended == len(stage.entries)
    found = [_configuration(view, trial) for trial in dict.fromkeys(entry.trial for entry in stage.entries)]
    found.sort(key=lambda one: (one.lost is not None, one.mean.value if one.mean else math.inf, one.trial))
    if over:
        found = _compared(view, found)
    tied = [one for one in found if one.tied]
    recommended = min(tied, key=_price).trial if tied else None
    default = next((one for one in found if one.default), None)
    against = None
    if recommended is not None and default is not None:
        chosen = next(one for one in found if one.trial == recommended)
        against = _difference(view.evaluations, default, chosen, LEVEL)
    return Confirmation(
        study=view.study.name,
        parent=stage.parent,
        seeds=tuple(dict.fromkeys(entry.seed for entry in stage.entries)),
        ended=ended,
        wanted=len(stage.entries),
        running=view.live,
        examples=view.study.facts.budget.final_eval_examples,
        configurations=tuple(found),
        best=tied[0].trial if tied else None,
        recommended=recommended,
        spread=spread([one.losses for one in found if one.lost is None]) if over else None,
        default_difference=against,
        tested=_tested(view, found, against),
        untested=untested,
    )


def recommended(confirmations: Sequence[ConfirmView], study: StudyRecord) -> tuple[int, ConfirmView] | None:
    """Return which trial of a study its last confirmation recommends; None where none recommends one."""
    for one in reversed(confirmations):
        found = confirmation(one)
        if found.recommended is not None:
            # Of the confirming study itself: the one under the first seed.
            own = one.study.id == study.id
            return (found.of(found.recommended).entries[0] if own else found.recommended), one
    return None


def spread(losses: Sequence[Sequence[float]]) -> Spread | None:
    """Return how far seeds move a loss, from the losses of each configuration; None for one of either.

    The variance between the configurations' means holds that of the seeds over their number, which is taken
    off: the usual estimate of one random effect (Searle, Casella and McCulloch, 1992, section 3.5).
    """
    if len(losses) < 2 or any(len(one) < 2 for one in losses):
        return None
    within = statistics.mean(statistics.variance(one) for one in losses)
    between = statistics.variance(statistics.mean(one) for one in losses) - within / len(losses[0])
    return Spread(seeds=math.sqrt(within), configurations=math.sqrt(max(0.0, between)), count=len(losses))


def comparison_level(others: int) -> float:
    """Return how sure each of so many intervals is, that together they leave out the best seldom enough.

    Bonferroni's correction, for one end of the interval: a configuration is told apart where the lower end of
    its difference from the best lies above 0. The truly best one is lost only where it seems worse than some
    other; each of the others does that at most in ``ERROR`` / ``others`` of all confirmations. So it does not
    matter that the best was picked by the same numbers.
    """
    return 1 - 2 * ERROR / max(1, others)


def _configuration(view: ConfirmView, trial: int) -> Configuration:
    stage, budget = view.study.config.stage, view.study.facts.budget
    assert stage is not None
    entries = [(number, entry) for number, entry in enumerate(stage.entries) if entry.trial == trial]
    params = entries[0][1].params
    records = {record.number: record for record in view.trials}
    losses, lost = [], []
    for number, entry in entries:
        record = records.get(number)
        if record is not None and record.value is not None:
            losses.append(record.value)
        elif record is not None and record.state != "running":
            lost.append(f"{show_state(record.state, view.live)} under seed {entry.seed}")
    whole = len(losses) == len(entries)
    return Configuration(
        trial=trial,
        default=params == view.study.config.first[0],
        entries=tuple(number for number, _ in entries),
        params=params,
        searched=view.searched.get(trial),
        losses=tuple(losses),
        mean=over_seeds(losses, budget.final_eval_examples) if losses else None,
        lost=None if whole else ", ".join(lost) or "not trained yet under every seed",
        weights=view.study.facts.model.trainable(params),
        steps=budget.steps(params.batch_size),
        difference=None,
        tied=False,
    )


def _compared(view: ConfirmView, found: Sequence[Configuration]) -> list[Configuration]:
    """Compare with the best, which comes first, all others that came through."""
    whole = [one for one in found if one.lost is None]
    if not whole:
        return list(found)
    best, *others = whole
    level = comparison_level(len(others))
    compared = [dataclasses.replace(best, tied=True)]
    for one in others:
        difference = _difference(view.evaluations, one, best, level)
        apart = difference is not None and difference.low is not None and difference.low > 0
        compared.append(dataclasses.replace(one, difference=difference, tied=not apart))
    return [*compared, *(one for one in found if one.lost is not None)]


def _difference(
    evaluations: Mapping[int, Evaluation], first: Configuration, second: Configuration, level: float
) -> Estimate | None:
    """Return the loss of the first minus that of the second, under the same seeds on the same examples."""
    if first.trial == second.trial or first.lost is not None or second.lost is not None:
        return None
    found = [[evaluations.get(number) for number in one.entries] for one in (first, second)]
    mine, theirs = ([one for one in losses if one is not None] for losses in found)
    if len(mine) != len(first.entries) or len(theirs) != len(second.entries):
        return None
    return over_both(mine, theirs, level)


def _price(one: Configuration) -> tuple[float, int, float, int]:
    """What a configuration costs: weights to train, then steps to take; then its loss decides."""
    assert one.mean is not None
    weights = math.inf if one.weights is None else one.weights
    return weights, one.steps, one.mean.value, one.trial


def _tested(view: ConfirmView, found: Sequence[Configuration], validation: Estimate | None) -> Tested | None:
    if not view.openings:
        return None
    opening = view.openings[-1]
    by_trial = {one.trial: one for one in found}
    chosen = by_trial[opening.recommended]
    default = next((one for one in found if one.default and one.trial != chosen.trial), None)
    measured = [one for one in (chosen, default) if one is not None and _has_all(opening, one)]
    means = {one.trial: _mean(opening, one) for one in measured}
    difference = None
    if default is not None and default.trial in means:
        difference = _difference(opening.evaluations, default, chosen, LEVEL)
    return Tested(
        at=opening.at,
        opened=opening.opened,
        trial=chosen.trial,
        mean=means[chosen.trial],
        default=None if default is None else means.get(default.trial),
        difference=difference,
        disagrees=_opposed(difference, validation),
    )


def _opposed(first: Estimate | None, second: Estimate | None) -> bool:
    return first is not None and second is not None and first.value * second.value < 0


def _has_all(opening: Opening, one: Configuration) -> bool:
    return all(number in opening.evaluations for number in one.entries)


def _mean(opening: Opening, one: Configuration) -> Estimate:
    losses = [opening.evaluations[number] for number in one.entries]
    return over_seeds([each.loss for each in losses], len(losses[0].tokens))
