"""A GPU's slots are counted from what one and two of them were seen to hold; here the meter is pretended."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from loratune.objectives.training import preparation, probe
from loratune.objectives.training.pack import Pack
from loratune.objectives.training.preparation import prepare
from loratune.objectives.training.probe import Footprint, fit
from loratune.objectives.training.speed import measure_speed
from loratune.study.config import DataConfig, ObjectiveConfig
from trained_trials import make_config

GIB = 2**30
OUT_OF_MEMORY = torch.OutOfMemoryError("CUDA out of memory")


@pytest.fixture(name="config")
def make_probed_config(tiny_model: Path, tiny_data: Path) -> ObjectiveConfig:
    return make_config(tiny_model, tiny_data, lora_targets=("all",), slots=None)


class PretendedMeter:
    """Says that a worker holds a base and so many bytes for each slot of the pack that was made last.

    Of its slots ``most`` run, and ``pays`` are worth it.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        *,
        base: int,
        slot: int,
        most: int = 99,
        says: Exception = OUT_OF_MEMORY,
        pays: int = 99,
    ) -> None:
        self.packs: list[int] = []
        self.lengths: list[tuple[int, ...]] = []
        self.resets = 0
        self._base, self._slot = base, slot
        meter = self

        class Watched(Pack):
            def __init__(self, base: object, geometry: object, slots: int) -> None:
                super().__init__(base, geometry, slots)
                if geometry.targets:  # the base model alone is measured without adapters
                    meter.packs.append(slots)

            def accumulate(self, batch: object, dropout: object, rows: slice | None = None) -> torch.Tensor:
                if self.slots > most:
                    raise says
                meter.lengths.append(tuple(batch.tokens.shape))
                return super().accumulate(batch, dropout, rows)

        monkeypatch.setattr(probe, "Pack", Watched)
        monkeypatch.setattr(preparation, "Pack", Watched)
        monkeypatch.setattr(preparation, "meter_of", lambda device: self)

        def as_fast_as_many(pack: Pack, *args: object, brief: bool) -> float:
            measure_speed(pack, *args, brief=brief)
            return float(min(pack.slots, pays))

        monkeypatch.setattr(preparation, "measure_speed", as_fast_as_many)

    def reset(self) -> None:
        self.resets += 1

    def peak(self) -> int:
        return self._base + self.packs[-1] * self._slot


def test_two_peaks_make_a_line() -> None:
    assert fit(weights=100, one=130, two=155) == Footprint(once_bytes=105, slot_bytes=25, fits_two=True)


def test_a_worker_is_never_thought_to_hold_less_than_its_weights() -> None:
    # The second slot cost more than the first beside the weights: the first ran in what was left over.
    assert fit(weights=100, one=120, two=160) == Footprint(once_bytes=100, slot_bytes=20, fits_two=True)


def test_a_second_slot_that_costs_nothing_still_counts_for_something() -> None:
    assert fit(weights=100, one=130, two=130).slot_bytes == 1


def test_where_two_do_not_fit_one_has_all_that_it_added() -> None:
    assert fit(weights=100, one=130, two=None) == Footprint(once_bytes=100, slot_bytes=30, fits_two=False)


@pytest.mark.parametrize(("free", "slots"), [(10 * GIB, 6), (20 * GIB, 14), (100 * GIB, 32), (2 * GIB, 1)])
def test_slots_are_chosen_from_what_was_seen(
    config: ObjectiveConfig, monkeypatch: pytest.MonkeyPatch, free: int, slots: int
) -> None:
    PretendedMeter(monkeypatch, base=2 * GIB, slot=GIB)
    monkeypatch.setattr(preparation, "free_memory", lambda device: free)
    monkeypatch.setattr(preparation, "process_memory", lambda: 0)
    monkeypatch.setattr(preparation, "SLOTS_CPU", 32)
    facts = prepare(config).facts
    assert facts.slots == slots
    assert facts.memory.slot_bytes == GIB
    assert facts.memory.base_bytes + facts.memory.worker_bytes == 2 * GIB


