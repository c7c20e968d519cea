"""A model whose own weights are trained: which of them, its losses, and its optimizer steps.

The loss is that of the pack: over supervised positions, of hidden states that go through the output head;
optimizer and clipping are torch's own. Knows nothing of rounds, files or schedules.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from ...errors import ModelError
from ...study.plain_method import PlainMethod
from .attention import never_packed
from .batches import Batch
from .head import head_loss
from .model import BaseModel

Tensors = dict[str, torch.Tensor]
_MOMENTS = ("exp_avg", "exp_avg_sq")


class PlainModel:
    """A base model of which some weights are trained.

    Args:
        base: the base model in float32; it is changed in place.
        weights: those of its weights, by name; see ``trained_weights``.
        weight_decay: decoupled weight decay, of all of them.
    """

    def __init__(
        self, base: BaseModel, weights: dict[str, torch.nn.Parameter], *, weight_decay: float
    ) -> None:
        self._decoder = base.model.get_decoder()
        self._head = base.model.get_output_embeddings()
        self._vocab_size = base.summary.vocab_size
        self._weights = weights
        for weight in weights.values():
            weight.requires_grad_(True)
        # One tensor at a time: all at once takes as much memory again for what lies between.
        self._optimizer = torch.optim.AdamW(weights.values(), weight_decay=weight_decay, foreach=False)

    def losses(self, batch: Batch, rows: slice, correct: torch.Tensor | None = None) -> torch.Tensor:
        """Return ``[1, m]`` the summed loss of each example; ``correct`` as in ``Pack.losses``."""
        assert rows == slice(0, 1), "it is one model"
        with torch.no_grad():
            losses, _ = head_loss(
                self._head,
                self._hidden(batch.tokens),
                batch.supervised,
                vocab_size=self._vocab_size,
                want_gradient=False,
                correct=correct,
            )
        return losses

    def accumulate(self, batch: Batch, target_tokens: int) -> float:
        """Add the gradient of the summed loss over ``target_tokens``; return the summed loss."""
        picked = self._hidden(batch.tokens).flatten(0, 1)[batch.supervised.positions]
        logits = self._head(picked).float()
        loss = functional.cross_entropy(logits, batch.supervised.labels, reduction="sum")
        (loss / target_tokens).backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def step(self, learning_rate: float, max_grad_norm: float) -> float:
        """Clip the gradient, take a step with it and forget it; return its norm before clipping."""
        norm = torch.nn.utils.clip_grad_norm_(self._weights.values(), max_grad_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        self._optimizer.zero_grad()
        return float(norm)

    def to_tensors(self) -> Tensors:
        """Return weights and moments by name, on the CPU; what lies there already is not copied."""
        tensors = {f"params/{name}": weight.detach().cpu() for name, weight in self._weights.items()}
        for moment in _MOMENTS:
            for name, weight in self._weights.items():
                # A weight that no token has reached yet has none.
                if moment in (state := self._optimizer.state.get(weight, {})):
                    tensors[f"{moment}/{name}"] = state[moment].cpu()
        return tensors

    @torch.no_grad()
    def load(self, tensors: Tensors, steps: int) -> None:
        """Stand where ``to_tensors`` stood after so many steps; raises ``KeyError`` where one is missing."""
        for name, weight in self._weights.items():
            weight.copy_(tensors[f"params/{name}"])
            if f"{_MOMENTS[0]}/{name}" in tensors:
                moments = {moment: tensors[f"{moment}/{name}"].to(weight.device) for moment in _MOMENTS}
                self._optimizer.state[weight] = {"step": torch.tensor(float(steps)), **moments}

    def _hidden(self, tokens: torch.Tensor) -> torch.Tensor:
        with never_packed():
            hidden: torch.Tensor = self._decoder(input_ids=tokens, use_cache=False).last_hidden_state
        return hidden


def trained_weights(base: BaseModel, method: PlainMethod) -> dict[str, torch.nn.Parameter]:
    """Return by name the weights that a method trains, those that are tied once.

    ``full`` means the decoder and its output head: what else a multimodal model has, no text reaches. Raises
    ``ModelError`` where there are fewer decoder layers than are to be trained.
    """
    decoder, head = base.model.get_decoder(), base.model.get_output_embeddings()
    if method.layers is None:
        parts: list[torch.nn.Module] = [decoder, head]
    else:
        layers = _decoder_layers(base)
        if method.layers > len(layers):
            raise ModelError(
                f"{base.summary.name_or_path}: has {len(layers)} decoder layers, and --freeze-layers "
                f"{method.layers} are more; give fewer, or --method full"
            )
        parts = list(layers[len(layers) - method.layers :])
    chosen = {id(weight) for part in parts for weight in part.parameters()}
    return {name: weight for name, weight in base.model.named_parameters() if id(weight) in chosen}


def _decoder_layers(base: BaseModel) -> list[torch.nn.Module]:
    """Return the layers of the decoder, from the first; raises ``ModelError`` where it lists none."""
    count = base.model.config.get_text_config().num_hidden_layers
    for module in base.model.get_decoder().modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return list(module)
    raise ModelError(f"{base.summary.name_or_path}: its decoder layers cannot be told; take --method full")
