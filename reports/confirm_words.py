"""What a confirmation says, in sentences: made of its facts alone, most important first."""

from __future__ import annotations

from ..study.format import counted, join, show_loss
from ..study.metric import METRICS, MetricName
from ..study.ranking import rank
from ..study.study_config import DEFAULT
from .confirm_facts import Configuration, Confirmation, Tested
from .confirmation import comparison_level
from .crossed import Estimate
from .student import t_quantile

FEW_TEST_EXAMPLES = 30
"""With fewer the test set says little, and the user is warned."""


def headline(found: Confirmation) -> str:
    """Return the verdict in one sentence."""
    if not found.over:
        if found.running:
            return f"{found.ended} of {counted(found.wanted, 'trial')} of the confirmation have ended."
        return (
            f"The confirmation was interrupted after {found.ended} of {counted(found.wanted, 'trial')}; "
            f"go on with: tune resume {found.study}"
        )
    if found.recommended is None:
        return "No configuration came through under every seed: there is nothing to recommend."
    chosen = found.of(found.recommended)
    assert chosen.mean is not None
    return (
        f"{_name(found, chosen)} is recommended: mean {_what(found.metric)} "
        f"{show_loss(chosen.mean.value)}{_interval(chosen.mean)} "
        f"over {counted(len(found.seeds), 'seed')} on {counted(found.examples, 'validation example')}."
    )


def warnings(found: Confirmation) -> tuple[str, ...]:
    """Return what there is to warn of."""
    said = [] if found.one_label is None else [found.one_label]
    tested = found.tested
    if tested is not None and tested.disagrees:
        assert tested.difference is not None
        assert tested.validation is not None
        names = (found.the_default, f"trial {tested.trial}")
        better, worse = names if tested.difference.value < 0 else names[::-1]
        by = "" if METRICS[tested.metric].is_loss else f" in {_what(tested.metric)}"
        said.append(
            f"Warning: validation and test disagree{by}: on the test set {better} is better than {worse} by "
            f"{show_loss(abs(tested.difference.value))}, on the validation set it is worse by "
            f"{show_loss(abs(tested.validation.value))}; do not rely on the difference, and take the "
            "cheaper of the two."
        )
    if tested is not None and tested.examples < FEW_TEST_EXAMPLES:
        said.append(f"Warning: {few_test_examples(tested.examples)}")
    return tuple(said)


def few_test_examples(number: int) -> str:
    """Return what is to be known of so small a test set."""
    return (
        f"the test set has only {counted(number, 'example')}, which says little; give a larger one "
        "(--test, or more data) to a new study."
    )


def sentences(found: Confirmation) -> tuple[str, ...]:
    """Return what else there is to say, most important first."""
    if not found.over or found.recommended is None or found.best is None:
        return tuple(_lost(found))
    said = [
        *_judged_by(found),
        *_ties(found),
        *_default(found),
        *_bias(found),
        *_lost(found),
        *_spread(found),
    ]
    said += [] if found.tested is None else [test_words(found.tested, found.metric, found.the_default)]
    said += [] if found.untested is None else [found.untested]
    return (*said, _covers(found))


def test_words(tested: Tested, metric: MetricName, the_default: str) -> str:
    """Return what the test set said, of a study that goes by a metric; ``the_default`` is its name."""
    when = tested.at.strftime("%Y-%m-%d %H:%M UTC")
    times = "once," if tested.opened == 1 else f"{tested.opened} times, last"
    text = (
        f"The test set of {counted(tested.examples, 'example')} was opened {times} on {when} for trial "
        f"{tested.trial}: {_what(tested.metric)} {show_loss(tested.mean.value)}{_interval(tested.mean)}"
    )
    if tested.default is not None and tested.difference is not None:
        text += (
            f"; {the_default} has {show_loss(tested.default.value)}, which is "
            f"{_more(tested.difference, tested.metric)}"
        )
    if tested.metric == metric:
        return f"{text}."
    return f"{text}. Its {_what(metric)} was not measured then."


def _what(metric: MetricName) -> str:
    """Return what is judged by, behind ``mean``."""
    return "loss" if METRICS[metric].is_loss else METRICS[metric].words


def _judged_by(found: Confirmation) -> list[str]:
    """Say what is judged by where that is not the loss, and what its intervals do not know."""
    metric = METRICS[found.metric]
    if metric.is_loss:
        return []
    words = f"It is judged by {metric.words}, of which more is better, as the study selects its best."
    if metric.by_example:
        return [words]
    nothing = " With one seed nothing can be told apart by it." if len(found.seeds) < 2 else ""
    return [
        f"{words} That is no mean over examples: its intervals are over seeds alone, and say nothing of "
        f"other examples.{nothing}"
    ]


def _name(found: Confirmation, one: Configuration) -> str:
    return f"Trial {one.trial} ({found.the_default})" if one.default else f"Trial {one.trial}"


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    if estimate.flat:
        return " (the same under every seed)"
    return f" (95 %: {show_loss(estimate.low)} to {show_loss(estimate.high)})"


