"""A trial's training state as a file: its live rank and targets only, synced, then renamed.

``study/checkpoint_format.py`` says what it holds. The metadata says whose state it is, and a file of another
trial, seed or data set is refused; so is one whose bytes are not those that were written
(``digest.py``).
"""

from __future__ import annotations

import errno
import json
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import safetensors
import torch

from ... import digest
from ...atomic import sync_folder, write_atomically
from ...errors import SpaceError, StorageError
from ...spaces.params import LoraParams
from ...study.checkpoint_format import GROUPS, PARAMS_KEY, spelled
from .pack import Pack

MOST_THREADS = 8
"""That write at once: each holds a trial's state in memory."""
MOST_BYTES = 2**31
"""Of memory that states wait in to be written, where more than two of them would take more."""
_NUMBER_BYTES = 4
_ALIGNMENT = 8
"""The format lets tensors begin at a multiple of 8 bytes."""


def row_to_tensors(
    pack: Pack,
    row: int,
    params: LoraParams,
    groups: Sequence[str] = GROUPS,
    into: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """Return a copy of a trial's row as named tensors, on the CPU; in ``into`` where memory is given."""
    parts = {}
    for group in groups:
        numbers = getattr(pack, group)[row]
        for layer in pack.layout.live(params):
            parts[f"{group}/{layer.name}.lora_A"] = pack.layout.a(numbers, layer)[: params.lora_rank]
            parts[f"{group}/{layer.name}.lora_B"] = pack.layout.b(numbers, layer)[:, : params.lora_rank]
    # Brought together first: a GPU hands over one tensor far sooner than hundreds.
    flat = torch.cat([part.reshape(-1) for part in parts.values()])
    flat = flat.cpu() if into is None else into[: flat.numel()].copy_(flat)
    copies = torch.split(flat, [part.numel() for part in parts.values()])
    return {name: copy.view(part.shape) for (name, part), copy in zip(parts.items(), copies, strict=True)}


def weights_of(pack: Pack, row: int, params: LoraParams) -> dict[str, torch.Tensor]:
    """Return a copy of a trial's weights alone, as ``row_to_tensors`` names them."""
    return row_to_tensors(pack, row, params, GROUPS[:1])


def weights_to_row(tensors: dict[str, torch.Tensor], pack: Pack, row: int, params: LoraParams) -> None:
    """Write what ``weights_of`` returned into a row; Adam's moments there stay as they are."""
    tensors_to_row(tensors, pack, row, params, GROUPS[:1])


def tensors_to_row(
    tensors: dict[str, torch.Tensor],
    pack: Pack,
    row: int,
    params: LoraParams,
    groups: Sequence[str] = GROUPS,
) -> None:
    """Write named tensors into a row that is otherwise zero; raises ``KeyError`` where one is missing.

    An adapter has the first of the ``groups`` alone.
    """
    for group in groups:
        numbers = getattr(pack, group)[row]
        numbers.zero_()
        for layer in pack.layout.live(params):
            pack.layout.a(numbers, layer)[: params.lora_rank] = tensors[f"{group}/{layer.name}.lora_A"]
            pack.layout.b(numbers, layer)[:, : params.lora_rank] = tensors[f"{group}/{layer.name}.lora_B"]


def write(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write float32 tensors on the CPU so that the name appears only once the bytes are on disk.

    A safetensors file, but made without a copy of the tensors, which may be as large as a model three
    times over. Raises ``StorageError`` where the disk is full.
    """
    header: dict[str, object] = {"__metadata__": {**metadata, **digest.LABELS}}
    start = 0
    for name, tensor in tensors.items():
        assert tensor.dtype == torch.float32, f"{name} is {tensor.dtype}"
        end = start + tensor.numel() * _NUMBER_BYTES
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    head = len(text).to_bytes(8, "little") + text
    flat = (tensor.contiguous().reshape(-1).numpy() for tensor in tensors.values() if tensor.numel())
    data = [numbers.data.cast("B") for numbers in flat]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, digest.seal(head, *data))
        sync_folder(path.parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(
                f"no space left on the disk of {path.parent}; free some, then go on with: tune resume"
            ) from error
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


def writing_threads(device: torch.device) -> int:
    """Return how many threads write the checkpoints of a round for trials on a device.

    None on a CPU: its cores are taken, and where memory has a limit a thread that cannot get its own may wait
    for ever (docs/log.md).
    """
    return min(MOST_THREADS, max(2, torch.get_num_threads())) if device.type == "cuda" else 0


class Writer:
    """Writes checkpoints side by side: while one waits for the disk, others are copied and digested.

    A context, which may be entered again: on leaving it, all are on disk, or what the first of them met is
    raised. Each is what ``write`` makes of it, whatever its neighbours.

    Args:
        threads: how many write at once; with none each is on disk when ``write`` returns.
        numbers: the most that a trial's state has.
        pinned: whether memory for it is such that a GPU copies into without a detour.
    """

    def __init__(self, threads: int, numbers: int, *, pinned: bool = False) -> None:
        fits = MOST_BYTES // max(1, numbers * _NUMBER_BYTES)
        self._most = min(threads, max(2, fits))
        self._numbers, self._pinned = numbers, pinned
        self._pool = ThreadPoolExecutor(self._most, thread_name_prefix="checkpoint") if threads else None
        self._free: list[torch.Tensor] = []
        self._made = 0
        self._next: torch.Tensor | None = None
        self._written: deque[tuple[Future[None], torch.Tensor | None]] = deque()

    @classmethod
    def of(cls, pack: Pack) -> Writer:
        """Make one for the trials of a pack."""
        device = pack.params.device
        numbers = pack.layout.width * len(GROUPS)
        return cls(writing_threads(device), numbers, pinned=device.type == "cuda")

    def __enter__(self) -> Writer:
        return self

    def memory(self) -> torch.Tensor | None:
        """Return memory for the state that is written next, None where it takes its own.

        It is used again and again, since new memory takes longer to be had than to be filled. Waits while
        as many as there are threads are not written, and raises what the first of them met.
        """
        if self._pool is None or self._next is not None:
            return self._next
        if not self._free and self._made == self._most:
            self._wait_for_one()
        if not self._free:
            self._made += 1
            self._free.append(torch.empty(self._numbers, dtype=torch.float32, pin_memory=self._pinned))
        self._next = self._free.pop()
        return self._next

    def write(self, path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
        """Begin to write a checkpoint; waits while as many as there are threads are not done.

        Raises ``StorageError`` where one that was begun before has met a full disk.
        """
        if self._pool is None:
            write(path, tensors, metadata)
            return
        while len(self._written) >= self._most:  # each of them holds a trial's state in memory
            self._wait_for_one()
        memory, self._next = self._next, None
        self._written.append((self._pool.submit(write, path, tensors, metadata), memory))

    def _wait_for_one(self) -> None:
        written, memory = self._written[0]
        wait([written])  # still among them where that is interrupted: its memory is not free yet
        self._written.popleft()
        if memory is not None:
            self._free.append(memory)
        written.result()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        begun, self._written = list(self._written), deque()
        if kind is not None:
            for written, _memory in begun:
                written.cancel()
        wait([written for written, _memory in begun])
        self._free += [memory for _written, memory in (*begun, (None, self._next)) if memory is not None]
        self._next = None
        if kind is None:
            for written, _memory in begun:
                written.result()


def read(path: Path, expected: dict[str, str]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return a checkpoint's tensors and metadata.

    Raises ``StorageError`` where the file is missing, torn, damaged in a single bit, or not the state
    that ``expected`` names.
    """
    try:
        digest.check(path)
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            for key, value in expected.items():
                if not _says(metadata.get(key), key, value):
                    raise StorageError(
                        f"checkpoint {path.name}: {key} is {metadata.get(key)!r}, expected {value!r}"
                    )
            return {key: file.get_tensor(key) for key in file.keys()}, metadata  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise StorageError(f"checkpoint {path.name} cannot be read: {error}") from error


def _says(found: str | None, key: str, value: str) -> bool:
    """Return whether a file's metadata mean what is expected.

    A state that was written before there was a hyperparameter was trained with its default.
    """
    if key != PARAMS_KEY or found is None or found == value:
        return found == value
    try:
        return LoraParams.from_dict(json.loads(found)) == LoraParams.from_dict(json.loads(value))
    except (SpaceError, TypeError, ValueError):  # no configuration at all, or one of another program
        return False


def owner(trial: int, seed: int, params: LoraParams, data: str) -> dict[str, str]:
    """Return the metadata that says whose state a file holds; ``data`` is the data's fingerprint."""
    return {"trial": str(trial), "seed": str(seed), **trained(params, data)}


def trained(params: LoraParams, data: str) -> dict[str, str]:
    """Return the metadata that says what a file's state was trained with and on, whichever trial's it is."""
    return {PARAMS_KEY: spelled(params), "data": data}
