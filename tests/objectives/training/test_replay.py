"""When a pass is recorded, told by a pretended recording; a real one needs a GPU (benchmarks/gpu.py)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from loratune.objectives.training import replay
from loratune.objectives.training.replay import Replays, same_but_for_rounding


class Recorded:
    """What was recorded, and into which memory."""

    made: list[tuple[tuple[int, ...], Any]]

    def __init__(self, run: Any, tokens: torch.Tensor, pool: Any) -> None:
        run(tokens)
        self.shape = tuple(tokens.shape)
        Recorded.made.append((self.shape, pool))


@pytest.fixture(autouse=True)
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    Recorded.made = []
    pools = iter(range(10))
    monkeypatch.setattr(replay, "Replay", Recorded)
    monkeypatch.setattr(replay.torch.cuda, "graph_pool_handle", lambda: next(pools))


def tokens(rows: int, length: int) -> torch.Tensor:
    return torch.zeros(rows, length, dtype=torch.long)


def test_a_shape_is_recorded_when_it_comes_for_the_third_time() -> None:
    replays = Replays(lambda given: given)
    first = [replays.of(tokens(8, 16), 2) for _ in range(3)]
    assert first[:2] == [None, None]
    assert isinstance(first[2], Recorded)
    assert replays.of(tokens(8, 16), 2) is first[2]
    assert Recorded.made == [((8, 16), 0)]


def test_as_many_rows_of_more_trials_are_another_recording_in_the_same_memory() -> None:
    replays = Replays(lambda given: given)
    made = [[replays.of(tokens(8, 16), trials) for _ in range(3)][-1] for trials in (2, 4)]
    assert made[0] is not made[1]
    assert [pool for _, pool in Recorded.made] == [0, 0]


def test_a_pass_that_keeps_a_gpu_busy_is_never_recorded() -> None:
    replays = Replays(lambda given: given)
    large = tokens(64, replay.MOST_TOKENS // 64 + 1)
    assert [replays.of(large, 16) for _ in range(5)] == [None] * 5


def test_no_more_shapes_are_recorded_than_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MOST_SHAPES", 1)
    replays = Replays(lambda given: given)
    made = [[replays.of(tokens(4, length), 1) for _ in range(4)][-1] for length in (16, 24)]
    assert isinstance(made[0], Recorded)
    assert made[1] is None


@pytest.mark.parametrize(
    "error", [RuntimeError("not permitted when\nstream is capturing"), torch.OutOfMemoryError("full")]
)
def test_where_recording_fails_passes_run_as_they_are_and_it_is_said(error: Exception) -> None:
    def fails(_given: torch.Tensor) -> torch.Tensor:
        raise error

    replays = Replays(fails)
    assert [replays.of(tokens(8, 16), 2) for _ in range(5)] == [None] * 5
    assert replays.failed == " ".join(str(error).split())


def test_after_a_failure_nothing_that_was_recorded_before_is_replayed() -> None:
    runs = iter([None, RuntimeError("full")])

    def second_fails(_given: torch.Tensor) -> None:
        outcome = next(runs)
        if outcome is not None:
            raise outcome

    replays = Replays(second_fails)
    for length in (16, 24):
        for _ in range(3):
            replays.of(tokens(8, length), 2)
    assert replays.failed == "full"
    assert replays.of(tokens(8, 16), 2) is None


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_a_recorded_pass_must_compute_what_it_recorded(dtype: torch.dtype, rounding: float) -> None:
    torch.manual_seed(0)
    expected = torch.randn(4, 8, 16)
    assert same_but_for_rounding((expected * (1 + rounding)).to(dtype), expected.to(dtype))
    assert not same_but_for_rounding((expected * (1 + 20 * rounding)).to(dtype), expected.to(dtype))
    assert not same_but_for_rounding(expected.flip(0).to(dtype), expected.to(dtype))


def test_a_trial_that_diverges_does_not_keep_its_neighbours_from_being_replayed() -> None:
    expected = torch.ones(4, 8, 16)
    expected[1] = float("nan")
    expected[2, 0] = float("inf")
    assert same_but_for_rounding(expected.clone(), expected)
    assert not same_but_for_rounding(torch.where(torch.isfinite(expected), 2.0, expected), expected)