def _more(difference: Estimate, metric: MetricName) -> str:
    """Return by how much something is worse, in words: higher or lower, and how sure that is."""
    # Worse is higher of a loss and lower of a metric.
    sign = 1 if METRICS[metric].is_loss else -1
    direction = "higher" if sign * difference.value >= 0 else "lower"
    text = f"{show_loss(abs(difference.value))} {direction}"
    if difference.low is None or difference.high is None:
        return text
    if difference.flat:
        return "no difference at all" if difference.value == 0 else f"{text}, the same under every seed"
    low, high = sorted((sign * difference.low, sign * difference.high))
    ends = f"95 %: {low:+.4f} to {high:+.4f}".replace("-", "−")
    told = ", not distinguishable from no difference" if difference.includes_zero else ""
    return f"{text} ({ends}{told})"


def _ties(found: Confirmation) -> list[str]:
    tied = [one for one in found.configurations if one.tied]
    judged = [one for one in found.configurations if one.lost is None]
    if len(judged) == 1:
        return ["It is the only configuration that could be judged."]
    if len(tied) == 1:
        rest = len(judged) - 1
        return [f"It is better than {'the other one' if rest == 1 else f'each of the {rest} others'}."]
    names = join([f"{one.trial} ({found.the_default})" if one.default else str(one.trial) for one in tied])
    assert found.recommended is not None
    chosen = found.of(found.recommended)
    others = [one for one in tied if one.trial != chosen.trial]
    why = "it has the fewest weights to train"
    if all(one.weights == chosen.weights for one in others):
        why = "all have as many weights to train, and it takes the fewest steps"
        if all(one.steps == chosen.steps for one in others):
            return [
                f"Trials {names} cannot be told apart, and cost the same: as many weights to train, in as "
                f"many steps; of these trial {chosen.trial} has the best mean."
            ]
    elif any(one.weights == chosen.weights for one in others):
        why += ", and no more steps to take than those that have as many"
    return [f"Trials {names} cannot be told apart; of these trial {chosen.trial} is the cheapest: {why}."]


def _default(found: Confirmation) -> list[str]:
    difference = found.default_difference
    if difference is None:
        return []
    default = next(one for one in found.configurations if one.default)
    assert default.mean is not None
    name = "The default" if found.default_name == DEFAULT else found.default_name
    return [f"{name} has {show_loss(default.mean.value)}, which is {_more(difference, found.metric)}."]


def _bias(found: Confirmation) -> list[str]:
    """Say what the search had shown of the trial that it had for the best."""
    known = [one for one in found.configurations if one.searched is not None and one.mean is not None]
    if not known:
        return []
    by_loss = METRICS[found.metric].is_loss
    winner = min(
        known,
        key=lambda one: rank(None if by_loss else one.searched, (one.searched or 0.0) * by_loss, one.trial),
    )
    assert winner.searched is not None
    assert winner.mean is not None
    gap = (winner.mean.value - winner.searched) * (1 if by_loss else -1)
    words = (
        f"The search had trial {winner.trial} for the best, with {show_loss(winner.searched)} under one seed "
        f"on its own examples; over {counted(len(found.seeds), 'seed')} on all of them it has "
        f"{show_loss(winner.mean.value)}"
    )
    if gap <= 0:
        return [f"{words}."]
    return [
        f"{words}: {show_loss(gap)} of what the search showed came from the seed, the examples, and from "
        f"picking the {'least' if by_loss else 'most'} of many."
    ]


def _lost(found: Confirmation) -> list[str]:
    if not found.over:
        return []
    return [
        f"{_name(found, one)} cannot be judged: it ended as {one.lost}."
        for one in found.configurations
        if one.lost
    ]


def _spread(found: Confirmation) -> list[str]:
    if found.spread is None or not (found.spread.seeds or found.spread.configurations):
        return []
    seeds, others = found.spread.seeds, found.spread.configurations
    if 2 * seeds < others:
        stable = "LoRA is stable across seeds here"
    elif seeds <= others:
        stable = "LoRA is only half stable across seeds here, and one run of each does not rank them"
    else:
        stable = "LoRA is not stable across seeds here: the seed decides more than which of them is taken"
    moved = "a loss" if METRICS[found.metric].is_loss else f"the {_what(found.metric)}"
    return [
        f"Another seed moves {moved} by "
        f"{show_loss(seeds)} (standard deviation), another of these "
        f"{counted(found.spread.count, 'configuration')} by {show_loss(others)}: {stable}."
    ]


def _of_two(found: Confirmation) -> str:
    """Say what an interval of two seeds is: wide, since two numbers hardly tell how far they spread."""
    if len(found.seeds) != 2:
        return ""
    return (
        f"; of two it reaches {t_quantile(0.975, 1):.1f} standard errors to each side, and says little "
        "but that: more seeds (--seeds) narrow it"
    )


def _covers(found: Confirmation) -> str:
    others = sum(one.lost is None for one in found.configurations) - 1
    paired = METRICS[found.metric].by_example
    means = (
        f"An interval of a mean is over seeds (data order and initial values; Student's t), on these examples"
        f"{_of_two(found)}. "
        if len(found.seeds) > 1
        else "With one seed nothing is known of its luck: intervals are over examples alone. "
        if paired
        else "With one seed nothing is known of its luck. "
    )
    if others < 1:
        return means.strip()
    if not paired and len(found.seeds) < 2:
        return means.strip()
    both = "seeds and over examples" if len(found.seeds) > 1 else "examples"
    both = both if paired else "seeds"
    return (
        f"{means}A difference is paired, over {both}; those in the table are corrected for "
        f"{counted(others, 'comparison')}, each at {100 * comparison_level(others):.3g} %, so that the truly "
        "best is among the tied ones in 95 of 100 confirmations, though it was picked by the same numbers."
    )
