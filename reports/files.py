"""Writing what is handed over: whole or not at all, and never over what the user did not mean."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ..spaces.errors import ReportError


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all; its folder is made. Raises ``ReportError``.

    Bytes of a path that are no text are written as JSON and YAML escape them, such as ``\\udce9``.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; its folder is made. Raises ``ReportError``."""
    temporary: str | None = None
    try:
        if path.is_dir():
            raise ReportError(f"{path}: is a folder; name a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files; a report is as readable as any file that the user makes.
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
        temporary = None
    except OSError as error:
        raise ReportError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _umask() -> int:
    """Return the process's umask; there is no way to read it but to set it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
