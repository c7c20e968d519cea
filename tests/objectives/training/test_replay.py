"""When a pass is recorded, told by a pretended recording; a real one needs a GPU (benchmarks/gpu.py)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from loratune.objectives.training import replay
from loratune.objectives.training.replay import Replays, allowed, apart

GRADIENTS = torch.zeros(2, 4)


class Recorded:
    """What was recorded, and into which memory."""

    made: list[tuple[tuple[int, ...], Any]]

    def __init__(
        self, run: Any, tokens: torch.Tensor, _gradients: torch.Tensor, pool: Any, beside: Any
    ) -> None:
        run(tokens)
        self.shape = tuple(tokens.shape)
        Recorded.made.append((self.shape, (pool, beside)))


@pytest.fixture(autouse=True)
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    Recorded.made = []
    pools, streams = iter(range(10)), iter(range(10))
    monkeypatch.setattr(replay, "Replay", Recorded)
    monkeypatch.setattr(replay.torch.cuda, "graph_pool_handle", lambda: next(pools))
    monkeypatch.setattr(replay.torch.cuda, "Stream", lambda _device: next(streams))


def tokens(rows: int, length: int) -> torch.Tensor:
    return torch.zeros(rows, length, dtype=torch.long)


def test_a_shape_is_recorded_when_it_comes_for_the_third_time() -> None:
    replays = Replays(lambda given: given, GRADIENTS)
    first = [replays.of(tokens(8, 16), (0, 2)) for _ in range(3)]
    assert first[:2] == [None, None]
    assert isinstance(first[2], Recorded)
    assert replays.of(tokens(8, 16), (0, 2)) is first[2]
    assert Recorded.made == [((8, 16), (0, 0))]


def test_as_many_rows_of_other_trials_are_another_recording_in_the_same_place() -> None:
    replays = Replays(lambda given: given, GRADIENTS)
    made = [[replays.of(tokens(8, 16), rows) for _ in range(3)][-1] for rows in ((0, 2), (0, 4), (2, 4))]
    assert len(set(map(id, made))) == 3
    assert [where for _, where in Recorded.made] == [(0, 0)] * 3


def test_a_pass_that_keeps_a_gpu_busy_is_never_recorded() -> None:
    replays = Replays(lambda given: given, GRADIENTS)
    large = tokens(64, replay.MOST_TOKENS // 64 + 1)
    assert [replays.of(large, (0, 16)) for _ in range(5)] == [None] * 5


def test_of_more_shapes_than_the_most_the_one_that_was_not_used_longest_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replay, "MOST_SHAPES", 2)
    monkeypatch.setattr(replay, "UNUSED", 3)
    replays = Replays(lambda given: given, GRADIENTS)

    def come(length: int) -> Any:
        return [replays.of(tokens(4, length), (0, 1)) for _ in range(3)][-1]

    first, second = come(16), come(24)
    assert replays.of(tokens(4, 16), (0, 1)) is first
    third = come(32)
    assert replays.of(tokens(4, 16), (0, 1)) is first
    assert replays.of(tokens(4, 32), (0, 1)) is third
    assert replays.of(tokens(4, 24), (0, 1)) is None, "it has to come again as if it were new"
    assert come(24) is not second


def test_more_shapes_in_turn_than_are_kept_are_not_recorded_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replay, "MOST_SHAPES", 2)
    replays = Replays(lambda given: given, GRADIENTS)
    for _ in range(10):
        found = [replays.of(tokens(4, length), (0, 1)) for length in (16, 24, 32)]
    assert [one is not None for one in found] == [True, True, False]
    assert len(Recorded.made) == 2


@pytest.mark.parametrize(
    "error", [RuntimeError("not permitted when\nstream is capturing"), torch.OutOfMemoryError("full")]
)
def test_where_recording_fails_passes_run_as_they_are_and_it_is_said(error: Exception) -> None:
    def fails(_given: torch.Tensor) -> torch.Tensor:
        raise error

    replays = Replays(fails, GRADIENTS)
    assert [replays.of(tokens(8, 16), (0, 2)) for _ in range(5)] == [None] * 5
    assert replays.failed == " ".join(str(error).split())


def test_after_a_failure_nothing_that_was_recorded_before_is_replayed() -> None:
    runs = iter([None, RuntimeError("full")])

    def second_fails(_given: torch.Tensor) -> None:
        outcome = next(runs)
        if outcome is not None:
            raise outcome

    replays = Replays(second_fails, GRADIENTS)
    for length in (16, 24):
        for _ in range(3):
            replays.of(tokens(8, length), (0, 2))
    assert replays.failed == "full"
    assert replays.of(tokens(8, 16), (0, 2)) is None


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_a_recorded_pass_must_compute_what_it_recorded(dtype: torch.dtype, rounding: float) -> None:
    torch.manual_seed(0)
    expected = torch.randn(4, 8, 16)
    assert apart((expected * (1 + rounding)).to(dtype), expected.to(dtype)) <= allowed(dtype)
    assert apart((expected * (1 + 20 * rounding)).to(dtype), expected.to(dtype)) > allowed(dtype)
    assert apart(expected.flip(0).to(dtype), expected.to(dtype)) > allowed(dtype)


def test_a_trial_that_diverges_does_not_keep_its_neighbours_from_being_replayed() -> None:
    expected = torch.ones(4, 8, 16)
    expected[1] = float("nan")
    expected[2, 0] = float("inf")
    assert apart(expected.clone(), expected) == 0
    assert apart(torch.where(torch.isfinite(expected), 2.0, expected), expected) > allowed(torch.float32)


@pytest.mark.parametrize("rows", [slice(0, 4), slice(2, 3)])
def test_a_recording_that_gives_no_numbers_is_found(rows: slice) -> None:
    broken = torch.ones(4, 8, 16)
    broken[rows] = float("nan")
    assert not apart(broken, torch.ones(4, 8, 16)) <= allowed(torch.float32)
