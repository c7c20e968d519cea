"""The same trial by plain PEFT: the oracle that the pack is held against.

One trial alone, with PEFT's own layers, torch's AdamW and gradient clipping, Transformers' learning
rate schedules and the model's own loss. Data order, initial A and dropout masks are those that the
pack draws for the seed; everything else is computed by code that is not ours. It is slow, and no
command trains by it.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import peft
import torch
import transformers
from torch.nn import functional

from ...spaces.arguments import lora_config, scheduler_arguments
from ...spaces.params import LoraParams
from ...study.budget import ROUNDS, Budget
from ...study.facts import Geometry
from ..data.dataset import Split, TokenizedData
from ..training.model import BaseModel
from ..training.quantized import hold_for_training
from ..training.rng import dropout_mask, initial_a
from ..training.stream import Stream
from ..training.targets import fan_in_fan_out, selects

IGNORED = -100
"""The label that Transformers' loss leaves out."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReferenceStep:
    """One optimizer step; tensors are named as in a checkpoint, ``<layer>.lora_A`` and ``.lora_B``."""

    losses: tuple[float, ...]
    """``[micro_steps]`` summed loss of each of its micro-batches."""
    target_tokens: int
    """Target tokens of the effective batch."""
    learning_rate: float
    """The rate that it ran at."""
    norm: float
    """Norm of the gradient before clipping."""
    gradient: dict[str, torch.Tensor]
    """The gradient after clipping."""
    update: dict[str, torch.Tensor]
    """What was added to the weights."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReferenceRun:
    """A whole trial."""

    train_losses: tuple[float, ...]
    """``[8]`` mean loss over each round's target tokens."""
    eval_losses: dict[int, torch.Tensor]
    """Rung to ``[n]`` summed loss on each example of its evaluation set."""
    state: dict[str, torch.Tensor]
    """The final training state, named as in a checkpoint."""


