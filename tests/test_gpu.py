"""The program for a GPU runs at toy size on a CPU, every stage of it, to be whole when it is needed."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

PROGRAM = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu.py"

RESULTS = {
    "versions": {"libraries": 1, "device": 1},
    "right": {
        "self-check": 2,
        "pack against plain PEFT": 1,
        "alone and among others": 1,
        "kill -9 and resume": 1,
    },
    "shape_small": {"micro-step": 12},
    "shape_large": {"micro-step": 7},
    "plain": {"step": 6},
    "probes": {
        **{"ceilings": 1, "attention": 3, "baddbmm with out_dtype": 1, "head": 1, "norm": 1},
        **{"operators": 2, "graph capture": 1},
    },
    "sweep": {"micro-step": 4},
    "profile": {"operators": 2},
    "four_bit": {"micro-step": 3},
    "boundary": {"checkpoint": 1, "all checkpoints": 2, "evaluation": 1},
    "replay": {},
    "memory": {"at the longest micro-step": 1},
    "peers": {"whole trials": 2},
}
"""What each stage tells on a CPU, and how often; ``memory`` fills a GPU's memory and tells one more."""


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "LORATUNE_WHEELS"}
    return subprocess.run(
        [sys.executable, str(PROGRAM), *words],
        capture_output=True,
        text=True,
        check=False,
        env={**kept, "OMP_NUM_THREADS": "1", **environment},
    )


@pytest.fixture(scope="module", name="toy")
def run_at_toy_size(tmp_path_factory: pytest.TempPathFactory):
    output = tmp_path_factory.mktemp("gpu") / "output"
    done = run("--device=cpu", "--toy", f"--output={output}", "--seconds=3000")
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return done, lines, output


def skipped() -> dict[str, str]:
    """Return the stages that cannot run here, and why."""
    without = {} if importlib.util.find_spec("bitsandbytes") else {"four_bit": "bitsandbytes is not here"}
    return {"replay": "a CPU records nothing", **without}


def test_every_stage_is_done_or_says_why_it_is_skipped(toy) -> None:
    done, lines, output = toy
    ends = {line["stage"]: line for line in lines if "status" in line}
    assert list(ends) == list(RESULTS)
    for name, end in ends.items():
        said = [end, [line for line in lines if "failed" in line], (output / "logs.txt").read_text()[-3000:]]
        assert end["status"] == ("skipped" if name in skipped() else "done"), said
    assert {name: ends[name]["why"] for name in skipped()} == skipped()
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("stage", RESULTS)
def test_a_stage_tells_its_results(toy, stage: str) -> None:
    _, lines, _ = toy
    told = [line["result"] for line in lines if line["stage"] == stage and "result" in line]
    wanted = {} if stage in skipped() else RESULTS[stage]
    assert {name: told.count(name) for name in dict.fromkeys(told)} == wanted


def results(toy: Any, stage: str, result: str) -> list[dict[str, Any]]:
    return [line for line in toy[1] if line["stage"] == stage and line.get("result") == result]


def test_on_a_cpu_what_must_be_the_same_is_the_same(toy) -> None:
    (resumed,) = results(toy, "right", "kill -9 and resume")
    assert 0 < resumed["killed_after_rounds"] < 8 * resumed["trials"]
    assert (resumed["lost"], resumed["doubled"], resumed["losses_differ_by"]) == (0, 0, 0.0)
    (alone,) = results(toy, "right", "alone and among others")
    assert set(alone["losses_differ_by"].values()) == {0.0}
    (peft,) = results(toy, "right", "pack against plain PEFT")
    assert max(peft["eval_loss_differs"].values()) <= 1e-4


def test_the_parts_of_a_micro_step_are_all_of_it(toy) -> None:
    for found in results(toy, "shape_small", "micro-step") + results(toy, "shape_large", "micro-step"):
        parts = found["forward_ms"] + found["head_ms"] + found["backward_ms"]
        assert 0 < parts <= 1.2 * found["micro_step_ms"] + 1, found
        assert min(found["forward_ms"], found["head_ms"], found["backward_ms"]) > 0


def test_a_profile_of_the_heaviest_cases_lies_beside_the_results(toy) -> None:
    _, _, output = toy
    for shape in ("0.5B", "8B"):
        assert "Self CPU" in (output / f"profile-{shape}.txt").read_text()
    for found in results(toy, "profile", "operators"):
        assert 0 < sum(found["heaviest"].values()) <= 1.001


