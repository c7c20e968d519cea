"""Every benchmark is a command that explains itself, and what it computes beside measuring is right."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from loratune.spaces.presets import PRESETS
from loratune.storage.records import Evaluation

Load = Callable[[str], ModuleType]
FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_benchmark_says_how_it_is_called(
    load_benchmark: Load, script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # some set it; it is put back
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as ended:
        load_benchmark(script.removesuffix(".py")).main()
    assert ended.value.code == 0
    assert f"python benchmarks/{script}" in capsys.readouterr().out


def test_a_benchmark_with_real_data_skips_where_there_is_none(
    load_benchmark: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    throughput = load_benchmark("throughput")
    monkeypatch.setattr(throughput, "REAL_DATA", tmp_path / "nothing.jsonl")
    monkeypatch.setattr(sys, "argv", ["throughput.py", "--real"])
    throughput.main()
    assert capsys.readouterr().out.startswith("skipped: ")


def test_configurations_are_drawn_once_without_repeats_and_trial_0_leads(load_benchmark: Load) -> None:
    draw = load_benchmark("throughput").draw
    tiny = PRESETS["tiny"]
    drawn = draw(tiny.space, tiny.default, 40, 7, 2e-2)
    assert drawn[0] == tiny.default
    assert len(set(drawn)) == 40
    assert drawn == draw(tiny.space, tiny.default, 40, 7, 2e-2)
    assert drawn != draw(tiny.space, tiny.default, 40, 8, 2e-2)
    assert all(3e-4 <= params.learning_rate <= 2e-2 for params in drawn)
    for params in drawn:
        tiny.space.encode(params)


def test_the_same_losses_are_averaged_as_trainer_does(load_benchmark: Load) -> None:
    as_trainer_reports = load_benchmark("throughput").as_trainer_reports
    losses = np.array([2.0, 4.0, 9.0], dtype=np.float32)
    evaluation = Evaluation(losses=losses, tokens=np.array([1, 2, 3]))
    # Batches of two: (2 + 4) / (1 + 2) = 2 and 9 / 3 = 3, whatever their sizes.
    assert as_trainer_reports(evaluation, 2) == pytest.approx(2.5)
    assert as_trainer_reports(evaluation, 3) == pytest.approx(evaluation.loss)


def test_the_grid_spans_the_range_evenly_in_log(load_benchmark: Load) -> None:
    rates = load_benchmark("learning_rate_grid").rates(3e-4, 1e-1)
    assert len(rates) == 5
    assert rates[0] == pytest.approx(3e-4)
    assert rates[-1] == pytest.approx(1e-1)
    steps = np.diff(np.log(rates))
    assert np.allclose(steps, steps[0])
