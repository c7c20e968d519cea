"""Every benchmark is a command that explains itself, and what it computes beside measuring is right."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from loratune.spaces.presets import PRESETS
from loratune.study.records import Evaluation

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


def peer_result(began: float, ended: float, **trials: float) -> dict[str, object]:
    return {
        **{"began": began, "ended": ended, "imports": 1.0, "model": 1.0, "tokens": 1.0, "threads": 1},
        "device_peak": None,
        "trials": {name[1:]: {"losses": [9.0, loss], "seconds": 1.0} for name, loss in trials.items()},
    }


def test_processes_side_by_side_count_from_the_first_begin_to_the_last_end(load_benchmark: Load) -> None:
    throughput = load_benchmark("throughput")
    seen = throughput.Watched(wall=20.0, cpu=30.0, peak_pss=1, peak_rss=2)
    results = [peer_result(100.0, 110.0, t1=1.5, t2=2.5), peer_result(101.0, 114.0, t0=0.5)]
    side = throughput.merged(results, seen, 3)
    assert side.seconds == pytest.approx(14.0)
    assert side.losses == (0.5, 1.5, 2.5)


@pytest.mark.parametrize("second", [{"t1": 1.0}, {"t0": 1.0, "t2": 1.0}, {}])
def test_a_trial_that_the_peers_left_out_or_did_twice_ends_the_measurement(
    load_benchmark: Load, second: dict[str, float]
) -> None:
    throughput = load_benchmark("throughput")
    seen = throughput.Watched(wall=20.0, cpu=30.0, peak_pss=1, peak_rss=2)
    with pytest.raises(SystemExit, match="not the same work"):
        throughput.merged([peer_result(0.0, 1.0, t0=1.0), peer_result(0.0, 1.0, **second)], seen, 3)


def test_a_trial_is_taken_by_one_process_alone(load_benchmark: Load, tmp_path: Path) -> None:
    claim = load_benchmark("trainer_peer").claim
    assert [claim(tmp_path, number) for number in (0, 1, 0, 1, 2)] == [True, True, False, False, True]


def test_the_claim_is_against_the_peer_that_took_the_least_time(load_benchmark: Load) -> None:
    throughput = load_benchmark("throughput")

    def side(seconds: float) -> object:
        seen = throughput.Watched(wall=seconds + 5, cpu=seconds, peak_pss=1, peak_rss=2)
        return throughput.Side(watched=seen, seconds=seconds, losses=(), start="")

    paces = {"one": (30.0, 31.0, 90.0), "two": (33.0, 35.0, 34.0)}
    rounds = [
        throughput.Round(ours=side(10.0), peers={name: side(own[number]) for name, own in paces.items()})
        for number in range(3)
    ]
    said = throughput.report("demo", 8, rounds)
    assert said.splitlines()[-1].startswith(
        "against one, the strongest of them: 3.10 (rounds: 3.00, 3.10, 9.00)"
    )


def test_the_strongest_peer_is_looked_for_among_threads_and_processes(load_benchmark: Load) -> None:
    throughput = load_benchmark("throughput")
    arguments = throughput.make_parser().parse_args(["--strongest"])
    shapes = [(peer.processes, peer.threads) for peer in throughput.peers_of(arguments, 2)]
    assert shapes == [(1, 2), (1, 1), (2, 1)]
    one = throughput.make_parser().parse_args(["--peer-processes", "2", "--peer-threads", "1"])
    assert [peer.name for peer in throughput.peers_of(one, 2)] == ["Trainer, 2 processes of 1 thread"]


def test_orchestration_is_booked_by_its_parts_in_a_small_study(load_benchmark: Load, tmp_path: Path) -> None:
    orchestration = load_benchmark("orchestration")
    account = orchestration.search(tmp_path / "tune.db", 12, (12,), quick=False)
    assert account.trials == 12
    assert set(account.hundreds) == {0}
    spent = account.hundreds[0]
    assert set(spent) == {*orchestration.PARTS, "worker"}
    assert min(spent.values()) > 0
    said = orchestration.table(account, (100,))
    assert len(said.splitlines()) == 3
    wall, own = orchestration.resumed(tmp_path / "tune.db")
    assert wall > 0
    assert own > 0


def test_what_the_sampler_forgets_changes_no_loss_of_a_short_study(load_benchmark: Load) -> None:
    orchestration = load_benchmark("orchestration")
    said = orchestration.proposals(1, (100,)).splitlines()
    _, _, bounded, whole, *_ = (cell.strip() for cell in said[2].strip("|").split("|"))
    assert bounded == whole


SWEEP = """model,learning_rate,lora_rank,test_nll
one/Small-4B,1e-4,4,1.0
one/Small-4B,1e-3,4,0.6
one/Small-4B,1e-4,16,0.8
one/Small-4B,1e-4,16,0.9
one/Small-4B,1e-3,16,0.5
two/Large-70B,1e-4,4,0.4
two/Large-70B,1e-3,4,0.7
two/DeepSeek-V3.1,1e-4,4,0.3
two/DeepSeek-V3.1,1e-3,4,0.9
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.csv"
    path.write_text(SWEEP)
    return path


