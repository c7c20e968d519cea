"""From a configuration to something that can train: data, base model, geometry, pack, facts.

The geometry is found once, when a study is made, and handed back in by every later worker. It
depends on the data and the space alone, never on how many slots a worker has.
"""

from __future__ import annotations

import dataclasses
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ...errors import ModelError, shown
from ...study.budget import Budget
from ...study.config import ObjectiveConfig
from ...study.facts import Facts, Geometry
from .. import identity
from ..data.answers import answers_of
from ..data.dataset import TokenizedData, load_data
from ..machine import free_ram, process_memory
from ..out_of_memory import ran_out_of_memory
from .demand import demand_of, ways_to_train
from .determinism import compute_deterministically
from .device import dtype_note, find_device, stored_dtype
from .evaluation import EvalSet, mean_loss
from .groups import PASS_TOKENS
from .handed_on import environment, found_before, tokens_of
from .model import BaseModel, folder_of, load_model, load_tokenizer
from .pack import Pack
from .paying import most_that_pays
from .probe import measure, meter_of
from .quantized import quantization_note
from .rank_groups import rank_groups
from .recomputing import recompute_activations
from .room import SLOTS_GPU, measured, predicted, takes_twice, with_process
from .selfcheck import check_pack
from .speed import measure_speed
from .stream import LENGTH_MULTIPLE, LENGTH_MULTIPLE_CPU, Stream, micro_step_lengths
from .targets import features, resolve_targets, selects
from .trial_budget import budget_of

EVAL_ROWS = 8
RANK_MULTIPLE = 8
SLOTS_CPU = 8
"""Slots of a worker on a CPU: past this, a single core gains nothing (benchmarks/slots.py)."""


@dataclasses.dataclass(kw_only=True)
class Prepared:
    """Everything a session trains with."""

    facts: Facts
    """What was found, for the study."""
    base: BaseModel
    """The base model, with the pack's hooks on it."""
    data: TokenizedData
    """The data."""
    pack: Pack
    """An empty pack of K slots."""
    eval_sets: dict[int, EvalSet]
    """Evaluation sets by size."""


