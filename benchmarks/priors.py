"""What a default costs on real models: trial 0 against each model's own best, and what could replace it.

    python benchmarks/priors.py sweep.csv
    python benchmarks/priors.py sweep.csv --below 10
    python benchmarks/priors.py sweep.csv --batch-size 8 --json

Reads a table of final losses over learning rate and rank, one row a run (columns ``model``,
``learning_rate``, ``lora_rank``, ``test_nll``), such as the one that tinker-cookbook publishes
(``recipes/chat_sl/results/sft_sweep.md``: open models, data set tulu3, batch size 128, 780 steps).
A regret is the loss of a configuration less the least of that model's table, in nats a token.

Between the rates and the ranks of the table the loss is interpolated in log, which lies above a curve that
is a valley: candidates off the grid are a little better than shown. Below the least rate, and beyond the
ranks, the nearest is taken. Above the greatest rate a run has diverged, and counts as the greatest loss of
its model.

The table's batch size is not a default's. Three readings are shown, by the power of the batch size with
which the best rate grows: 0; 0.3, which the embedded demo shows from 4 to 32 at equal examples
(docs/log.md); and 0.5, the square root that theory has for Adam (Malladi et al., NeurIPS 2022; arXiv
2205.10287). A rate for a batch of 8 then stands for 1, 2.3 or 4 times as much at 128.

A candidate whose number is fitted is chosen on all models but one and scored on that one.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import math
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

TABLE_BATCH = 128
"""The batch size of the published table."""

DEFAULT_BATCH = 8
"""That of trial 0."""

POWERS = (0.0, 0.3, 0.5)
"""With which powers of the batch size the best rate may grow."""

LARGE = 10
"""Billions of weights from which a model takes the preset for large ones."""

RATES = tuple(10 ** (step / 20 - 5) for step in range(0, 41))
"""From 1e-5 to 1e-3: the constants that are chosen from."""

COUNTS = {"DeepSeek-V3.1": 671.0, "Kimi-K2": 1000.0}
"""Billions of weights of models whose names do not say it."""

WIDTHS = {
    "Llama-3.2-3B": (3072, 0.781),
    "Llama-3.1-8B": (4096, 0.781),
    "Llama-3.3-70B": (8192, 0.781),
    "Qwen3-4B": (2560, 0.0775),
    "Qwen3-8B": (4096, 0.0775),
    "Qwen3-30B-A3B": (2048, 0.0775),
    "Qwen3-32B": (5120, 0.0775),
}
"""Hidden size, and the exponent of the family, for the rule that tinker-cookbook had before its table."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """One model's measured losses."""

    name: str
    """As the Hub calls it."""
    losses: Mapping[int, Mapping[float, float]]
    """Rank → learning rate → loss; runs of one configuration averaged."""

    @property
    def best(self) -> float:
        """The least loss of its table."""
        return min(loss for by_rate in self.losses.values() for loss in by_rate.values())

    @property
    def worst(self) -> float:
        """The greatest loss of its table."""
        return max(loss for by_rate in self.losses.values() for loss in by_rate.values())

    @property
    def billions(self) -> float:
        """Its weights, in billions."""
        for part, count in COUNTS.items():
            if part in self.name:
                return count
        found = re.search(r"(\d+(?:\.\d+)?)B", self.name, re.IGNORECASE)
        if found is None:
            raise SystemExit(f"{self.name}: its name does not say how many weights it has")
        return float(found[1])

    def loss(self, rate: float, rank: float) -> float:
        """Return its loss at any rate and rank."""
        ranks = sorted(rank for rank, rates in self.losses.items() if len(rates) > 1)
        below = max((one for one in ranks if one <= rank), default=ranks[0])
        above = min((one for one in ranks if one >= rank), default=ranks[-1])
        if below >= above:
            return self._at(rate, below)
        share = math.log(rank / below) / math.log(above / below)
        return (1 - share) * self._at(rate, below) + share * self._at(rate, above)

    def regret(self, rate: float, rank: float) -> float:
        """Return how far that lies above its best."""
        return self.loss(rate, rank) - self.best

    def _at(self, rate: float, rank: int) -> float:
        known = self.losses[rank]
        below = max((one for one in known if one <= rate), default=min(known))
        above = min((one for one in known if one >= rate), default=None)
        if above is None:
            return self.worst
        if above <= below:
            return known[below]
        share = max(0.0, math.log(rate / below) / math.log(above / below))
        return (1 - share) * known[below] + share * known[above]


