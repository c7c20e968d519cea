"""A trial's budget: eight rounds of training examples, the same for every batch size.

The resource is examples seen, never optimizer steps, so that trials of different batch sizes
are compared at equal data. Pure arithmetic; knows nothing of data files or models.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from ..errors import BudgetError
from ..nouns import grouped, numbered

ROUNDS = 8
"""A trial is this many rounds long."""

BEFORE_DECAY = 6
"""The round after which a held learning rate begins to fall; a longer trial goes on from its state."""

RUNGS = (1, 2, 4, 8)
"""Rounds after which a trial is evaluated; the last gives its value."""

EVERY_ROUND = tuple(range(1, ROUNDS + 1))
"""The rungs of a trial of full length, which nobody is stopped beside but which may end by itself."""

MAX_EPOCHS = 3
"""A trial sees the training data at most this often by default."""

MAX_MICRO_BATCH = 4
"""Most examples that a slot contributes to one forward pass."""

DEFAULT_STEPS = 48
"""Least optimizer steps of a trial by default, those at the largest batch size: Q = 6 · B_max."""

LEAST_EVAL_EXAMPLES = 16
"""Fewest validation examples that a loss is taken over, but for few data or where the user asks for fewer."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """What every trial of a study is given; made by ``plan_budget``."""

    micro_batch: int
    """Examples per slot and micro-step (m); divides every batch size. A micro-step is one forward and
    backward pass."""
    round_examples: int
    """Training examples per round (Q); every batch size divides it."""
    batch_sizes: tuple[int, ...]
    """The batch sizes that may be tried, ascending."""
    eval_examples: int
    """Validation examples at the rungs before the last: the first of the fixed order."""
    final_eval_examples: int
    """Validation examples at the end; their loss is the trial's value."""
    rungs: tuple[int, ...] = RUNGS
    """Rounds after which a trial is evaluated, ascending; the last is its last round."""
    notes: tuple[str, ...] = ()
    """Sentences on what was lowered to fit the data."""
    even_lengths: bool = False
    """Whether every stretch of the training examples has short and long ones in the data's shares; a study of
    before reads them as they were shuffled."""

    @property
    def examples(self) -> int:
        """Training examples of a whole trial."""
        return ROUNDS * self.round_examples

    @property
    def micro_steps(self) -> int:
        """Forward-backward passes per round."""
        return self.round_examples // self.micro_batch

    def steps(self, batch_size: int) -> int:
        """Optimizer steps of a whole trial at that batch size."""
        return self.examples // batch_size

    def eval_size(self, round_number: int) -> int:
        """Validation examples after that round (1 to 8); 0 where it is no rung."""
        if round_number == ROUNDS:
            return self.final_eval_examples
        return self.eval_examples if round_number in self.rungs else 0


def plan_budget(
    batch_sizes: Sequence[int],
    *,
    train_examples: int,
    validation_examples: int,
    examples: int | None = None,
    eval_examples: int | None = None,
    rungs: tuple[int, ...] = RUNGS,
    even_lengths: bool = True,
) -> Budget:
    """Return what every trial of a study is given.

    By default the largest batch size takes 48 optimizer steps, and a trial at most three epochs;
    larger batch sizes are left out, with a note, where the data are too few for them. The user's
    ``examples`` are kept, rounded up to what all batch sizes divide.

    Args:
        batch_sizes: every batch size that may be tried.
        train_examples: training examples there are.
        validation_examples: validation examples there are.
        examples: training examples of a whole trial, as the user wants them.
        eval_examples: validation examples of the final evaluation, as the user wants them.
        rungs: rounds after which a trial is evaluated.
        even_lengths: whether short and long examples are spread evenly over a trial.

    Raises:
        BudgetError: batch sizes do not go together, or the data or the examples are too few.

    Example:
        >>> plan_budget([4, 8], train_examples=1000, validation_examples=500).round_examples
        48
    """
    sizes = tuple(sorted(set(batch_sizes)))
    if not sizes or sizes[0] < 1:
        raise BudgetError(f"batch_size: {list(batch_sizes)} holds no batch size of at least 1")
    _check_together(sizes)
    if train_examples < 1:
        raise BudgetError("the training set is empty; give more data")
    if validation_examples < 1:
        raise BudgetError("the validation set is empty; give more data or a validation file")
    if examples is None:
        sizes, notes = _sizes_that_fit(sizes, train_examples)
        round_examples = _default_round(sizes)
    else:
        round_examples, notes = _asked_round(sizes, examples, train_examples)
    rung, final, eval_notes = _evaluations(round_examples, validation_examples, eval_examples)
    return Budget(
        micro_batch=max(m for m in range(1, MAX_MICRO_BATCH + 1) if math.gcd(*sizes) % m == 0),
        round_examples=round_examples,
        batch_sizes=sizes,
        eval_examples=rung,
        final_eval_examples=final,
        rungs=rungs,
        notes=(*notes, *eval_notes),
        even_lengths=even_lengths,
    )