def test_the_aims_stand_beside_what_was_measured(toy) -> None:
    _, _, output = toy
    table = (output / "table.md").read_text().partition("what it aims at")[2]
    lines = [line for line in table.splitlines() if " at " in line]
    assert len(lines) == 6
    unmeasured = [line.split(" | ")[2] == "not measured" for line in lines]
    assert unmeasured == [False, True, False, False, False, True], "a toy has no long example, and no peak"


def test_all_that_runs_unasked_fits_into_nine_minutes(load_benchmark) -> None:
    gpu = load_benchmark("gpu")
    assert sum(stage.seconds for stage in gpu.STAGES if not stage.by_name) <= gpu.SECONDS < 540


def packed(**values: Any) -> dict[str, Any]:
    given = {"stage": "sweep", "shape": "0.5B", "trials": 8, "groups_of": 4, "rows": 4, "length": 512}
    return {**given, "ms_a_trial": 20.0, "layer_tflops": 100.0, "estimate_of_peak": 1.1, **values}


def test_an_aim_counts_the_best_number_of_trials_for_each_batch_and_the_worst_batch(load_benchmark) -> None:
    aims = load_benchmark("gpu").table.aims
    plain = {"stage": "plain", "shape": "0.5B", "rows": 4, "length": 512, "ms_a_trial": 120.0}
    large = {**plain, "shape": "8B", "ms_a_trial": 200.0}
    found = aims(
        [
            {"stage": "probes", "bf16_tflops": 400.0},
            *(plain, {**plain, "rows": 1, "ms_a_trial": 100.0}, {**plain, "rows": 16}, large),
            *(packed(), packed(trials=1, ms_a_trial=150.0), packed(rows=1, ms_a_trial=10.0)),
            packed(rows=16, ms_a_trial=100.0, layer_tflops=200.0),
            packed(shape="8B", ms_a_trial=180.0, layer_tflops=160.0, estimate_of_peak=0.8),
            packed(shape="8B", ms_a_trial=210.0, layer_tflops=160.0, checkpointed=True),
            {**plain, "length": 2048},
            *(packed(length=2048, ms_a_trial=80.0), packed(length=2048, trials=1, ms_a_trial=100.0)),
        ]
    )
    assert [one["measured"] for one in found] == [6.0, 1.5, 1.11, 0.5, 0.4, 0.2]
    assert [one["met"] for one in found] == [True, False, True, True, False, False]
    assert {one["measured"] for one in aims([])} == {"not measured"}


def test_an_aim_counts_a_step_as_it_is_replayed_where_it_was_recorded(load_benchmark) -> None:
    table = load_benchmark("gpu").table
    plain = {"stage": "plain", "shape": "0.5B", "rows": 4, "length": 512, "ms_a_trial": 120.0}
    replayed = packed(replayed_ms_a_trial=10.0, replayed_tflops=150.0)
    slower = packed(trials=1, replayed_ms_a_trial=30.0, replayed_tflops=50.0)
    assert [one["times"] for one in table.compare([plain, replayed, slower])] == [12.0, 4.0]
    ceiling = {"stage": "probes", "bf16_tflops": 300.0}
    assert [one["measured"] for one in table.aims([ceiling, replayed])][3] == 0.5
    assert [one["measured"] for one in table.aims([ceiling, slower])][3] == 0.167


def test_the_table_comes_last_and_says_that_a_toys_figures_mean_nothing(toy) -> None:
    done, _, output = toy
    table = done.stdout[done.stdout.rindex('{"stage"') :].split("\n", 1)[1]
    assert table.strip() == (output / "table.md").read_text().strip()
    assert "toy sizes: no figure means anything" in table
    for stage in RESULTS:
        assert f"\n| {stage} | " in table
    assert "beside plain PEFT" in table


# Around the stages

STAGES = """
import argparse, json, os, sys, time
parser = argparse.ArgumentParser()
for name in ("--stage", "--device", "--results", "--folder"):
    parser.add_argument(name)
given = parser.parse_args()
def tell(**said):
    os.write(int(given.results), (json.dumps({"stage": given.stage, **said}) + "\\n").encode())
if given.stage == "falls":
    tell(result="one", ms=1.0)
    sys.exit("the last line")
if given.stage == "hangs":
    tell(result="one", ms=1.0)
    time.sleep(600)
if given.stage == "skips":
    tell(skipped="there is none")
if given.stage == "half":
    tell(result="one", failed="RuntimeError: no")
    tell(result="two", ms=2.0)
if given.stage == "works":
    tell(result="one", ms=3.0)
"""


