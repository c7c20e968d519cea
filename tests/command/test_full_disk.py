"""A disk that fills up in the middle of a search costs nothing but the time until there is space again."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from loratune.storage.store import Store


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, leave: int) -> Path:
    """Fill a disk but for so many bytes."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        # The search writes at the same time: what it has taken meanwhile is not left to be filled.
        while (left := shutil.disk_usage(folder).free - leave) > 0:
            try:
                file.write(bytes(min(left, 2**20)))
            except OSError as error:
                assert error.errno == errno.ENOSPC  # noqa: PT017
                break
    return ballast


@pytest.mark.parametrize("leave", [0, 300_000], ids=["full", "nearly full"])
def test_a_disk_that_fills_up_during_a_search_ends_it_in_one_line_and_loses_nothing(
    begin, tune, small, small_disk, tmp_path, leave
):
    def rounds() -> int:
        try:
            with Store.open(str(small_disk / "tune.db"), mode="read") as store:
                return sum(len(store.curve(study.id)) for study in store.studies())
        except Exception:
            return 0

    search = begin(
        "search", "--trials=4", "--study=full", f"--storage={small_disk / 'tune.db'}", "--pruner=none", *small
    )
    search.wait_for(lambda: rounds() >= 3, "3 rounds")
    ballast = fill(small_disk, leave)
    assert search.end() == 1, search.said
    assert "Traceback" not in search.said
    lines = [line for line in search.said.splitlines() if line.startswith("tune:")]
    assert len(lines) == 1, search.said
    assert "no space left" in lines[0] or "disk" in lines[0]
    assert "tune resume" in lines[0]
    known = rounds()
    assert known >= 3

    ballast.unlink()
    resumed = tune("resume", "full", f"--storage={small_disk / 'tune.db'}")
    assert resumed.code == 0, resumed.err
    with Store.open(str(small_disk / "tune.db"), mode="read") as store:
        trials = store.trials(store.study("full").id)
        points = [(point.trial, point.round) for point in store.curve(store.study("full").id)]
    assert [trial.number for trial in trials] == list(range(4))
    assert {trial.state for trial in trials} <= {"complete", "diverged"}
    assert len(points) == len(set(points)) > known
