"""What a search would do, before it does: examples, steps, share of a full run, memory, hours.

Pure, but for the count of this process's cores: from a configuration and a worker's facts to plain values.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ..objectives.memory import HEADROOM
from ..reports.data_words import cut_note
from ..spaces.dimension import Dimension
from ..spaces.params import LoraParams, value_of
from ..spaces.presets import PRESETS
from ..study.facts import Facts
from ..study.full_run import EPOCHS
from ..study.memory import RULE_BYTES, MethodMemory
from ..study.stop_tokens import stops_differ
from ..study.study_config import StudyConfig
from ..study.work import EVAL_COST, passes_beside
from .durations import at_once, speed, steps_seconds
from .pace import Pace
from .trainer_file import OwnRun

METHOD_BITS = 4
"""Bits of the base that QLoRA is reckoned for."""

WAITING = 0.4
"""Of all trials, how many wait for a place at the same time at most, where trials wait (docs/log.md)."""

STATE_BYTES = 12
"""Of each trained weight in a training state: the weight itself and Adam's two moments, in float32."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What a search would do."""

    config: StudyConfig
    """What would be searched, fitted to the data."""
    facts: Facts
    """What was found of model, data and machine."""
    trials: int
    """Trials in all."""
    workers: int
    """Worker processes."""
    earlier: str | None = None
    """What an earlier study gives to it, or could, in a sentence."""
    own: OwnRun | None = None
    """What the user trains with today; None where no file of their trainer was given."""
    pace: Pace | None = None
    """How fast a search of this model and data went before; None where there was none."""

    def values(self) -> dict[str, Any]:
        """Return the plan as plain values: examples, steps, memory, hours."""
        values = plan_values(
            self.config, self.facts, trials=self.trials, workers=self.workers, pace=self.pace
        )
        own = None if self.own is None else {**self.own.values(), "notes": [*self.own.notes, *self._wider()]}
        return {**values, "earlier": self.earlier, "own": own}

    def _wider(self) -> list[str]:
        """Say what the user's own configuration has made wider or longer than the preset has it."""
        if self.own is None:
            return []
        usual, space = PRESETS[self.config.preset].space, self.config.space
        wider = [
            f"{name} {words}"
            for name, words in space.describe()
            if (one := usual[name]) != space[name] and _outside(one, self.own.params)
        ]
        said = [f"the preset was widened to hold it: {'; '.join(wider)}"] if wider else []
        most, largest = usual.batch_sizes()[-1], space.batch_sizes()[-1]
        if largest > most and self.own.params.batch_size == largest:
            said.append(
                f"every trial is as long as its batch of {largest} takes, where else {most} is the largest; "
                "--examples says another length"
            )
        return said


def _outside(dimension: Dimension, params: LoraParams) -> bool:
    """Return whether a configuration lies outside of a preset's dimension."""
    value = value_of(params, dimension.name)
    return dimension.holding(value) != dimension