class Reference:
    """One trial under PEFT on a copy of the base model.

    Args:
        base: the base model; left as it is.
        data: the tokenized data.
        params: the trial's hyperparameters.
        seed: seed of data order, initial A and dropout.
        budget: how long a trial is.
        geometry: padded lengths and the layers that may be wrapped.
        max_grad_norm: gradients are clipped to this norm.
    """

    def __init__(
        self,
        base: BaseModel,
        data: TokenizedData,
        params: LoraParams,
        *,
        seed: int,
        budget: Budget,
        geometry: Geometry,
        max_grad_norm: float = 1.0,
    ) -> None:
        self.examples = 0
        self._base, self._data, self._params, self._seed = base, data, params, seed
        self._budget, self._geometry, self._max_grad_norm = budget, geometry, max_grad_norm
        self._stream = Stream(data.train.lengths, budget, seed)
        self._layers = [name for name in geometry.targets if selects(params.lora_target, name)]
        self._model = self._wrap(copy.deepcopy(base.model))
        self._dropouts = self._replace_dropout()
        self._weights = self._named_weights()
        self._draw_initial_a()
        a = [weight for name, weight in self._weights.items() if name.endswith(".lora_A")]
        b = [weight for name, weight in self._weights.items() if name.endswith(".lora_B")]
        rate = params.learning_rate
        self._optimizer = torch.optim.AdamW(
            [{"params": a, "lr": rate}, {"params": b, "lr": rate * params.loraplus_lr_ratio}],
            weight_decay=params.weight_decay,
        )
        total = budget.steps(params.batch_size)
        self._scheduler: Any = transformers.get_scheduler(
            params.lr_scheduler_type,
            self._optimizer,
            num_warmup_steps=math.ceil(total * params.warmup_ratio),
            num_training_steps=total,
            scheduler_specific_kwargs=scheduler_arguments(params, total) or None,
        )

    # Training

    @property
    def rounds(self) -> int:
        """Rounds done."""
        return self.examples // self._budget.round_examples

    def train_round(self) -> float:
        """Train for a round; return the mean loss over its target tokens."""
        loss, tokens = 0.0, 0
        for _ in range(self._budget.round_examples // self._params.batch_size):
            step = self.step()
            loss += sum(step.losses)
            tokens += step.target_tokens
        return loss / tokens

    def step(self) -> ReferenceStep:
        """Take one optimizer step on the next effective batch."""
        size, m = self._params.batch_size, self._budget.micro_batch
        first = self.examples % self._budget.round_examples // m
        order = self._stream.round(self.rounds)[first : first + size // m]
        items = sum(_targets(self._data.train, chosen) for chosen in order)
        losses = []
        for micro_step, chosen in enumerate(order, start=first):
            tokens, labels = self._padded(
                self._data.train, chosen, self._geometry.micro_step_lengths[micro_step]
            )
            for dropout in self._dropouts:
                dropout.position = self.examples
            loss = self._model(input_ids=tokens, labels=labels, num_items_in_batch=items).loss
            loss.backward()
            losses.append(float(loss.detach()) * items)
            self.examples += m
        for dropout in self._dropouts:
            dropout.position = None
        return self._update(tuple(losses), items)

    def _update(self, losses: tuple[float, ...], items: int) -> ReferenceStep:
        norm = torch.nn.utils.clip_grad_norm_(self._weights.values(), self._max_grad_norm)
        before = {name: weight.detach().clone() for name, weight in self._weights.items()}
        gradient = {name: _gradient(weight) for name, weight in self._weights.items()}
        rate = self._optimizer.param_groups[0]["lr"]
        self._optimizer.step()
        self._scheduler.step()
        self._optimizer.zero_grad()
        return ReferenceStep(
            losses=losses,
            target_tokens=items,
            learning_rate=float(rate),
            norm=float(norm),
            gradient=gradient,
            update={name: weight.detach() - before[name] for name, weight in self._weights.items()},
        )

    # Evaluation

    @torch.no_grad()
    def evaluate(self, size: int) -> torch.Tensor:
        """Return ``[size]`` the summed loss on each of the first validation examples, one by one."""
        losses = []
        for index in range(size):
            tokens, labels = self._padded(self._data.validation, np.array([index]), 0)
            logits = self._model(input_ids=tokens).logits.float()
            loss = functional.cross_entropy(
                logits[0, :-1], labels[0, 1:], ignore_index=IGNORED, reduction="sum"
            )
            losses.append(float(loss))
        return torch.tensor(losses)

    # State, named as in a checkpoint file

    def state(self) -> dict[str, torch.Tensor]:
        """Return weights and moments."""
        tensors = {f"params/{name}": weight.detach().cpu().clone() for name, weight in self._weights.items()}
        for group in ("exp_avg", "exp_avg_sq"):
            for name, weight in self._weights.items():
                moment = self._optimizer.state[weight].get(group, torch.zeros_like(weight))
                tensors[f"{group}/{name}"] = moment.cpu().clone()
        return tensors

    @torch.no_grad()
    def load(self, tensors: dict[str, torch.Tensor], rounds: int) -> None:
        """Stand where a checkpoint stands: weights, moments, schedule and place in the data."""
        self.examples = rounds * self._budget.round_examples
        steps = self.examples // self._params.batch_size
        for name, weight in self._weights.items():
            weight.copy_(tensors[f"params/{name}"])
            self._optimizer.state[weight] = {
                "step": torch.tensor(float(steps)),
                "exp_avg": tensors[f"exp_avg/{name}"].to(weight, copy=True),
                "exp_avg_sq": tensors[f"exp_avg_sq/{name}"].to(weight, copy=True),
            }
        scheduler = self._scheduler
        scheduler.last_epoch = steps
        for group, rate, factor in zip(
            self._optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True
        ):
            group["lr"] = rate * factor(steps)

    # Making

    def _wrap(self, model: Any) -> Any:
        config = peft.LoraConfig(
            task_type=peft.TaskType.CAUSAL_LM,
            **lora_config(self._params) | {"target_modules": self._layers},
            fan_in_fan_out=any(fan_in_fan_out(model.get_submodule(name)) for name in self._layers),
        )
        with warnings.catch_warnings():  # PEFT reads an attribute that Transformers 5 calls by a new name
            warnings.simplefilter("ignore", FutureWarning)
            wrapped = peft.get_peft_model(model, config)
        wrapped.eval()  # the base's own dropout stays 0; the adapters' goes by its position
        hold_for_training(wrapped)
        return wrapped

    def _adapted(self, layer: str) -> Any:
        return self._model.base_model.model.get_submodule(layer)

    def _replace_dropout(self) -> list[_PositionedDropout]:
        """Let the adapters' dropout use the pack's masks in place of torch's."""
        if self._params.lora_dropout == 0:
            return []
        dropouts = []
        for layer in self._layers:
            own = _PositionedDropout(self._seed, layer, self._params.lora_dropout)
            self._adapted(layer).lora_dropout["default"] = own
            dropouts.append(own)
        return dropouts

    def _named_weights(self) -> dict[str, torch.nn.Parameter]:
        return {
            f"{layer}.{which}": getattr(self._adapted(layer), which)["default"].weight
            for layer in self._layers
            for which in ("lora_A", "lora_B")
        }

    @torch.no_grad()
    def _draw_initial_a(self) -> None:
        for name, weight in self._weights.items():
            layer, _, which = name.rpartition(".")
            if which == "lora_A":
                weight.copy_(initial_a(self._seed, layer, *weight.shape))

    def _padded(
        self, split: Split, chosen: npt.NDArray[np.int64], length: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return tokens and labels ``[n, T]``, padded on the right; T is at least ``length``."""
        examples = [split.example(int(index)) for index in chosen]
        length = max(length, *(len(tokens) for tokens, _ in examples))
        ids = torch.zeros(len(examples), length, dtype=torch.long)
        labels = torch.full_like(ids, IGNORED)
        for row, (tokens, target) in enumerate(examples):
            own = torch.from_numpy(np.asarray(tokens, dtype=np.int64))
            ids[row, : len(own)] = own
            labels[row, : len(own)] = own.masked_fill(~torch.from_numpy(np.array(target, bool)), IGNORED)
        return ids.to(self._base.device), labels.to(self._base.device)


class _PositionedDropout(torch.nn.Module):
    """Dropout by the mask of a place in the data; none where ``position`` is None."""

    def __init__(self, seed: int, layer: str, p: float) -> None:
        super().__init__()
        self.position: int | None = None
        self._seed, self._layer, self._p = seed, layer, p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` ``[m, T, in]`` with dropped entries at 0 and the others scaled up."""
        if self.position is None:
            return x
        m, length, features = x.shape
        mask = dropout_mask(self._seed, self._layer, self.position, (m, length, features), self._p, x.device)
        return x * mask / (1.0 - self._p)


def run_reference(
    base: BaseModel,
    data: TokenizedData,
    params: LoraParams,
    *,
    seed: int,
    budget: Budget,
    geometry: Geometry,
    max_grad_norm: float = 1.0,
) -> ReferenceRun:
    """Train one whole trial by PEFT, evaluated wherever the pack is."""
    reference = Reference(
        base, data, params, seed=seed, budget=budget, geometry=geometry, max_grad_norm=max_grad_norm
    )
    train_losses, eval_losses = [], {}
    for round_number in range(1, ROUNDS + 1):
        train_losses.append(reference.train_round())
        if round_number in budget.rungs:
            eval_losses[round_number] = reference.evaluate(budget.eval_size(round_number))
    return ReferenceRun(train_losses=tuple(train_losses), eval_losses=eval_losses, state=reference.state())


def _targets(split: Split, chosen: npt.NDArray[np.int64]) -> int:
    """Return the target tokens of some examples."""
    return sum(int(np.count_nonzero(split.example(int(index))[1])) for index in chosen)


def _gradient(weight: torch.nn.Parameter) -> torch.Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.grad.detach().clone()
