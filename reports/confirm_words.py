"""What a confirmation says, in sentences: made of its facts alone, most important first."""

from __future__ import annotations

import dataclasses

from ..study.format import counted, join, show_count, show_loss
from .confirm_facts import Configuration, Confirmation, Tested
from .confirmation import comparison_level
from .crossed import Estimate

FEW_TEST_EXAMPLES = 30
"""With fewer the test set says little, and the user is warned."""


HEADER = ("trial", "search", "mean", "95 % over seeds", "worse than the best by", "weights", "steps")
"""The columns of the table of configurations."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One configuration in that table."""

    cells: tuple[str, ...]
    """A text for each column."""
    says: str
    """What else there is to say: ``recommended``, ``tied``, ``default`` …"""
    recommended: bool
    """Whether it is the recommended one."""


def row_of(found: Confirmation, one: Configuration) -> Row:
    """Return a configuration as a row of the table."""
    mean, difference, recommended = one.mean, one.difference, one.trial == found.recommended
    said = [
        *(["recommended"] if recommended else ["tied"] if one.tied else []),
        *(["default"] if one.default else []),
        *([one.lost] if one.lost is not None else []),
    ]
    between = "–" if mean is None or mean.low is None else f"{show_loss(mean.low)} to {show_loss(mean.high)}"
    cells = (
        str(one.trial),
        show_loss(one.searched),
        show_loss(None if mean is None else mean.value),
        between,
        "–" if difference is None else _worse_by(difference),
        "–" if one.weights is None else show_count(one.weights),
        show_count(one.steps),
    )
    return Row(cells=cells, says=", ".join(said), recommended=recommended)


def _worse_by(difference: Estimate) -> str:
    if difference.low is None or difference.high is None:
        return show_loss(difference.value)
    ends = f"{difference.low:+.4f} to {difference.high:+.4f}".replace("-", "−")
    return f"{show_loss(difference.value)} ({ends})"


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
        f"{_name(chosen)} is recommended: mean loss {show_loss(chosen.mean.value)}{_interval(chosen.mean)} "
        f"over {counted(len(found.seeds), 'seed')} on {counted(found.examples, 'validation example')}."
    )


def warnings(found: Confirmation) -> tuple[str, ...]:
    """Return what there is to warn of."""
    said = []
    tested = found.tested
    if tested is not None and tested.disagrees:
        assert tested.difference is not None
        assert found.default_difference is not None
        names = ("the default", f"trial {tested.trial}")
        better, worse = names if tested.difference.value < 0 else names[::-1]
        said.append(
            f"Warning: validation and test disagree: on the test set {better} is better than {worse} by "
            f"{show_loss(abs(tested.difference.value))}, on the validation set it is worse by "
            f"{show_loss(abs(found.default_difference.value))}; do not rely on the difference, and take the "
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
    said = [*_ties(found), *_default(found), *_bias(found), *_lost(found), *_spread(found)]
    said += [] if found.tested is None else [test_words(found.tested)]
    said += [] if found.untested is None else [found.untested]
    return (*said, _covers(found))


def test_words(tested: Tested) -> str:
    """Return what the test set said."""
    when = tested.at.strftime("%Y-%m-%d %H:%M UTC")
    times = "once," if tested.opened == 1 else f"{tested.opened} times, last"
    text = (
        f"The test set of {counted(tested.examples, 'example')} was opened {times} on {when} for trial "
        f"{tested.trial}: loss {show_loss(tested.mean.value)}{_interval(tested.mean)}"
    )
    if tested.default is None or tested.difference is None:
        return text + "."
    return text + (
        f"; the default has {show_loss(tested.default.value)}, which is {_more(tested.difference)}."
    )


def _name(one: Configuration) -> str:
    return f"Trial {one.trial} (the default)" if one.default else f"Trial {one.trial}"


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f" (95 %: {show_loss(estimate.low)} to {show_loss(estimate.high)})"


def _more(difference: Estimate) -> str:
    """Return a difference in words: by how much something is higher, and how sure that is."""
    direction = "higher" if difference.value >= 0 else "lower"
    text = f"{show_loss(abs(difference.value))} {direction}"
    if difference.low is None or difference.high is None:
        return text
    ends = f"95 %: {difference.low:+.4f} to {difference.high:+.4f}".replace("-", "−")
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
    names = join([f"{one.trial} (the default)" if one.default else str(one.trial) for one in tied])
    assert found.recommended is not None
    chosen = found.of(found.recommended)
    others = [one for one in tied if one.trial != chosen.trial]
    why = "it has the fewest weights to train"
    if all(one.weights == chosen.weights for one in others):
        why = "all have as many weights to train, and it takes the fewest steps"
        if all(one.steps == chosen.steps for one in others):
            return [
                f"Trials {names} cannot be told apart, and cost the same: as many weights to train, in as "
                f"many steps; of these trial {chosen.trial} has the lowest mean."
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
    return [f"The default has {show_loss(default.mean.value)}, which is {_more(difference)}."]


def _bias(found: Confirmation) -> list[str]:
    """Say what the search had shown of the trial that it had for the best."""
    known = [one for one in found.configurations if one.searched is not None and one.mean is not None]
    if not known:
        return []
    winner = min(known, key=lambda one: (one.searched or 0.0, one.trial))
    assert winner.searched is not None
    assert winner.mean is not None
    gap = winner.mean.value - winner.searched
    words = (
        f"The search had trial {winner.trial} for the best, with {show_loss(winner.searched)} under one seed "
        f"on its own examples; over {counted(len(found.seeds), 'seed')} on all of them it has "
        f"{show_loss(winner.mean.value)}"
    )
    if gap <= 0:
        return [f"{words}."]
    return [
        f"{words}: {show_loss(gap)} of what the search showed came from the seed, the examples, and from "
        "picking the least of many."
    ]


def _lost(found: Confirmation) -> list[str]:
    if not found.over:
        return []
    return [
        f"{_name(one)} cannot be judged: it ended as {one.lost}." for one in found.configurations if one.lost
    ]


def _spread(found: Confirmation) -> list[str]:
    if found.spread is None:
        return []
    seeds, others = found.spread.seeds, found.spread.configurations
    if 2 * seeds < others:
        stable = "LoRA is stable across seeds here"
    elif seeds <= others:
        stable = "LoRA is only half stable across seeds here, and one run of each does not rank them"
    else:
        stable = "LoRA is not stable across seeds here: the seed decides more than which of them is taken"
    return [
        f"Another seed moves a loss by {show_loss(seeds)} (standard deviation), another of these "
        f"{counted(found.spread.count, 'configuration')} by {show_loss(others)}: {stable}."
    ]


def _covers(found: Confirmation) -> str:
    others = sum(one.lost is None for one in found.configurations) - 1
    means = (
        "An interval of a mean is over seeds (data order and initial values; Student's t), on these "
        "examples. "
        if len(found.seeds) > 1
        else "With one seed nothing is known of its luck: intervals are over examples alone. "
    )
    if others < 1:
        return means.strip()
    both = "seeds and over examples" if len(found.seeds) > 1 else "examples"
    return (
        f"{means}A difference is paired, over {both}; those in the table are corrected for "
        f"{counted(others, 'comparison')}, each at {100 * comparison_level(others):.3g} %, so that the truly "
        "best is among the tied ones in 95 of 100 confirmations, though it was picked by the same numbers."
    )