def test_one_and_two_slots_live_the_longest_micro_step(
    config: ObjectiveConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    records = [{"instruction": "a" * (number % 100 + 1), "output": str(number)} for number in range(150)]
    data = tmp_path / "lengths.jsonl"
    data.write_text("\n".join(map(json.dumps, records)))
    config = dataclasses.replace(config, data=DataConfig(train=str(data), cutoff_len=128))
    meter = PretendedMeter(monkeypatch, base=2 * GIB, slot=GIB)
    monkeypatch.setattr(preparation, "free_memory", lambda device: 5 * GIB)
    monkeypatch.setattr(preparation, "process_memory", lambda: 0)
    prepared = prepare(config)
    longest = max(prepared.facts.geometry.micro_step_lengths)
    assert min(prepared.facts.geometry.micro_step_lengths) < longest
    m = prepared.facts.budget.micro_batch
    assert meter.packs == [1, 2, 1, prepared.facts.slots, prepared.facts.slots]
    # And once more with all slots in use, before the time is taken.
    slots = prepared.facts.slots
    assert meter.lengths[:2] == [(m, longest), (2 * m, longest)]
    assert (slots * m, longest) in meter.lengths[2:]
    assert meter.resets == 3
    assert not bool(prepared.pack.params.any())
    assert not bool(prepared.pack.exp_avg.any())


@pytest.mark.parametrize("says", [OUT_OF_MEMORY, RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED")])
def test_where_two_slots_run_out_of_memory_one_is_used(
    config: ObjectiveConfig, monkeypatch: pytest.MonkeyPatch, says: Exception
) -> None:
    PretendedMeter(monkeypatch, base=GIB, slot=GIB, most=1, says=says)
    monkeypatch.setattr(preparation, "free_memory", lambda device: 100 * GIB)
    prepared = prepare(config)
    assert prepared.facts.slots == prepared.pack.slots == 1


@pytest.mark.parametrize(
    "says", [OUT_OF_MEMORY, RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")]
)
def test_slots_are_halved_until_they_run(
    config: ObjectiveConfig, monkeypatch: pytest.MonkeyPatch, says: Exception
) -> None:
    meter = PretendedMeter(monkeypatch, base=GIB, slot=GIB, most=2, says=says)
    monkeypatch.setattr(preparation, "free_memory", lambda device: 100 * GIB)
    prepared = prepare(config)
    assert meter.packs == [1, 2, 1, 2, 4, 2], "what was seen, what pays, what is used"
    assert prepared.facts.slots == prepared.pack.slots == 2


def test_no_more_slots_are_used_than_pay(config: ObjectiveConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = PretendedMeter(monkeypatch, base=GIB, slot=GIB, pays=3)
    monkeypatch.setattr(preparation, "free_memory", lambda device: 100 * GIB)
    prepared = prepare(config)
    assert meter.packs == [1, 2, 1, 2, 4, 8, 4], "eight were no faster than four"
    assert (prepared.facts.slots, prepared.facts.rows_per_second) == (4, 3.0)
    assert prepared.facts.rates == ((1, 1.0), (2, 2.0), (4, 3.0))
    assert prepared.facts.memory.slots_max > 8


def test_slots_that_the_user_chose_are_neither_probed_nor_halved(
    config: ObjectiveConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = PretendedMeter(monkeypatch, base=GIB, slot=GIB, most=2)
    with pytest.raises(torch.OutOfMemoryError):
        prepare(dataclasses.replace(config, slots=4))
    assert meter.packs == [4]
    meter = PretendedMeter(monkeypatch, base=GIB, slot=GIB)
    assert prepare(dataclasses.replace(config, slots=4)).facts.rates == (), "a CPU's number stands for all"


def test_any_other_error_is_not_taken_for_a_lack_of_memory(
    config: ObjectiveConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = PretendedMeter(monkeypatch, base=GIB, slot=GIB, most=1, says=RuntimeError("no kernel image"))
    with pytest.raises(RuntimeError, match="no kernel image"):
        prepare(config)
    assert meter.packs == [1, 2]


def test_memory_that_does_not_hold_one_slot_is_an_error(
    config: ObjectiveConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    PretendedMeter(monkeypatch, base=GIB, slot=GIB, most=0)
    with pytest.raises(torch.OutOfMemoryError):
        prepare(config)


def test_a_cpu_is_not_probed(config: ObjectiveConfig) -> None:
    assert probe.meter_of(torch.device("cpu")) is None
    assert isinstance(probe.meter_of(torch.device("cuda", 0)), probe.CudaMeter)


def test_a_worker_on_a_cpu_counts_its_own_process(
    config: ObjectiveConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = iter([300 * 2**20, 500 * 2**20])  # as it begins, and with model and data
    monkeypatch.setattr(preparation, "process_memory", lambda: next(held))
    monkeypatch.setattr(preparation, "free_memory", lambda device: 8 * GIB)
    facts = prepare(config).facts
    memory = facts.memory
    assert memory.available_bytes == 8 * GIB + 300 * 2**20
    assert memory.parts is not None
    assert memory.parts.context == 500 * 2**20 - memory.base_bytes
    once = memory.base_bytes + memory.worker_bytes - 500 * 2**20
    assert 0 <= once < memory.slot_bytes, "what is there once beside the process is a part of one micro-step"
    # What each slot adds is the same for all of them, but for the head, which they pass one by one.
    assert memory.held(facts.slots) == pytest.approx(memory.parts.peak, rel=0.1)