def prepare(config: ObjectiveConfig) -> Prepared:
    """Load data and model, check that they can be packed, and measure the base model.

    What another worker of this run found on such a device is taken from it. Raises ``DataError``,
    ``ModelError`` or ``BudgetError``.
    """
    device = find_device(config.model.device)
    if config.deterministic:
        compute_deterministically(device)
    found = found_before(config, device)
    data = None if found is None else tokens_of(found, config)
    tokenizer = load_tokenizer(config.model) if data is None else None
    available, before = free_memory(str(device)), process_memory()
    dtype = config.model.dtype
    if config.geometry is not None:
        dtype = stored_dtype(dtype, device, config.geometry.dtype)
    base = load_model(dataclasses.replace(config.model, dtype=dtype))
    if data is None:
        data = load_examples(config, base, tokenizer)
    summary = data.summary if found is None else found.data
    budget = budget_of(
        config,
        train=len(data.train),
        validation=len(data.validation),
        records=summary.records,
        bad=summary.bad,
        first=summary.bad_records[0] if summary.bad else None,
    )
    targets = resolve_targets(base.model, config.lora_targets)
    geometry = config.geometry or _geometry(config, base, data, budget, targets, available)
    if geometry.targets != targets or geometry.dtype != _dtype_name(base):
        raise ModelError(
            f"{config.model.name_or_path}: its layers or number type ({_dtype_name(base)}) are not those the "
            f"study was made with ({geometry.dtype}); give the same model, --dtype and device"
        )
    if geometry.gradient_checkpointing:
        recompute_activations(base)
    # Not again on the same processor; a GPU is another card.
    if found is None or base.device.type != "cpu":
        # After activations are recomputed: a dropout of the base's own that is on again is found.
        check_pack(base, geometry)
    eval_sets = {
        size: EvalSet(data.validation, size, geometry.eval_rows, base.device)
        for size in {budget.eval_examples, budget.final_eval_examples}
    }
    demand = demand_of(base, geometry, budget, data, dropout=config.dropout)
    pass_tokens = PASS_TOKENS[base.device.type] if config.pass_tokens is None else config.pass_tokens
    held = predicted(demand, pass_tokens, available)
    # Of the study's own seed: for others the padded lengths need not be long enough.
    order = Stream(data.train.lengths, budget, config.seed).round(0)
    process = 0
    if base.device.type == "cpu":
        # Interpreter, libraries and data; the weights are counted by themselves.
        process = max(0, process_memory() - demand.weights)
        held = with_process(held, process, before)
    meter = meter_of(base.device)
    if meter is not None and config.slots is None:
        seen = measure(base, geometry, data, order, eval_sets, meter, dropout=config.dropout)
        held = measured(held, seen, demand, pass_tokens)
    slots = config.slots or max(1, min(held.slots_max, SLOTS_CPU if base.device.type == "cpu" else SLOTS_GPU))
    if config.pass_tokens is None:
        # Memory may take fewer at once than keep the device busy.
        pass_tokens = min(pass_tokens, max(1, held.together) * demand.tokens)
    known = None if found is None else found.rows_per_second
    # A recording keeps activations of its own; what is computed again in a backward pass has none.
    # Which passes are replayed differs after an interruption, which may not change the last bits then.
    replay = (
        base.device.type == "cuda"
        and not config.deterministic
        and not geometry.gradient_checkpointing
        and takes_twice(held, slots)
    )

    def attempt(trials: int, *, brief: bool) -> tuple[Pack, float] | None:
        def rate(pack: Pack) -> float:
            # What one worker's process took, another's on the same processor takes; a GPU is another card.
            if known is not None and base.device.type == "cpu":
                return known
            return measure_speed(pack, data, order, geometry, pass_tokens, known, brief=brief)

        fixed = config.slots is not None
        return _attempt(base, geometry, trials, rate, fixed=fixed, replay=replay)

    rates = {} if found is None else dict(found.rates)
    if meter is not None and config.slots is None:
        slots, rates = most_that_pays(slots, lambda trials: _rate(attempt(trials, brief=True)))
    while (made := attempt(slots, brief=False)) is None:
        slots //= 2
    pack, rows_per_second = made
    if base.device.type == "cuda" and known is None and not rates:
        rates[1] = measure_speed(pack, data, order, geometry, pass_tokens, trials=1, brief=True)
    rates = {trials: rate for trials, rate in rates.items() if trials < pack.slots}
    final = eval_sets[budget.final_eval_examples]
    if found is None:
        losses, correct = _measure_base(base, geometry, final)
        base_losses, base_loss = tuple(losses[0].tolist()), mean_loss(losses[0], final.target_tokens)
        answers = answers_of(data, final.size, tokenizer, base_correct=tuple(correct[0].tolist()))
    else:
        base_losses, base_loss, answers = found.base_losses, found.base_loss, found.answers
    files = _digests(config, base)
    facts = Facts(
        geometry=geometry,
        budget=budget,
        data=summary,
        model=dataclasses.replace(
            base.summary, files=files, adapter_features=_adapter_features(config, base, targets)
        ),
        memory=dataclasses.replace(
            held,
            parts=demand.parts(
                slots=pack.slots,
                pass_tokens=pass_tokens,
                # A GPU's own libraries are no part of what is counted there.
                context=process,
            ),
            methods=ways_to_train(base, demand, context=process),
        ),
        pass_tokens=pass_tokens,
        base_loss=base_loss,
        base_losses=base_losses,
        eval_tokens=final.target_tokens,
        rows_per_second=rows_per_second,
        rates=(*sorted(rates.items()), (pack.slots, rows_per_second)) if rates else (),
        environment=environment(quantized=base.summary.bits is not None),
        slots=pack.slots,
        answers=answers,
        notes=tuple(
            note
            for note in (
                dtype_note(dtype, base.device),
                quantization_note(base.summary.bits, base.device),
                _replay_note(pack),
            )
            if note
        ),
    )
    return Prepared(facts=facts, base=base, data=data, pack=pack, eval_sets=eval_sets)