def plan_values(
    config: StudyConfig, facts: Facts, *, trials: int, workers: int, pace: Pace | None = None
) -> dict[str, Any]:
    """Return the plan of a study as plain values, for ``--json``."""
    budget, data, model, memory = facts.budget, facts.data, facts.model, facts.memory
    # No configuration is trained twice, so a search ends where there are no more.
    trials = min(trials, config.space.size or trials)
    share = config.pruner.trained_share(trials)
    evaluated = budget.eval_examples * (len(budget.rungs) - 1) + budget.final_eval_examples
    seen = trials * share * budget.examples
    measured = passes_beside(config.objective, facts, budget.final_eval_examples)
    ends = trials * config.pruner.finishing_share(trials)
    rows = seen + EVAL_COST * (trials * share * evaluated + ends * measured)
    steps = () if config.ladder is None else config.ladder.planned(trials)
    if config.ladder is not None:
        most = config.ladder.searching / budget.examples
        rows = min(rows, most * (budget.examples + EVAL_COST * (evaluated + measured)))
        seen = min(seen, config.ladder.searching) + config.ladder.examples - config.ladder.searching
    together = at_once(facts, trials=trials, workers=workers)
    per_second = speed(facts, trials=together, workers=workers)
    seconds = rows / per_second
    if config.ladder is not None:
        # Each trial of a step is evaluated at its end and after its fourth round.
        beside = EVAL_COST * (budget.eval_examples + budget.final_eval_examples + measured)
        seconds += steps_seconds(config.ladder, steps, facts, workers=workers, beside=beside)
    if pace is not None:  # it has evaluations in it
        seconds = seen / pace.examples_per_second
    examples = data.train + data.validation + data.test
    shorter = data.cutoff_len < config.objective.data.cutoff_len
    cut = cut_note(data.truncated, examples, data.cutoff_len, is_context=shorter)
    return {
        "model": {
            "name_or_path": model.name_or_path,
            "revision": model.revision,
            "architecture": model.architecture,
            "parameters": model.parameters,
            "device": model.device_name,
            "gpu": model.on_gpu,
            "dtype": facts.geometry.dtype,
            "bits": model.bits,
            "adapted_layers": len(facts.geometry.targets),
            "gradient_checkpointing": facts.geometry.gradient_checkpointing,
        },
        "data": {
            "file": config.objective.data.train,
            "files": [one.path for one in config.objective.data.train_files],
            "format": data.format,
            "template": data.template,
            "records": data.records,
            "train": data.train,
            "validation": data.validation,
            "test": data.test,
            "bad": data.bad,
            "bad_records": [dataclasses.asdict(bad) | {"where": bad.where} for bad in data.bad_records],
            "duplicates": data.duplicates,
            "cutoff_len": data.cutoff_len,
            "context_is_shorter": shorter,
            "truncated": data.truncated,
            "ends_lost": data.ends_lost,
            "reasons": [dataclasses.asdict(reason) for reason in data.reasons],
            "shortened": None if data.shortened is None else dataclasses.asdict(data.shortened),
            "columns": [dataclasses.asdict(use) for use in data.columns],
            "median_tokens": data.length_quantiles[2],
            "longest_tokens": data.length_quantiles[4],
            "rendered": data.rendered,
            "rendered_cut": data.rendered_cut,
            "endings": dataclasses.asdict(data.endings),
            "stops_differ": stops_differ(data.endings),
        },
        "space": dict(config.space.describe()),
        "preset": config.preset,
        "sampler": config.sampler.spelled,
        "pruner": config.pruner.spelled,
        "trials": trials,
        "examples_in_all": None if config.ladder is None else config.ladder.examples,
        "steps": [
            {"trials": step.count, "examples": step.examples, "epochs": step.examples / data.train}
            for step in steps
        ],
        "examples": budget.examples,
        "epochs": budget.examples / data.train,
        "share_of_full_run": budget.examples / (EPOCHS * data.train),
        "optimizer_steps": {str(size): budget.steps(size) for size in budget.batch_sizes},
        "eval_examples": budget.eval_examples,
        "final_eval_examples": budget.final_eval_examples,
        "notes": [*([cut] if cut else []), *budget.notes, *facts.notes],
        "workers": workers,
        "slots": facts.slots,
        "at_once": together,
        "memory_bytes": {
            "base_model": memory.base_bytes,
            "slot": memory.slot_bytes,
            "process": memory.worker_bytes,
            "worker": memory.held(facts.slots),
            "available": memory.available_bytes,
        },
        "waiting_bytes": _waiting_bytes(config, facts, trials),
        "methods": _methods(config, facts),
        "recommended": _recommended(config, facts),
        "base_loss": facts.base_loss,
        "examples_per_second": per_second if pace is None else pace.examples_per_second,
        "hours": seconds / 3600,
        "hours_as_in": None if pace is None else pace.study,
    }


def _waiting_bytes(config: StudyConfig, facts: Facts, trials: int) -> int | None:
    """Return what the states of trials that wait may take on disk; None where none do or it is not known."""
    adapters = [one.trained for one in facts.memory.methods if one.name == "lora"]
    if not config.pruner.pausing or not adapters:
        return None
    return round(WAITING * trials) * STATE_BYTES * adapters[0]


def _possible(config: StudyConfig, facts: Facts) -> tuple[MethodMemory, ...]:
    """Return the ways of training that there are: weights that lie there in few bits leave adapters alone."""
    as_it_lies = facts.model.bits if config.objective.model.quantization_bit is None else None
    return tuple(
        one
        for one in facts.memory.methods
        if as_it_lies is None or (as_it_lies == METHOD_BITS and one.name == "qlora")
    )


def _methods(config: StudyConfig, facts: Facts) -> list[dict[str, Any]]:
    """Return what each way of training the model would take, part by part, beside a rule of thumb."""
    room = _room(facts)
    return [
        {
            "name": one.name,
            "trained_weights": one.trained,
            "bytes": dataclasses.asdict(one.parts),
            "peak_bytes": one.parts.peak,
            "rule_of_thumb_bytes": round(RULE_BYTES[one.name] * facts.model.parameters),
            "fits": one.parts.peak <= room,
        }
        for one in _possible(config, facts)
    ]


def _recommended(config: StudyConfig, facts: Facts) -> str | None:
    """Return the method that is advised: LoRA where it fits, else on a base of 4 bits; None where none fits.

    Every weight at once may be a little better and costs many times as much, and is not what is searched.
    """
    fitting = {one.name for one in _possible(config, facts) if one.parts.peak <= _room(facts)}
    return next((name for name in ("lora", "qlora") if name in fitting), None)


def _room(facts: Facts) -> float:
    """Return the bytes that may be used: what was free, less what is left for holes between tensors."""
    return facts.memory.available_bytes * (1 - HEADROOM)
