"""The pack: K trials train at once on one frozen base model, each of them one row of numbers.

Every wrapped linear layer of the base, ``y = W x``, becomes for the inputs of trial k

    y_k = W x_k + s_k · B_k A_k x_k          s_k = lora_alpha_k / lora_rank_k

W is in memory once and multiplies the rows of all trials together; A_k and B_k are views into
``params[K, P]``. Gradients are accumulated by the layer's own backward pass into ``grads[K, P]``,
the optimizer's moments are ``[K, P]`` as well, so pausing, moving and refilling a trial is copying
a row. A lower rank, or a layer that a trial does not train, is zeros: zero rows of A and B have
zero gradients and stay exactly zero. Products are taken to a trial's rank group (``rank_groups.py``).

The first ``active`` rows are in use. Nothing here knows of optimizers, schedules, data or files.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from ...errors import ModelError
from ...spaces.params import LoraParams
from ...study.facts import Geometry
from .attention import never_packed
from .batches import Batch
from .head import head_loss, next_tokens
from .layout import LayerSlice, RowLayout, RunViews
from .model import BaseModel
from .quantized import never_reads_output
from .rank_groups import Run, group_of, runs
from .replay import Replay, Replays
from .rng import initial_a
from .targets import features
from .update import Dropout, Pass, Update

_PLAIN = (torch.nn.Linear, Conv1D)
"""Layers whose output is an ordinary tensor, even where PyTorch made it as a view."""


class Pack:
    """K adapters on one frozen base model.

    Args:
        base: the base model; its wrapped layers get a forward hook until ``close``.
        geometry: which layers are wrapped, the rank of the pack, and to which ranks it computes.
        slots: K, the most trials at once.
    """

    def __init__(self, base: BaseModel, geometry: Geometry, slots: int) -> None:
        shapes = [(name, *features(base.model.get_submodule(name))) for name in geometry.targets]
        self.layout = RowLayout.of(shapes, geometry.rank_max)
        self.slots = slots
        self.active = 0
        self.params, self.grads, self.exp_avg, self.exp_avg_sq = (
            torch.zeros(slots, self.layout.width, device=base.device) for _ in range(4)
        )
        self.scales = torch.zeros(slots, device=base.device)
        self._rank_groups = geometry.rank_groups or (geometry.rank_max,)
        self.groups = [geometry.rank_max] * slots
        """``[K]`` the rank that each row is computed to; the highest, where no trial says less."""
        self._device = base.device
        self._decoder = base.model.get_decoder()
        self._head = base.model.get_output_embeddings()
        self._vocab_size = base.summary.vocab_size
        # Makes autograd call the adapters' backward where the layer's input needs no gradient.
        self._anchor = torch.zeros((), device=base.device, requires_grad=True)
        self.loss_factors: torch.Tensor | None = None
        """``[active]`` what each trial's gradient is multiplied by; None: nothing (``loss_scale.py``)."""
        self._idle = self._pass = Pass(rows=slice(0, 0), scales=self.scales[:0])
        self._views: dict[tuple[Run, ...], Mapping[str, tuple[RunViews, ...]]] = {}
        """Of the passes since the rows were filled otherwise."""
        self.replays: Replays | None = None
        """Where a GPU replays training passes that it has run before; the numbers are the same."""
        self._hooks = [
            base.model.get_submodule(layer.name).register_forward_hook(self._hook(layer))
            for layer in self.layout.layers
        ]

    def close(self) -> None:
        """Take the pack off the base model."""
        self.replays = None
        self._views.clear()
        for hook in self._hooks:
            hook.remove()

    def replay_passes(self) -> None:
        """From now on let a GPU replay the training passes of shapes that come again."""
        self.replays = Replays(self._hidden, self.grads)

    # Rows: one trial's whole training state.

    def add(self, params: LoraParams, seed: int) -> int:
        """Put a fresh trial into the next row; return the row.

        A starts as PEFT starts it, B at zero, so the trial starts as the base model.
        """
        row = self.active
        assert row < self.slots, "the pack is full"
        self.active += 1
        self.clear(row)
        self._regroup(row, group_of(params.lora_rank, self._rank_groups))
        for layer in self.layout.live(params):
            a = initial_a(seed, layer.name, params.lora_rank, layer.in_features)
            self.layout.a(self.params[row], layer)[: params.lora_rank] = a.to(self._device)
        self.scales[row] = params.scaling
        return row

    def fill(self) -> None:
        """Put all rows into use as they are: as the base model, where no trial was added."""
        self.active = self.slots

    def clear(self, row: int) -> None:
        """Set everything in a row to zero; it then computes as the base model does."""
        for rows in (self.params, self.grads, self.exp_avg, self.exp_avg_sq):
            rows[row].zero_()
        self.scales[row] = 0.0

    def remove(self, row: int) -> int | None:
        """Free a row; return the row that was moved into its place, None where it was the last in use."""
        last = self.active - 1
        if row != last:
            for rows in (self.params, self.grads, self.exp_avg, self.exp_avg_sq, self.scales):
                rows[row] = rows[last]
            self._regroup(row, self.groups[last])
        self.clear(last)
        self._regroup(last, self.layout.rank_max)
        self.active = last
        return last if row != last else None

    def arrange(self, together: Sequence[Any]) -> list[int]:
        """Bring rows next to each other that are alike, and of those the ones of a rank group.

        Args:
            together: ``[active]`` what is compared.

        Returns:
            ``[active]`` where each row was before.
        """
        order = sorted(range(self.active), key=lambda row: (together[row], self.groups[row]))
        groups = [self.groups[row] for row in order]
        for rows in (self.params, self.grads, self.exp_avg, self.exp_avg_sq, self.scales):
            moved: set[int] = set()
            for first in range(self.active):
                if first in moved or order[first] == first:
                    continue
                held = rows[first].clone()
                row = first
                while order[row] != first:
                    rows[row] = rows[order[row]]
                    moved.add(row)
                    row = order[row]
                rows[row] = held
                moved.add(row)
        for row, group in enumerate(groups):
            self._regroup(row, group)
        return order

    def _regroup(self, row: int, group: int) -> None:
        if self.groups[row] != group:
            self.groups[row] = group
            self._views.clear()

    # Computing: losses alone, or losses and gradients.

    def losses(self, batch: Batch, rows: slice, correct: torch.Tensor | None = None) -> torch.Tensor:
        """Return ``[n, m]`` the summed loss of each example for the trials in ``rows``, no dropout.

        Where ``correct`` ``[n · m]`` is given, each example's tokens that are the likeliest are added to it.
        """
        with torch.no_grad(), self._using(rows, [None] * (rows.stop - rows.start)):
            hidden = self._hidden(batch.tokens)
            losses, _ = head_loss(
                self._head,
                hidden,
                batch.supervised,
                vocab_size=self._vocab_size,
                want_gradient=False,
                correct=correct,
            )
        return losses

    def next_tokens(self, tokens: torch.Tensor, last: torch.Tensor, rows: slice) -> torch.Tensor:
        """Return ``[n · m]`` the likeliest token after the position ``last`` of each row of ``tokens``."""
        with torch.no_grad(), self._using(rows, [None] * (rows.stop - rows.start)):
            return next_tokens(self._head, self._hidden(tokens), last)

    def accumulate(
        self, batch: Batch, dropout: Sequence[Dropout | None], rows: slice | None = None
    ) -> torch.Tensor:
        """Add the gradients of the summed losses to ``grads``; return the losses ``[n, m]``.

        Args:
            batch: what the trials read, those in ``rows`` alone.
            dropout: ``[n]`` their dropout.
            rows: trials that lie together; all that are in use where it is left out.
        """
        rows = rows or slice(0, self.active)
        factors = None if self.loss_factors is None else self.loss_factors[rows]
        with self._using(rows, dropout):
            replay = self._replay(batch.tokens, dropout)
            hidden = self._hidden(batch.tokens) if replay is None else replay.forward(batch.tokens)
            losses, gradient = head_loss(
                self._head,
                hidden,
                batch.supervised,
                vocab_size=self._vocab_size,
                want_gradient=True,
                factors=factors,
            )
            if replay is None:
                hidden.backward(gradient)  # type: ignore[no-untyped-call]
            else:
                replay.backward(gradient)
        return losses

    def _replay(self, tokens: torch.Tensor, dropout: Sequence[Dropout | None]) -> Replay | None:
        """Return what replays the pass; None where it runs as it is. Dropout is drawn anew each time."""
        if self.replays is None or any(dropout):
            return None
        return self.replays.of(tokens, (self._pass.rows.start, self._pass.rows.stop, self._pass.rank))

    def _hidden(self, tokens: torch.Tensor) -> torch.Tensor:
        with never_packed():
            hidden: torch.Tensor = self._decoder(input_ids=tokens, use_cache=False).last_hidden_state
        return hidden

    @contextlib.contextmanager
    def _using(self, rows: slice, dropout: Sequence[Dropout | None]) -> Iterator[None]:
        """Let the hooks serve these rows for one forward and backward pass, and nothing after it."""
        cut = runs(self.groups, rows, together=self._device.type == "cuda")
        if cut not in self._views:
            self._views[cut] = {
                layer.name: tuple(self.layout.run(self.params, self.grads, layer, run) for run in cut)
                for layer in self.layout.layers
            }
        self._pass = Pass(
            rows=rows,
            dropout=dropout,
            scales=self.scales[rows, None, None],
            runs=cut,
            views=self._views[cut],
        )
        try:
            yield
        finally:
            self._pass = self._idle

    def _hook(self, layer: LayerSlice) -> Any:
        def add_update(module: torch.nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> Any:
            trials = self._pass.rows.stop - self._pass.rows.start
            if trials == 0:
                return output
            if args[0].numel() % (trials * layer.in_features):
                raise ModelError(f"{layer.name} does not receive all rows in order; it cannot be packed")
            if torch.is_grad_enabled() and args[0].requires_grad and not output.requires_grad:
                # Its part of the gradient would be missing from all layers below, without a word.
                raise ModelError(
                    f"{layer.name} has no backward pass, so the layers below it cannot be trained"
                )
            if type(module) not in _PLAIN and (output._is_view() or not never_reads_output(module)):
                # Its own backward may have made it as a view, or may need it as it was.
                output = output.clone()
            return Update.apply(  # type: ignore[no-untyped-call]
                output, args[0], self._anchor, layer, self._pass
            )

        return add_update