def _measure_base(
    base: BaseModel, geometry: Geometry, examples: EvalSet
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the base model's losses and right tokens, by a pack of no layers: adding zeros takes time."""
    bare = Pack(base, dataclasses.replace(geometry, targets=()), 1)
    try:
        return examples.losses_and_correct(bare, slice(0, 1))
    finally:
        bare.close()


def _adapter_features(config: ObjectiveConfig, base: BaseModel, targets: tuple[str, ...]) -> dict[str, int]:
    """Return, for each target that may be tried, what goes into and comes out of its layers, added up."""
    shapes = {name: sum(features(base.model.get_submodule(name))) for name in targets}
    return {
        target: sum(size for name, size in shapes.items() if selects(target, name))
        for target in config.lora_targets
    }


def _digests(config: ObjectiveConfig, base: BaseModel) -> identity.Digests:
    folder = folder_of(config.model, base.summary.revision)
    try:
        return identity.digests(folder, Path(config.cache_dir) if config.cache_dir else None)
    except OSError as error:
        raise ModelError(f"{error.filename or folder}: {error.strerror or error}") from error


def load_examples(config: ObjectiveConfig, base: BaseModel, tokenizer: Any) -> TokenizedData:
    """Tokenize, no longer than the model can read, and with no token that it does not have."""
    # A multimodal model's own configuration does not say it; that of its text part does.
    shape = base.model.config.get_text_config()
    context = getattr(shape, "max_position_embeddings", None) or config.data.cutoff_len
    cutoff = min(config.data.cutoff_len, context)
    cache = Path(config.cache_dir) if config.cache_dir else None
    data = load_data(dataclasses.replace(config.data, cutoff_len=cutoff), tokenizer, cache_dir=cache)
    highest = max(int(split.tokens.max(initial=0)) for split in (data.train, data.validation, data.test))
    if highest >= base.summary.vocab_size:
        raise _without_a_row(config.model.name_or_path, tokenizer, highest, base.summary.vocab_size)
    ids, tokens = _model_stops(base, tokenizer)
    endings = dataclasses.replace(data.summary.endings, model_ids=ids, model_tokens=tokens)
    return dataclasses.replace(data, summary=dataclasses.replace(data.summary, endings=endings))


def _model_stops(base: BaseModel, tokenizer: Any) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the ids of the tokens at which the model's generation stops, and their spellings."""
    generation = getattr(base.model, "generation_config", None)
    stops = getattr(generation, "eos_token_id", None)
    listed = [] if stops is None else stops if isinstance(stops, list | tuple) else [stops]
    ids = tuple(int(token) for token in listed)
    return ids, tuple(str(tokenizer.convert_ids_to_tokens(token)) for token in ids)


def _without_a_row(name: str, tokenizer: Any, token: int, rows: int) -> ModelError:
    """Return the complaint about a token of the data that the model's embedding has no row for."""
    there = len(tokenizer)
    return ModelError(
        f"{name}: the tokenizer has {there} tokens, but the model's embedding has {rows} rows, and the data "
        f"uses token {token} ({shown(tokenizer.convert_ids_to_tokens(token))}); if tokens were added, call "
        f"model.resize_token_embeddings({there}) and save the model, else restore its own tokenizer"
    )


def _geometry(
    config: ObjectiveConfig,
    base: BaseModel,
    data: TokenizedData,
    budget: Budget,
    targets: tuple[str, ...],
    available: int,
) -> Geometry:
    rank_max = -(-max(config.lora_ranks) // RANK_MULTIPLE) * RANK_MULTIPLE
    geometry = Geometry(
        rank_max=rank_max,
        micro_step_lengths=micro_step_lengths(
            data.train.lengths,
            budget,
            config.seed,
            LENGTH_MULTIPLE_CPU if base.device.type == "cpu" else LENGTH_MULTIPLE,
        ),
        eval_rows=EVAL_ROWS,
        targets=targets,
        dtype=_dtype_name(base),
        attn_implementation=config.model.attn_implementation,
        gradient_checkpointing=bool(config.model.gradient_checkpointing),
        rank_groups=rank_groups(rank_max),
    )
    if config.model.gradient_checkpointing is not None:
        return geometry
    # Recomputation costs about a third more time: only where not even one trial fits without it.
    demand = demand_of(base, geometry, budget, data, dropout=config.dropout)
    tight = predicted(demand, 1, available).slots_max < 1
    return dataclasses.replace(geometry, gradient_checkpointing=tight)


def _attempt(
    base: BaseModel,
    geometry: Geometry,
    slots: int,
    rate: Callable[[Pack], float],
    *,
    fixed: bool,
    replay: bool,
) -> tuple[Pack, float] | None:
    """Return a pack of so many slots and its rate; None where memory runs out with them.

    With one slot, or with as many as are ``fixed``, that is an error.
    """
    pack = None
    try:
        pack = Pack(base, geometry, slots)
        if replay:
            pack.replay_passes()
        return pack, rate(pack)
    except (RuntimeError, MemoryError) as error:
        if pack is not None:
            pack.close()
        if fixed or slots == 1 or not ran_out_of_memory(error):
            raise
        return None


def _rate(made: tuple[Pack, float] | None) -> float | None:
    """Return the examples per second of a pack that is not kept; None where there is none."""
    if made is None:
        return None
    pack, rate = made
    pack.close()
    return rate


def _replay_note(pack: Pack) -> str | None:
    if pack.replays is None or pack.replays.failed is None:
        return None
    return (
        f"training passes are not recorded for replay, so a small model trains slower: {pack.replays.failed}"
    )


def _dtype_name(base: BaseModel) -> str:
    return str(base.dtype).removeprefix("torch.")


def free_memory(device: str) -> int:
    """Return the bytes that are free on a device now."""
    if device.startswith("cuda") or (device == "auto" and torch.cuda.is_available()):
        return int(torch.cuda.mem_get_info(None if device in ("auto", "cuda") else device)[0])
    return free_ram()


def peak_memory(device: torch.device) -> int:
    """Return the most bytes this process has held on the device."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
