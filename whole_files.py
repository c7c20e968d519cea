"""Writing what is handed over: whole or not at all, and never over what the user did not mean."""

from __future__ import annotations

import os
from pathlib import Path

from .atomic import write_atomically
from .errors import ReportError


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all; its folder is made. Raises ``ReportError``.

    Bytes of a path that are no text are written as JSON and YAML escape them, such as ``\\udce9``.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def is_there(path: Path) -> bool:
    """Return whether writing to a path replaces something: a file, or a folder that holds any."""
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def check_free(path: Path, text: str, *, force: bool) -> None:
    """Raise ``ReportError`` where a file lies that would be lost, one that is not of this very content."""
    if force or not path.is_file():
        return
    try:
        same = path.read_bytes() == text.encode("utf-8", "backslashreplace")
    except OSError:
        same = False
    if not same:
        raise ReportError(f"{path}: is there already, with other contents; name another file, or --force")


def check_ours(path: Path, mark: bytes) -> None:
    """Raise ``ReportError`` where a file lies that is no earlier one of ours, which begin with ``mark``."""
    if not path.is_file():
        return
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise ReportError(f"{path}: cannot be read ({error.strerror or error})") from error
    if head and mark not in head:
        raise ReportError(f"{path}: is there already and was not made by this command; name another file")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; its folder is made. Raises ``ReportError``."""
    try:
        if path.is_dir():
            raise ReportError(f"{path}: is a folder; name a file")
        if path.exists() and not path.is_file():
            with path.open("wb") as file:  # a pipe or a device, such as /dev/stdout
                file.write(content)
            return
        if path.is_symlink():
            path = Path(os.path.realpath(path))  # what a link leads to is written, and the link stays
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, [content], mode=None)  # as readable as any file of the user's
    except OSError as error:
        raise ReportError(f"{path}: cannot be written ({error.strerror or error})") from error
