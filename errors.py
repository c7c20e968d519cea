"""The one tree of errors. Each message says what failed, which value, and what to do.

    LoratuneError
    ├── UsageError          the command was called wrongly (exit code 2)
    ├── SpaceError          a parameter, a range, a preset or a space file
    ├── BudgetError         the examples of a trial do not fit the data or the batch sizes
    ├── DataError           a data file, its records, or what is left of them
    ├── ModelError          a model folder, a Hub id, or an architecture that cannot be packed
    ├── StorageError        the database or the files beside it
    │   ├── StudyNotFound   no study of that name
    │   ├── StudyExists     the name is taken by another configuration
    │   ├── StudyBusy       another live process owns the study
    │   ├── StaleOwner      this process lost the study to another one
    │   └── DamagedFile     a file holds other bytes than were written
    ├── WorkerError         a training process that cannot start or keeps dying
    │   ├── OutOfMemory     memory ran out while model and data were made ready
    │   └── DeviceLost      a GPU that cannot be used
    └── ReportError         there is too little to plot, report or export

Only the command turns these into exit codes. Knows nothing of any other module.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable


class LoratuneError(Exception):
    """Something the user can mend; the message is one line that says how."""

    exit_code = 1


class UsageError(LoratuneError):
    """The command was called wrongly."""

    exit_code = 2


class SpaceError(LoratuneError):
    """A parameter, range, preset or space file is not valid."""


class BudgetError(LoratuneError):
    """A trial's examples do not fit the data or the batch sizes."""


class DataError(LoratuneError):
    """A data file cannot be read, or nothing usable is left of it."""


class ModelError(LoratuneError):
    """A base model cannot be found, loaded or packed."""


class StorageError(LoratuneError):
    """The database, or a file beside it, cannot be used."""


class StudyNotFound(StorageError):  # noqa: N818
    """There is no study of that name."""


class StudyExists(StorageError):  # noqa: N818
    """The name is taken by a study of another configuration."""


class StudyBusy(StorageError):  # noqa: N818
    """Another live process owns the study."""


class StaleOwner(StorageError):  # noqa: N818
    """This process no longer owns the study that it tried to write."""


class DamagedFile(StorageError):  # noqa: N818
    """A file of ours holds other bytes than were written."""


class WorkerError(LoratuneError):
    """A training process cannot start, or keeps dying."""

    killed = False
    """Whether another process ended it, so that trying again may well help."""
    final = False
    """Whether trying again is of no use."""


class OutOfMemory(WorkerError):  # noqa: N818
    """Memory ran out while a training process made model and data ready; fewer slots may fit."""


class DeviceLost(WorkerError):  # noqa: N818
    """A GPU cannot be used: broken, or taken by a process that shares it with nobody."""

    final = True


class ReportError(LoratuneError):
    """There is too little in the study for what was asked."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the known name closest to ``name``, or an empty string."""
    close = difflib.get_close_matches(name[:80], list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def in_words(error: BaseException) -> str:
    """Return an error that nobody foresaw on one line: its kind and its text.

    Where an import failed, what it failed on: Transformers says of a torchvision that was built for another
    torch only that a module of its own cannot be imported.
    """
    words = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
    first: BaseException = error
    while isinstance(first, ImportError) and first.__cause__ is not None:
        first = first.__cause__
    return words if first is error else f"{in_words(first)} ({words})"


def shown(value: object) -> str:
    """Return ``repr(value)`` on one line and cut short, whatever a file may hold."""
    short = reprlib.Repr()
    short.maxlevel, short.maxdict, short.maxlist, short.maxtuple, short.maxset = 2, 3, 4, 4, 4
    short.maxstring = short.maxother = 60
    try:
        words = short.repr(value)
    except ValueError:  # Python refuses to print a whole number of more than 4300 digits
        words = f"a {type(value).__name__}"
    return words if len(words) <= 120 else words[:117] + "..."
