"""The check at load: one tiny batch shows whether the pack trains this architecture rightly.

The pack runs the base's decoder and output head by itself and slips adapters in between, which is
right only if the model is put together as it assumes. What does not hold is refused in one line,
before a trial is made: a soft-capped or scaled head (Gemma 2, Cohere, Granite), a layer that is given
gathered tokens or never called, attention that looks ahead, a layer that computes but has no backward
pass, experts on a CPU.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional

from ...errors import LoratuneError, ModelError
from ...study.facts import Geometry
from .batches import Batch, Supervised
from .model import BaseModel
from .pack import Pack
from .targets import has_experts

SLOTS, ROWS, LENGTH = 3, 2, 16
TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 3e-2}
"""Largest relative difference that rounding alone can make, by number type of the base."""


def check_pack(base: BaseModel, geometry: Geometry) -> None:
    """Raise ``ModelError`` unless the pack computes what the model itself does, trial by trial.

    Checked on random tokens: the logits are the head's own output on the decoder's last hidden
    states; no position sees a later one; the losses of untouched slots are the model's; every
    wrapped layer receives all rows in order; changing one slot changes the losses and gradients of
    that slot alone. The base model is left as it was.
    """
    name = base.summary.name_or_path
    if not geometry.targets:
        raise ModelError(f"{name}: no layer would carry an adapter; choose another lora_target")
    if base.device.type == "cpu" and has_experts(base.model):
        # How many tokens an expert multiplies at once changes how a CPU rounds.
        raise ModelError(
            f"{name}: its experts gather the tokens of all trials, so on a CPU a trial's last digits would "
            "depend on its neighbours; use a GPU or choose a model without experts"
        )
    tolerance = TOLERANCE.get(base.dtype, max(TOLERANCE.values()))
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(base.summary.vocab_size, (SLOTS * ROWS, LENGTH), generator=generator)
    tokens = tokens.to(base.device)
    try:
        logits = _check_head(base, tokens)
        _check_no_look_ahead(base, tokens, logits, tolerance)
        pack = Pack(base, dataclasses.replace(geometry, rank_max=8, rank_groups=()), SLOTS)
        try:
            _check_slots(base, pack, tokens, logits, tolerance)
        finally:
            pack.close()
    except (LoratuneError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        if "does not have a deterministic implementation" in text:
            raise ModelError(
                f"{name}: {base.summary.architecture} cannot be trained with --deterministic on this GPU "
                f"({text}); leave the flag out"
            ) from error
        raise ModelError(
            f"{name}: {base.summary.architecture} cannot be packed ({type(error).__name__}: {text}); "
            "choose another model"
        ) from error


@torch.no_grad()
def _check_head(base: BaseModel, tokens: torch.Tensor) -> torch.Tensor:
    """Refuse logits that are not plainly head(last hidden state); return them, ``[rows, T, vocab]``."""
    head = base.model.get_output_embeddings()
    decoder = base.model.get_decoder()
    if not isinstance(head, torch.nn.Module) or decoder is None or decoder is base.model:
        raise _refused(base, "its decoder and output head cannot be told apart")
    seen: dict[str, torch.Tensor] = {}

    def widen(_module: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        seen["in"] = args[0]
        return (args[0] * 64, *args[1:])  # a soft cap barely bends small logits

    def keep(_module: Any, _args: Any, output: torch.Tensor) -> None:
        seen["out"] = output.clone()

    hooks = [head.register_forward_pre_hook(widen), head.register_forward_hook(keep)]
    try:
        widened = base.model(input_ids=tokens, use_cache=False).logits
    finally:
        for hook in hooks:
            hook.remove()
    hidden = decoder(input_ids=tokens, use_cache=False).last_hidden_state
    logits: torch.Tensor = base.model(input_ids=tokens, use_cache=False).logits.float()
    if not bool(torch.isfinite(logits).all()):
        dtype = str(base.dtype).removeprefix("torch.")
        raise ModelError(
            f"{base.summary.name_or_path}: its logits are not finite in {dtype}; "
            + ("give --dtype float32" if base.dtype != torch.float32 else "download the model again")
        )
    if "out" not in seen or not _close(seen["in"], hidden, TOLERANCE[torch.float32]):
        again = decoder(input_ids=tokens, use_cache=False).last_hidden_state
        if not _close(again, hidden, TOLERANCE[torch.float32]):
            raise _refused(base, "it computes something else each time (dropout that is on, or noise)")
        raise _refused(base, "its output head does not read the decoder's last hidden states")
    if seen["out"].shape != widened.shape or not torch.equal(seen["out"].float(), widened.float()):
        raise _refused(base, "its logits are changed after the output head (a soft cap or a scale)")
    return logits


@torch.no_grad()
def _check_no_look_ahead(
    base: BaseModel, tokens: torch.Tensor, logits: torch.Tensor, tolerance: float
) -> None:
    """Refuse a model whose earlier positions see later tokens: padding would change its losses."""
    half = LENGTH // 2
    changed = tokens.clone()
    changed[:, half:] = (changed[:, half:] + 1) % base.summary.vocab_size
    other = base.model(input_ids=changed, use_cache=False).logits.float()
    if not _close(other[:, :half], logits[:, :half], tolerance):
        raise _refused(base, "a token's prediction depends on later tokens")


def _check_slots(
    base: BaseModel, pack: Pack, tokens: torch.Tensor, logits: torch.Tensor, tolerance: float
) -> None:
    """Hold the pack's losses against the model's logits, and each slot against its neighbours."""
    batch = _batch(tokens)
    pack.fill()
    with _watched(base, pack) as shapes:
        losses = pack.losses(batch, slice(0, SLOTS))
    for layer in pack.layout.layers:
        wanted = (SLOTS * ROWS, LENGTH, layer.in_features)
        if not shapes[layer.name]:
            raise _refused(base, f"the layer {layer.name} is never called", layer.name)
        if any(shape != wanted for shape in shapes[layer.name]):
            raise _refused(base, f"the layer {layer.name} does not receive all rows in order", layer.name)
    own = functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), reduction="none"
    ).view(SLOTS, ROWS, -1)
    if not _close(losses, own.sum(dim=2), tolerance):
        raise _refused(base, "its losses under the pack are not those of its own forward pass")

    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(SLOTS + 1, pack.layout.width, generator=generator) * 0.02
    pack.scales.fill_(1.0)
    pack.params.copy_(noise[:SLOTS])
    with _backward_watched(base):
        before, grads_before = _measured(pack, batch)
    pack.params[1] = noise[SLOTS].to(pack.params)
    after, grads_after = _measured(pack, batch)
    for slot in range(SLOTS):
        same = _close(after[slot], before[slot], tolerance)
        same_gradient = _close(grads_after[slot], grads_before[slot], tolerance)
        if slot == 1 and (torch.equal(after[slot], before[slot]) or not bool(grads_after[slot].any())):
            raise _refused(base, "an adapter has no effect on its own trial")
        if slot != 1 and not (same and same_gradient):
            raise _refused(base, "one trial's adapter changes another trial")


def _measured(pack: Pack, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the losses ``[K, m]`` and gradients ``[K, P]`` of a batch."""
    pack.grads.zero_()
    losses = pack.accumulate(batch, [None] * SLOTS)
    return losses.clone(), pack.grads.clone()


