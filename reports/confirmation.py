"""What a confirmation found: the best trials and the default, trained again under several seeds.

Pure, from rows alone. By what is judged is in judging.py, how sure a difference is in crossed.py, what is
said of it in confirm_words.py; docs/search.md says why it is judged so.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence

from ..study.format import show_state
from ..study.metric import METRICS, MetricName
from ..study.ranking import Rank, rank
from ..study.records import StudyRecord
from .confirm_facts import Configuration, Confirmation, ConfirmView, Spread, Tested
from .crossed import Estimate
from .judging import Judge
from .one_label import no_better_than_one_label

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
    judge = _judge(view)
    trials = dict.fromkeys(entry.trial for entry in stage.entries)
    found = sorted((_configuration(view, judge, trial) for trial in trials), key=_order)
    if over:
        found = _compared(judge, found)
    tied = [one for one in found if one.tied]
    recommended = min(tied, key=_price).trial if tied else None
    default = next((one for one in found if one.default), None)
    against = None
    if recommended is not None and default is not None:
        chosen = next(one for one in found if one.trial == recommended)
        against = _worse_by(judge, default, chosen, LEVEL)
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
        spread=spread([one.judged for one in found if one.lost is None]) if over else None,
        default_difference=against,
        tested=_tested(view, judge, found),
        untested=untested,
        default_name=view.study.config.default_name,
        metric=judge.metric,
        one_label=_one_label(judge, tied[0]) if tied else None,
    )


def _one_label(judge: Judge, best: Configuration) -> str | None:
    """Say so where the best mean over the seeds is no better than always answering one label."""
    measured = judge.evaluations.get(best.entries[0])
    score = best.mean.value if best.scores and best.mean is not None else None
    return no_better_than_one_label(
        "even the best configuration", judge.metric, score, measured, judge.answers
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
    """Return how far seeds move a loss or a metric, from those of each configuration; None for one of either.

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


def _judge(view: ConfirmView, metric: MetricName | None = None) -> Judge:
    """Return what a confirming study judges its trials by, or the same trials by another metric."""
    return Judge(
        metric=metric or view.study.config.objective.metric,
        evaluations=view.evaluations,
        scores={trial.number: trial.score for trial in view.trials if trial.score is not None},
        answers=view.study.facts.answers,
    )


def _configuration(view: ConfirmView, judge: Judge, trial: int) -> Configuration:
    stage, budget = view.study.config.stage, view.study.facts.budget
    assert stage is not None
    entries = [(number, entry) for number, entry in enumerate(stage.entries) if entry.trial == trial]
    params = entries[0][1].params
    metric = METRICS[judge.metric]
    records = {record.number: record for record in view.trials}
    losses, scores, lost = [], [], []
    for number, entry in entries:
        record = records.get(number)
        if record is not None and record.value is not None and (metric.is_loss or record.score is not None):
            losses.append(record.value)
            scores += [] if record.score is None else [record.score]
        elif record is not None and record.value is not None:
            lost.append(f"{record.state} without {metric.words} under seed {entry.seed}")
        elif record is not None and record.state != "running":
            lost.append(f"{show_state(record.state, view.live)} under seed {entry.seed}")
    whole = len(losses) == len(entries)
    return Configuration(
        trial=trial,
        default=params == view.study.config.first[0],
        entries=tuple(number for number, _ in entries),
        params=params,
        searched=(view.searched if metric.is_loss else view.searched_scores).get(trial),
        losses=tuple(losses),
        scores=tuple(scores),
        mean=judge.mean(scores or losses, budget.final_eval_examples) if losses else None,
        lost=None if whole else ", ".join(lost) or "not trained yet under every seed",
        weights=view.study.facts.model.trainable(params),
        steps=budget.steps(params.batch_size),
        difference=None,
        tied=False,
    )


def _order(one: Configuration) -> tuple[bool, Rank]:
    """What configurations are ordered by: the best first, those that cannot be judged last."""
    loss = math.inf if one.mean_loss is None else one.mean_loss
    score = one.mean.value if one.scores and one.mean is not None else None
    return one.lost is not None, rank(score, loss, one.trial)


def _compared(judge: Judge, found: Sequence[Configuration]) -> list[Configuration]:
    """Compare with the best, which comes first, all others that came through."""
    whole = [one for one in found if one.lost is None]
    if not whole:
        return list(found)
    best, *others = whole
    level = comparison_level(len(others))
    compared = [dataclasses.replace(best, tied=True)]
    for one in others:
        difference = _worse_by(judge, one, best, level)
        apart = difference is not None and difference.low is not None and difference.low > 0
        compared.append(dataclasses.replace(one, difference=difference, tied=not apart))
    return [*compared, *(one for one in found if one.lost is not None)]


def _worse_by(judge: Judge, first: Configuration, second: Configuration, level: float) -> Estimate | None:
    """Return by how much the first is worse than the second, under the same seeds on the same examples."""
    if first.trial == second.trial or first.lost is not None or second.lost is not None:
        return None
    return judge.worse_by(first.entries, second.entries, level)


def _price(one: Configuration) -> tuple[float, int, tuple[bool, Rank]]:
    """What a configuration costs: weights to train, then steps to take; then the better one is cheaper."""
    weights = math.inf if one.weights is None else one.weights
    return weights, one.steps, _order(one)


def _tested(view: ConfirmView, judge: Judge, found: Sequence[Configuration]) -> Tested | None:
    if not view.openings:
        return None
    opening = view.openings[-1]
    # A look of before metrics were measured there tells of losses alone.
    metric = judge.metric if opening.scores else "loss"
    test = Judge(
        metric=metric, evaluations=opening.evaluations, scores=opening.scores, answers=opening.answers
    )
    by_trial = {one.trial: one for one in found}
    chosen = by_trial[opening.recommended]
    default = next((one for one in found if one.default and one.trial != chosen.trial), None)
    measured = [one for one in (chosen, default) if one is not None and test.has(one.entries)]
    means = {one.trial: _mean(test, one) for one in measured}
    difference = validation = None
    if default is not None and default.trial in means:
        difference = _worse_by(test, default, chosen, LEVEL)
        validation = _worse_by(_judge(view, metric), default, chosen, LEVEL)
    return Tested(
        at=opening.at,
        opened=opening.opened,
        trial=chosen.trial,
        mean=means[chosen.trial],
        default=None if default is None else means.get(default.trial),
        difference=difference,
        validation=validation,
        disagrees=_opposed(difference, validation),
        metric=metric,
    )


def _opposed(first: Estimate | None, second: Estimate | None) -> bool:
    return first is not None and second is not None and first.value * second.value < 0


def _mean(test: Judge, one: Configuration) -> Estimate:
    return test.mean(test.values(one.entries), len(test.evaluations[one.entries[0]].tokens))
