"""A made-up task: the loss of any config, as a pure function, and everything a worker would say of its data.

What ``fake.py`` answers instead of training. Knows nothing of workers or files.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math

import numpy as np
import numpy.typing as npt

from ...spaces.params import LoraParams
from ...study.budget import ROUNDS
from ...study.config import ObjectiveConfig
from ...study.facts import DataSummary, Facts, Geometry, ModelSummary
from ...study.memory import MemoryFacts
from ..training.trial_budget import budget_of

LAYERS = ("fake.layers.0.q_proj", "fake.layers.0.v_proj")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Surface:
    """A made-up task: how low a config's loss comes, and where training diverges."""

    base: float = 2.6
    """Loss of the base model per target token."""
    floor: float = 1.2
    """Loss that the best config comes near to."""
    learning_rate: float = 2e-2
    """The best learning rate at batch size 8 and alpha = 2 · rank."""
    width: float = 0.9
    """How many powers of ten away from it the gain falls to 1/e."""
    edge: float = 4.0
    """Above this many times the best learning rate a trial diverges."""
    noise: float = 0.01
    """Spread between seeds of one config."""
    example_noise: float = 0.1
    """Spread between two configs on one example, relative; what the example itself adds is shared."""

    def strength(self, params: LoraParams) -> float:
        """Return how many times the best learning rate these parameters amount to."""
        rate = params.learning_rate * math.sqrt(params.loraplus_lr_ratio)
        damping = math.sqrt(params.scaling / 2 * 8 / params.batch_size)
        return rate / self.learning_rate * damping

    def diverges_at(self, params: LoraParams) -> int | None:
        """Return the round in which training breaks, or None; the further past the edge, the sooner."""
        beyond = self.strength(params) / self.edge
        if beyond <= 1:
            return None
        return max(1, ROUNDS - int(8 * math.log(beyond)))

    def loss(self, params: LoraParams, round_number: int = ROUNDS) -> float:
        """Return the mean loss per target token after that round, free of noise."""
        fit = math.exp(-((math.log10(self.strength(params)) / self.width) ** 2))
        capacity = 1 - 0.3 / params.lora_rank
        regularised = 1 - 0.3 * params.lora_dropout - 0.1 * abs(params.warmup_ratio - 0.05)
        targets = 1.0 if params.target_names == ("all",) else 0.9
        pace = (0.5 + 0.5 * fit) * 8 / (8 + 0.1 * params.batch_size)
        learned = 1 - math.exp(-3.0 * pace * round_number / ROUNDS)
        hurt = 0.3 * max(0.0, math.log10(self.strength(params))) ** 2
        return self.base + hurt - (self.base - self.floor) * fit * capacity * regularised * targets * learned


def unit(state: str, what: str) -> float:
    """Return a number in [-1, 1) that follows from a state."""
    word = hashlib.sha256(f"{state} {what}".encode()).digest()[:8]
    return int.from_bytes(word, "little") / 2**63 - 1


def eval_tokens(size: int) -> npt.NDArray[np.int64]:
    """Return the target tokens of each evaluation example: [size], the same for every trial."""
    return np.random.default_rng(1).integers(3, 25, size, dtype=np.int64)


def example_losses(
    surface: Surface, params: LoraParams | None, round_number: int, state: str, size: int
) -> npt.NDArray[np.float64]:
    """Return the summed loss on each example: [size]; None stands for the base model."""
    tokens = eval_tokens(size).astype(np.float64)
    hardness = np.exp(np.random.default_rng(2).normal(-0.08, 0.4, size))
    mean = surface.base if params is None else surface.loss(params, round_number)
    own = np.zeros(size)
    if params is not None:
        mean += surface.noise * unit(state, "eval")
        own = surface.example_noise * np.random.default_rng(int(state[:16], 16)).standard_normal(size)
    losses: npt.NDArray[np.float64] = tokens * np.maximum(mean * hardness * (1 + own), 0.01)
    return losses


def make_facts(
    config: ObjectiveConfig, surface: Surface, *, train_examples: int, validation_examples: int, slots: int
) -> Facts:
    """Return facts as a small model on a small data set would give them."""
    records = train_examples + validation_examples
    budget = budget_of(
        config, train=train_examples, validation=validation_examples, records=records, bad=0, first=None
    )
    size = budget.final_eval_examples
    base_losses = example_losses(surface, None, 0, "", size)
    tokens = eval_tokens(size)
    geometry = config.geometry or Geometry(
        rank_max=8 * math.ceil(max(config.lora_ranks) / 8),
        micro_step_lengths=(32,) * budget.micro_steps,
        eval_rows=16,
        targets=LAYERS,
        dtype="float32",
        attn_implementation="sdpa",
        gradient_checkpointing=False,
    )
    return Facts(
        geometry=geometry,
        budget=budget,
        data=DataSummary(
            format="alpaca",
            template="alpaca",
            fingerprint=hashlib.sha256(repr(config.data).encode()).hexdigest(),
            train=train_examples,
            validation=validation_examples,
            test=validation_examples,
            records=train_examples + 2 * validation_examples,
            bad=0,
            bad_records=(),
            duplicates=0,
            cutoff_len=1024,
            truncated=0,
            tokens=20 * train_examples,
            target_tokens=12 * train_examples,
            length_quantiles=(8, 15, 20, 26, 60),
            rendered="Say hello.\n⟦Hello.⟧",
        ),
        model=ModelSummary(
            name_or_path=config.model.name_or_path,
            revision=config.model.revision,
            architecture="FakeForCausalLM",
            parameters=260_000,
            vocab_size=512,
            device="cpu",
            device_name="no device",
            adapter_features={target: 4 * len(target) for target in config.lora_targets},
        ),
        memory=MemoryFacts(
            base_bytes=10**6,
            slot_bytes=10**5,
            available_bytes=10**9,
            slots_max=max(slots, config.slots or 0),
        ),
        base_loss=float(base_losses.sum() / tokens.sum()),
        base_losses=tuple(base_losses.tolist()),
        eval_tokens=tuple(tokens.tolist()),
        rows_per_second=100.0,
        environment={"python": "3", "torch": "none", "platform": "fake"},
        slots=config.slots or slots,
    )