def test_a_regret_is_read_between_the_measured_rates_and_ranks(load_benchmark: Load, sweep: Path) -> None:
    small, large, _ = load_benchmark("priors").read(sweep)
    assert small.regret(1e-3, 16) == 0
    assert small.regret(1e-4, 16) == pytest.approx(0.35)  # two runs of it: their mean
    assert small.regret(1e-4 * 10**0.5, 4) == pytest.approx(0.3)
    assert small.regret(1e-3, 8) == pytest.approx(0.05)
    assert large.regret(1e-4, 64) == 0
    # Below the least rate the nearest, above the greatest a run has diverged.
    assert large.regret(1e-5, 4) == 0
    assert small.regret(1.1e-3, 16) == pytest.approx(0.5)


def test_models_are_sized_by_their_names(load_benchmark: Load, sweep: Path) -> None:
    assert [model.billions for model in load_benchmark("priors").read(sweep)] == [4, 70, 671]


def test_a_fitted_candidate_does_not_see_the_model_that_it_is_scored_on(
    load_benchmark: Load, sweep: Path
) -> None:
    priors = load_benchmark("priors")
    small, *_ = models = priors.read(sweep)
    seen: list[list[str]] = []

    def make(others: list[object], factor: float) -> Callable[[object], float]:
        seen.append([model.name for model in others])  # type: ignore[attr-defined]
        return lambda _: 1e-4

    found = priors.regrets(priors.Candidate(name="x", rank=4, make=make), models, 1.0)
    assert [set(names) | {name} for names, name in zip(seen, found, strict=True)] == [set(found)] * 3
    assert all(name not in names for names, name in zip(seen, found, strict=True))
    # Both large models want the low rate: the small one is told what they want.
    fitted = priors.regrets(priors.Candidate(name="y", rank=4, make=priors.fitted_constant(4)), models, 1.0)
    assert fitted[small.name] == (pytest.approx(1e-5), pytest.approx(0.5))


def test_a_rate_for_a_small_batch_stands_for_more_at_a_large_one(
    load_benchmark: Load, sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["priors.py", str(sweep), "--json", "--batch-size", "32"])
    load_benchmark("priors").main()
    found = json.loads(capsys.readouterr().out)
    rate, regret = found["0.0"]["5e-04, rank 16"]["one/Small-4B"]
    assert rate == 5e-4
    assert regret > 0
    # The square root of 128 / 32 is 2: 5e-4 is 1e-3 there, the best.
    assert found["0.5"]["5e-04, rank 16"]["one/Small-4B"][1] == pytest.approx(0)


def test_the_table_of_priors_has_every_candidate_and_model(
    load_benchmark: Load, sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["priors.py", str(sweep)])
    load_benchmark("priors").main()
    shown = capsys.readouterr().out
    assert shown.count("2e-4, large 1e-4, rank 16") == 4
    assert all(name in shown for name in ("Small-4B", "Large-70B", "DeepSeek-V3.1"))
    monkeypatch.setattr(sys, "argv", ["priors.py", str(sweep), "--below", "10"])
    with pytest.raises(SystemExit, match="fewer than two models"):
        load_benchmark("priors").main()


@pytest.fixture(name="peer")
def pretend_llamafactory(load_benchmark: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Pretend an installed LLaMA-Factory that notes the configuration files that it is called with."""
    throughput = load_benchmark("throughput")
    peer = sys.modules[throughput.llamafactory_side.__module__]
    package = tmp_path / "site" / "llamafactory"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "cli.py").write_text(
        "import sys, shutil, pathlib\n"
        "command, file = sys.argv[1:]\n"
        "assert command == 'train'\n"
        f"shutil.copy(file, pathlib.Path({str(tmp_path)!r}) / pathlib.Path(file).name)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr(peer.importlib.metadata, "version", lambda _: "0.9.5")
    return peer


def test_llamafactory_trains_each_configuration_in_a_process_of_its_own(
    load_benchmark: Load, peer: ModuleType, tmp_path: Path
) -> None:
    throughput = load_benchmark("throughput")
    words = ["--trials=3", "--examples=96", "--eval-examples=16"]
    job = throughput.job_of(throughput.make_parser().parse_args(words), "model", tmp_path / "data.jsonl")
    side = peer.llamafactory_side(job, 2)
    assert side.losses == ()
    assert side.seconds == side.watched.wall > 0
    for number, values in enumerate(job["configs"]):
        written = yaml.safe_load((tmp_path / f"trial-{number}.yaml").read_text())
        assert written["learning_rate"] == pytest.approx(values["learning_rate"])
        assert written["lora_rank"] == values["lora_rank"]
        assert written["max_steps"] * written["per_device_train_batch_size"] == 96
        assert written["output_dir"].endswith(f"out-{number}")


def test_llamafactory_is_refused_in_a_line_where_it_cannot_be_measured(
    load_benchmark: Load, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    throughput = load_benchmark("throughput")
    alpaca = {"instruction": "a", "output": "b"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert throughput.why_not(96, alpaca).startswith("LLaMA-Factory is not installed here")
    monkeypatch.undo()
    request.getfixturevalue("peer")
    assert throughput.why_not(None, alpaca).startswith("--llamafactory needs --examples")
    assert "alpaca's fields" in throughput.why_not(96, {"messages": []})
    assert throughput.why_not(96, alpaca) is None
