"""How many micro-steps are thrown away to say how fast a worker is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loratune.objectives.training import speed
from loratune.objectives.training.pack import Pack
from loratune.objectives.training.preparation import Prepared, prepare
from loratune.objectives.training.stream import Stream
from trained_trials import make_config


@pytest.fixture(scope="module", name="prepared")
def make_prepared(tiny_model: Path, tiny_data: Path) -> Iterator[Prepared]:
    found = prepare(make_config(tiny_model, tiny_data, lora_targets=("all",), slots=2))
    yield found
    found.pack.close()


@pytest.mark.parametrize(
    ("seconds", "known", "trials"),
    [(0.01, None, [1, 2, 2, 2, 2]), (0.1, None, [1, 2]), (9.0, None, [1]), (0.1, 7.5, [2])],
)
def test_the_longer_a_micro_step_takes_the_fewer_trials_say_how_fast_it_is(
    prepared: Prepared,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    known: float | None,
    trials: list[int],
) -> None:
    time, lengths, tried = [0.0], [], []
    real = Pack.accumulate
    geometry, budget = prepared.facts.geometry, prepared.facts.budget
    order = Stream(prepared.data.train.lengths, budget, 0).round(0)

    def takes(pack: Pack, batch: Any, dropout: Any, rows: Any) -> Any:
        time[0] += seconds
        lengths.append(batch.tokens.shape[1])
        tried.append(batch.tokens.shape[0] // budget.micro_batch)
        return real(pack, batch, dropout, rows)

    monkeypatch.setattr(Pack, "accumulate", takes)
    monkeypatch.setattr(speed.time, "perf_counter", lambda: time[0])
    found = speed.measure_speed(prepared.pack, prepared.data, order, geometry, 0, known)
    assert tried == trials
    assert lengths[0] == max(geometry.micro_step_lengths)
    assert prepared.pack.active == 0
    rows = budget.micro_batch
    shorter = sum(geometry.micro_step_lengths) / len(geometry.micro_step_lengths) / lengths[0]
    expected = {0.01: 2 * rows / 0.01, 0.1: 2 * rows / 0.1, 9.0: rows / 9.0 / shorter}
    assert found == pytest.approx(known or expected[seconds])