@pytest.fixture(name="runner")
def make_runner(load_benchmark, tmp_path: Path):
    gpu = load_benchmark("gpu")
    program = tmp_path / "stages.py"
    program.write_text(STAGES)
    given = argparse.Namespace(device="cpu", toy=False, seconds=600.0)

    def make(**changes: Any) -> Any:
        arguments = argparse.Namespace(**{**vars(given), **changes})
        return gpu.Runner(arguments, tmp_path, dict(os.environ), program)

    make.stage = lambda name, seconds=100: gpu.Stage(name=name, seconds=seconds, question="?")
    return make


@pytest.mark.parametrize(
    ("name", "seconds", "status", "why"),
    [
        ("falls", 100, "failed", "exit code 1: the last line"),
        ("hangs", 2, "failed", "ended after its 2 s"),
        ("skips", 100, "skipped", "there is none"),
        ("half", 100, "failed", "1 of its results failed"),
        ("works", 100, "done", None),
    ],
)
def test_the_end_of_a_stage_is_told(runner, name: str, seconds: int, status: str, why: str | None) -> None:
    end = runner().run(runner.stage(name, seconds=seconds))
    assert (end["status"], end.get("why")) == (status, why)


def test_a_stage_that_fails_or_hangs_stops_no_other_and_keeps_what_it_said(runner) -> None:
    run = runner()
    for name, seconds in (("falls", 100), ("hangs", 2), ("works", 100)):
        run.run(runner.stage(name, seconds=seconds))
    assert [end["status"] for end in run.ends] == ["failed", "failed", "done"]
    assert [(one["stage"], one["result"]) for one in run.results] == [
        ("falls", "one"),
        ("hangs", "one"),
        ("works", "one"),
    ]


def test_without_time_left_a_stage_is_dropped(runner) -> None:
    end = runner(seconds=1.0).run(runner.stage("works"))
    assert (end["status"], end["why"]) == ("dropped", "no time was left")


# A bare machine


def make_wheel(folder: Path, name: str, version: str, *needs: str) -> Path:
    file = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {need}" for need in needs]
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{name.replace('-', '_')}-{version}.dist-info/METADATA", "\n".join(lines) + "\n")
    return file


def test_what_wheels_need_in_turn_is_looked_for_and_what_is_missing_is_named(
    load_benchmark, tmp_path: Path
) -> None:
    bare = load_benchmark("gpu").bare
    first = make_wheel(tmp_path, "not-here", "1.2", "not-here-either>=2", "nowhere; extra == 'all'", "torch")
    second = make_wheel(tmp_path, "not-here-either", "2.0", "missing-for-good>3")
    wheels = {"not-here": first, "not-here-either": second}
    missing, unpack = bare.needs(["not-here>=1", "pytest"], wheels)
    assert missing == ["missing-for-good>3"]
    assert unpack == [first, second]


def test_a_wheel_too_old_is_missing_with_the_version_that_there_is(load_benchmark, tmp_path: Path) -> None:
    bare = load_benchmark("gpu").bare
    wheel = make_wheel(tmp_path, "not-here", "1.2")
    assert bare.needs(["not-here>=2"], {"not-here": wheel}) == (["not-here>=2 (there is 1.2)"], [])
    assert bare.needs(["pytest>=900"], {})[0][0].startswith("pytest>=900 (there is ")


def test_all_that_the_package_needs_is_asked_for(load_benchmark) -> None:
    bare = load_benchmark("gpu").bare
    assert bare.needs(bare._required(PROGRAM.parents[1]), {}) == ([], [])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_line() -> None:
    done = run()
    assert done.returncode == 1
    assert done.stderr.startswith("gpu.py: missing: a GPU (")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_folder_of_wheels_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = run("--device=cpu", f"--wheels={tmp_path / 'none'}")
    assert done.returncode == 1
    assert done.stderr == f"gpu.py: missing: the folder of wheels {tmp_path / 'none'}\n"