def _batch(tokens: torch.Tensor) -> Batch:
    """Return random tokens as a batch of which every token but the first of a row is a target."""
    rows = torch.arange(SLOTS * ROWS, device=tokens.device)
    positions = torch.arange(tokens.numel(), device=tokens.device).view(tokens.shape)
    return Batch(
        tokens=tokens,
        supervised=Supervised(
            positions=positions[:, :-1].flatten(),
            labels=tokens[:, 1:].flatten(),
            rows=rows.repeat_interleave(LENGTH - 1),
            counts=(ROWS * (LENGTH - 1),) * SLOTS,
        ),
        real_tokens=(ROWS * LENGTH,) * SLOTS,
    )


@contextlib.contextmanager
def _watched(base: BaseModel, pack: Pack) -> Iterator[dict[str, list[tuple[int, ...]]]]:
    """Note the shape of whatever each wrapped layer is given."""
    shapes: dict[str, list[tuple[int, ...]]] = {layer.name: [] for layer in pack.layout.layers}
    hooks = []
    for name, into in shapes.items():

        def note(_module: Any, args: tuple[torch.Tensor, ...], into: list[tuple[int, ...]] = into) -> None:
            into.append(tuple(args[0].shape))

        hooks.append(base.model.get_submodule(name).register_forward_pre_hook(note))
    try:
        yield shapes
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def _backward_watched(base: BaseModel) -> Iterator[None]:
    """Refuse a module with weights that lets no gradient through, adapted or not.

    Kernels made for inference (FP8, MXFP4) compute the right output and leave it off the tape: whatever
    lies below would train on a gradient with that part missing.
    """

    def look(name: str, module: torch.nn.Module) -> Any:
        def check(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            given = [value for value in (*args, *kwargs.values()) if _is_float(value)]
            made = [
                value for value in (output if isinstance(output, tuple) else (output,)) if _is_float(value)
            ]
            if any(value.requires_grad for value in given) and made and not made[0].requires_grad:
                kind = type(module).__name__
                raise _refused(base, f"the layer {name} ({kind}) has no backward pass")

        return check

    inside = set(base.model.get_decoder().modules())
    hooks = [
        # Before the pack's own hook, which would put the output back on the tape.
        module.register_forward_hook(look(name, module), with_kwargs=True, prepend=True)
        for name, module in base.model.named_modules()
        # What has no weights, as a rotary embedding, may take the states for their shape alone.
        if module in inside and (hasattr(module, "in_features") or any(True for _ in module.parameters()))
    ]
    try:
        with torch.enable_grad():
            yield
    finally:
        for hook in hooks:
            hook.remove()


def _is_float(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _close(one: torch.Tensor, other: torch.Tensor, tolerance: float) -> bool:
    """Say whether two tensors are equal but for rounding, measured against their greatest entry."""
    if one.shape != other.shape:
        return False
    size = float(other.float().abs().max())
    return float((one.float() - other.float()).abs().max()) <= tolerance * size


def _refused(base: BaseModel, why: str, layer: str = "") -> ModelError:
    """Return the error that says why, and what can be done."""
    cure = f"leave {layer.rpartition('.')[2]} out of lora_target" if layer else "choose another model"
    return ModelError(
        f"{base.summary.name_or_path}: {why} in {base.summary.architecture}, so it cannot be packed; {cure}"
    )
