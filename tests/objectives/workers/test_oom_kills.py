"""A kill for memory is told from a user's by what the kernel counts for this process's own group."""

from __future__ import annotations

from pathlib import Path

import pytest
from loratune.objectives.workers.oom_kills import oom_kills

VERSION_2 = "low 0\nhigh 0\nmax 17\noom 2\noom_kill 3\noom_group_kill 0\n"
VERSION_1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"
MACHINE = "nr_free_pages 12\noom_kill 9\n"


@pytest.mark.parametrize(
    ("groups", "files", "count"),
    [
        ("0::/own\n", {"sys/fs/cgroup/own/memory.events": VERSION_2}, 3),
        ("0::/\n", {"sys/fs/cgroup/memory.events": VERSION_2}, 3),
        ("0::/not/mounted/here\n", {"sys/fs/cgroup/memory.events": VERSION_2}, 3),
        (
            "5:cpu:/own\n4:memory:/own\n0::/\n",
            {"sys/fs/cgroup/memory/own/memory.oom_control": VERSION_1},
            4,
        ),
        ("0::/own\n", {}, 9),
        ("0::/own\n", {"sys/fs/cgroup/own/memory.events": "oom_kill many\n"}, 9),
    ],
)
def test_the_own_group_counts_before_the_machine(
    tmp_path: Path, groups: str, files: dict[str, str], count: int
) -> None:
    for name, text in {"proc/self/cgroup": groups, "proc/vmstat": MACHINE, **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert oom_kills(tmp_path) == count


def test_nobody_counts_where_there_is_no_such_kernel(tmp_path: Path) -> None:
    assert oom_kills(tmp_path) is None
