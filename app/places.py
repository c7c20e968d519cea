"""Where a study's workers train: on which GPUs or how many cores, counted anew for each run.

Pure, but for the count of this process's cores: it is handed what the machine has and what the study is.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from ..errors import ModelError, UsageError
from ..objectives.machine import Machine
from ..search.concurrency import in_flight_limit
from ..study.facts import Facts

SHARE_GPU = 4
"""Workers that share a GPU, at most: each holds a base model of its own there."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Places:
    """Where workers are to run."""

    gpus: tuple[str, ...]
    """The GPUs that workers run on, such as ``cuda:1``; empty on a CPU."""
    note: str | None = None
    """What differs from the machine that the study was made on, in a sentence."""

    def device(self, index: int) -> str:
        """Return the device of a worker; of more workers than GPUs, several share one."""
        return self.gpus[index % len(self.gpus)] if self.gpus else "cpu"


def machine_of(chosen: str, facts: Facts) -> Machine:
    """Return the machine as a worker found it when it looked, for a study of that ``--device``."""
    gpus: int | None = facts.gpus if facts.model.on_gpu else 0
    if chosen.startswith("cuda:"):
        gpus = None  # the worker was shown that one alone
    return Machine(gpus=gpus, ram_bytes=facts.memory.available_bytes)


def find_places(chosen: str, facts: Facts, machine: Machine, *, first: str | None = None) -> Places:
    """Return where a study's workers run on this machine.

    ``--device cuda:N`` means that one alone, ``auto`` and ``cuda`` all that there are. Raises ``ModelError``
    where a study made on a GPU finds none and cannot be repeated on a CPU.

    ``first`` is the GPU of a worker that is there already. Those before it could not be used when it was
    started, and come last.
    """
    if not facts.model.on_gpu:
        return Places(gpus=())  # a GPU, where one has come since, would round otherwise
    before = facts.gpus
    there = before if machine.gpus is None else machine.gpus
    made_on = f"the study was made on {facts.model.device_name}"
    if there == 0:
        if chosen != "auto" or facts.geometry.dtype != "float32":
            raise ModelError(f"{made_on}, and no GPU is found here; resume it on a machine that has one")
        return Places(gpus=(), note=f"{made_on}, and no GPU is found here, so it goes on on the CPU")
    if chosen.startswith("cuda:"):
        if machine.gpus is None or int(chosen.removeprefix("cuda:")) < there:
            return Places(gpus=(chosen,))
        return Places(gpus=("cuda:0",), note=f"{chosen}, chosen for the study, is not here; using cuda:0")
    number = 0 if first is None else int(first.removeprefix("cuda:"))
    gpus = tuple(f"cuda:{index}" for index in (*range(number, there), *range(min(number, there))))
    if there == before:
        return Places(gpus=gpus)
    now = "1 GPU is" if there == 1 else f"{there} GPUs are"
    then = "1 GPU" if before == 1 else f"{before} GPUs"
    return Places(gpus=gpus, note=f"{now} here, {then} where the study was made; workers share what is here")


def count_workers(
    wanted: int | None, places: Places, facts: Facts, machine: Machine, trials: int, *, slots: int
) -> int:
    """Return how many workers to start: one per GPU, or one per core as far as memory goes.

    More than there are GPUs share them, where the user wants that many.
    ``slots`` is how many trials this run trains at once in a worker, which may not be what the study was
    made with: memory is counted for them.
    """
    if places.gpus:
        there = len(places.gpus)
        check_count(wanted, there)
    elif facts.model.on_gpu:
        there = 1  # how much a slot takes on a CPU was not measured
    else:
        held = facts.memory.held(slots)
        there = max(1, min(cores(), machine.ram_bytes // max(1, held)))
    return max(1, min(wanted or there, in_flight_limit(trials, (wanted or there) if places.gpus else 1)))


def check_count(wanted: int | None, gpus: int) -> None:
    """Raise ``UsageError`` where more workers are wanted than the GPUs are shared by."""
    if wanted is not None and wanted > SHARE_GPU * gpus:
        raise UsageError(f"--workers {wanted}: at most {SHARE_GPU} share a GPU, and {gpus} can be used")


def check_device(chosen: str, gpus: int | None, visible: str | None) -> None:
    """Raise ``ModelError`` for a GPU that is not there, before anything is loaded.

    Args:
        chosen: what the user wrote.
        gpus: GPUs that a process sees, None where nobody can tell.
        visible: ``CUDA_VISIBLE_DEVICES``, None where it is not set.
    """
    if gpus is None or not chosen.startswith("cuda"):
        return
    number = int(chosen.partition(":")[2] or 0)
    if number < gpus:
        return
    why = "" if visible is None else f" under CUDA_VISIBLE_DEVICES={visible}"
    known = "no CUDA GPU is found here"
    if gpus:
        known = "there is only cuda:0" if gpus == 1 else f"there are {gpus}, cuda:0 to cuda:{gpus - 1}"
    raise ModelError(f"device: {chosen!r} is not there, {known}{why}; use --device auto or --device cpu")


def cores() -> int:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else (os.cpu_count() or 1)


def threads_on(device: str) -> int:
    """One thread on a CPU, where each core has a worker of its own; a GPU's worker has the CPU to itself."""
    return min(8, cores()) if may_take_gpu(device) else 1


def may_take_gpu(device: str) -> bool:
    """Return whether a worker of that device trains on a GPU, as far as can be told without torch."""
    return device.startswith("cuda") or (device == "auto" and any(Path("/dev").glob("nvidia[0-9]*")))