def read(path: Path) -> tuple[Model, ...]:
    """Read the table."""
    runs: dict[str, dict[int, dict[float, list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            runs[row["model"]][int(row["lora_rank"])][float(row["learning_rate"])].append(
                float(row["test_nll"])
            )
    return tuple(
        Model(
            name=name,
            losses={
                rank: {rate: statistics.fmean(losses) for rate, losses in rates.items()}
                for rank, rates in ranks.items()
            },
        )
        for name, ranks in runs.items()
    )


Rule = Callable[[Model], float | None]
"""From a model to a learning rate for a batch of the default; None where the rule says nothing of it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """What trial 0 could be."""

    name: str
    """In words."""
    rank: int
    """Its rank."""
    make: Callable[[Sequence[Model], float], Rule]
    """From the models that it may look at, and the table's rate over its own, to a rule."""


def always(rule: Rule) -> Callable[[Sequence[Model], float], Rule]:
    """Return what takes that rule, whatever models are seen."""

    def make(_: Sequence[Model], __: float) -> Rule:
        return rule

    return make


def constant(rate: float) -> Callable[[Sequence[Model], float], Rule]:
    """Return what always says that rate."""
    return always(lambda _: rate)


def fitted_constant(rank: int) -> Callable[[Sequence[Model], float], Rule]:
    """Return what says the rate of least mean regret over the models seen."""

    def make(seen: Sequence[Model], factor: float) -> Rule:
        def cost(rate: float) -> float:
            return statistics.fmean(model.regret(rate * factor, rank) for model in seen)

        best = min(RATES, key=cost)
        return lambda _: best

    return make


def fitted_power(rank: int) -> Callable[[Sequence[Model], float], Rule]:
    """Return what says ``c / billions ** p``, both of least mean regret over the models seen."""

    def make(seen: Sequence[Model], factor: float) -> Rule:
        pairs = ((rate, power / 20) for rate in RATES for power in range(0, 11))

        def cost(pair: tuple[float, float]) -> float:
            rate, power = pair
            return statistics.fmean(m.regret(rate * factor * (8 / m.billions) ** power, rank) for m in seen)

        rate, power = min(pairs, key=cost)
        return lambda model: rate * (8 / model.billions) ** power

    return make


def width_rule(model: Model) -> float | None:
    """Ten times 5e-5, by the hidden size: what tinker-cookbook said for Llama and Qwen before its table."""
    for part, (width, power) in WIDTHS.items():
        if part in model.name:
            return 5e-4 * (2000 / width) ** power
    return None


def by_size(model: Model) -> float:
    """2e-4, and 1e-4 for large models, as QLoRA has it (artidoro/qlora, ``scripts/``)."""
    return 1e-4 if model.billions >= LARGE else 2e-4


def candidates() -> tuple[Candidate, ...]:
    """Return all that is compared."""
    found = [
        Candidate(name=f"{rate:.0e}", rank=rank, make=constant(rate))
        for rank in (8, 16, 32)
        for rate in (1e-4, 2e-4, 3e-4, 5e-4)
    ]
    found += [
        Candidate(name="2e-4, large 1e-4", rank=16, make=always(by_size)),
        Candidate(name="constant, fitted", rank=8, make=fitted_constant(8)),
        Candidate(name="constant, fitted", rank=16, make=fitted_constant(16)),
        Candidate(name="power of the size, fitted", rank=16, make=fitted_power(16)),
        Candidate(name="5e-4 by hidden size", rank=16, make=always(width_rule)),
    ]
    return tuple(found)


def regrets(candidate: Candidate, models: Sequence[Model], factor: float) -> dict[str, tuple[float, float]]:
    """Return model → (rate, regret), each with that model left out of what the rule looked at."""
    found = {}
    for model in models:
        rule = candidate.make([other for other in models if other is not model], factor)
        rate = rule(model)
        if rate is not None:
            found[model.name] = (rate, model.regret(rate * factor, candidate.rank))
    return found


def main() -> None:
    """Compare the candidates and print a table for each reading."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path, help="CSV of final losses")
    parser.add_argument("--batch-size", type=int, default=DEFAULT_BATCH, help="that of the default")
    parser.add_argument(
        "--below", type=float, default=math.inf, help="only models of fewer billions of weights"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    given = parser.parse_args()
    models = [model for model in read(given.table) if model.billions < given.below]
    if len(models) < 2:
        raise SystemExit(f"--below {given.below:g}: fewer than two models are left")
    result = {
        str(power): {
            f"{one.name}, rank {one.rank}": regrets(one, models, (TABLE_BATCH / given.batch_size) ** power)
            for one in candidates()
        }
        for power in POWERS
    }
    if given.json:
        print(json.dumps(result, indent=2))
        return
    for power, found in result.items():
        print(f"\nthe best rate grows with the batch size to the power of {power}:\n")
        print(f"  {'candidate':<34} {'models':>6} {'rates':>15} {'mean':>8} {'median':>8} {'worst':>8}")
        for name, each in found.items():
            if not each:
                continue  # a rule that says nothing of any of these models
            rates = [rate for rate, _ in each.values()]
            cost = [regret for _, regret in each.values()]
            span = f"{min(rates):.1e}" + ("" if min(rates) == max(rates) else f"-{max(rates):.1e}")
            print(
                f"  {name:<34} {len(each):>6} {span:>15} {statistics.fmean(cost):>8.4f} "
                f"{statistics.median(cost):>8.4f} {max(cost):>8.4f}"
            )
    shown = ("1e-04, rank 8", "2e-04, rank 8", "2e-04, rank 16", "2e-4, large 1e-4, rank 16")
    print(f"\nregret by model, at the powers {', '.join(result)}:\n")
    print(f"  {'model':<34}" + "".join(f"{name:>27}" for name in shown))
    for model in models:
        cells = (" ".join(f"{found[name][model.name][1]:.4f}" for found in result.values()) for name in shown)
        print(f"  {model.name.split('/')[-1][:34]:<34}" + "".join(f"{cell:>27}" for cell in cells))


if __name__ == "__main__":
    main()
