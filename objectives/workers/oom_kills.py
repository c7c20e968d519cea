"""How many processes the kernel killed for memory: those of this one's own group, else all of the machine.

A worker that ended by SIGKILL was killed for memory where the count grew meanwhile, and by a user or another
program where it did not. Linux; elsewhere nobody counts.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

_ROOT = Path("/")


def oom_kills(root: Path = _ROOT) -> int | None:
    """Return how many processes were killed for memory so far, None where the kernel does not say.

    Workers are in the group of the process that starts them. What is killed in another container counts in
    the machine's own number, though it is none of this one's business.
    """
    for file in (*_of_the_group(root), root / "proc/vmstat"):
        with contextlib.suppress(OSError, ValueError):
            for line in file.read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return None


def _of_the_group(root: Path) -> list[Path]:
    """Return the files of this process's control group that may tell (cgroup v2, then v1)."""
    found = []
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            group = path.lstrip("/")
            if (number, controllers) == ("0", ""):
                found.append(root / "sys/fs/cgroup" / group / "memory.events")
            elif "memory" in controllers.split(","):
                found.append(root / "sys/fs/cgroup/memory" / group / "memory.oom_control")
    # In a container the group's own folder is often the root of what is mounted.
    return [*found, root / "sys/fs/cgroup/memory.events", root / "sys/fs/cgroup/memory/memory.oom_control"]