def _default_round(sizes: tuple[int, ...]) -> int:
    """Return 6 · B_max, rounded up to what every batch size divides."""
    return _rounded_up(DEFAULT_STEPS // ROUNDS * sizes[-1], math.lcm(*sizes))


def _rounded_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _check_together(sizes: tuple[int, ...]) -> None:
    """Refuse batch sizes that have no small multiple in common, with the nearest that would do."""
    if _go_together(sizes):
        return
    # The odd one out is the one without which the rest fits best; of two, the one that is no power of two.
    odd = min(sizes, key=lambda size: (_clash(_without(sizes, size)), _is_power_of_two(size)))
    rest = _without(sizes, odd)
    near = sorted(range(1, 2 * odd + 1), key=lambda size: (abs(size - odd), not _is_power_of_two(size)))
    allowed = [size for size in near if size not in sizes and _go_together((*rest, size))]
    # Where more than one is odd, no number mends the list; a power of two mends this one.
    cure = next(iter(allowed), 2 ** round(math.log2(odd)))
    others = ", ".join(str(size) for size in rest)
    raise BudgetError(
        f"batch_size: {odd} does not go with {others}: a trial would be cut into rounds of "
        f"{math.lcm(*sizes)} examples at least; take {cure} (powers of two always go together)"
    )


def _go_together(sizes: tuple[int, ...]) -> bool:
    return math.lcm(*sizes) <= DEFAULT_STEPS // ROUNDS * max(sizes)


def _clash(sizes: tuple[int, ...]) -> float:
    return math.lcm(*sizes) / max(sizes)


def _without(sizes: tuple[int, ...], size: int) -> tuple[int, ...]:
    return tuple(other for other in sizes if other != size)


def _is_power_of_two(number: int) -> bool:
    return number & (number - 1) == 0


def _sizes_that_fit(sizes: tuple[int, ...], train_examples: int) -> tuple[tuple[int, ...], list[str]]:
    """Leave out the largest batch sizes until a trial is at most three epochs."""
    left = sizes
    while left and ROUNDS * _default_round(left) > MAX_EPOCHS * train_examples:
        left = left[:-1]
    if not left:
        least = ROUNDS * _default_round(sizes[:1])
        raise BudgetError(
            f"{_examples(train_examples, 'training')} {'is' if train_examples == 1 else 'are'} too few: "
            f"at batch size {sizes[0]} a trial takes {least} examples and at most {MAX_EPOCHS} epochs, "
            f"so it needs {-(-least // MAX_EPOCHS)}; give more data, or {_smaller(train_examples)}"
        )
    if left == sizes:
        return left, []
    dropped = ", ".join(str(size) for size in sizes[len(left) :])
    needed = -(-ROUNDS * _default_round(sizes) // MAX_EPOCHS)
    return left, [
        f"Batch sizes above {left[-1]} are left out ({dropped}): they would take more than {MAX_EPOCHS} "
        f"epochs of the {grouped(train_examples)} training examples; {grouped(needed)} would be enough "
        "for all."
    ]


def _asked_round(sizes: tuple[int, ...], examples: int, train_examples: int) -> tuple[int, list[str]]:
    """Return the examples of a round for a trial of that many, as the user asked."""
    multiple = math.lcm(*sizes)
    if isinstance(examples, bool) or examples < ROUNDS * sizes[-1]:
        raise BudgetError(
            f"examples: {examples} is too few for batch size {sizes[-1]}; a trial of {ROUNDS} rounds takes "
            f"at least {ROUNDS * multiple}: give more (--examples), or a smaller batch size "
            f"(--set batch_size={_power_of_two(max(1, examples // ROUNDS))}"
            f"{f' --examples {ROUNDS}' if examples < ROUNDS else ''})"
        )
    round_examples = _rounded_up(-(-examples // ROUNDS), multiple)
    total, notes = ROUNDS * round_examples, []
    if total != examples:
        notes.append(
            f"A trial sees {grouped(total)} examples instead of {grouped(examples)}: "
            f"{ROUNDS} rounds that every batch size divides."
        )
    if total > MAX_EPOCHS * train_examples:
        notes.append(
            f"A trial sees the {_examples(train_examples, 'training')} {total / train_examples:.1f} times, "
            f"as asked; more than {MAX_EPOCHS} times is seldom worth it."
        )
    return round_examples, notes


def _evaluations(round_examples: int, validation: int, asked: int | None) -> tuple[int, int, list[str]]:
    """Return the validation examples at the rungs before the last, those at the end, and notes.

    The user's own final number may leave the rungs fewer than 16: they get a quarter of it.
    """
    least = min(LEAST_EVAL_EXAMPLES, validation)
    if asked is not None and (isinstance(asked, bool) or asked < least):
        raise BudgetError(f"eval_examples: {asked} is too few to tell trials apart; take at least {least}")
    wanted = max(LEAST_EVAL_EXAMPLES, 2 * round_examples) if asked is None else asked
    final = min(wanted, validation)
    rung = min(max(round_examples // 2, LEAST_EVAL_EXAMPLES), validation)
    if asked is not None:
        rung = max(1, min(rung, final // 4))
    if final == wanted:
        return rung, final, []
    taken = _examples(final, "validation")
    return rung, final, [f"The final loss is taken over {taken}; {grouped(wanted)} were wanted."]


def _examples(number: int, kind: str) -> str:
    return numbered(number, f"{kind} example")


def _smaller(train_examples: int) -> str:
    """Return what can be asked for that so few training examples are enough for."""
    fits = [size for size in (2**power for power in range(16)) if _default_fits(size, train_examples)]
    if fits:
        return f"a smaller batch size (--set batch_size={fits[-1]}), or a trial's examples (--examples)"
    return f"a trial of fewer examples (--set batch_size=1 --examples {ROUNDS})"


def _default_fits(size: int, train_examples: int) -> bool:
    return ROUNDS * _default_round((size,)) <= MAX_EPOCHS * train_examples


def _power_of_two(number: int) -> int:
    """Return the greatest power of two that is not above a number of at least 1."""
    return int(2 ** (int(number).bit_length() - 1))
