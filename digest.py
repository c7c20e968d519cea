"""Files that are written once and read again carry a digest of all their bytes, so that damage is found.

A safetensors file is *sealed*: its metadata holds the digest of the whole file, header included, taken
while 64 zeros stand in the digest's own place. ``docs/log.md`` says why it is BLAKE2b. Knows nothing of
what a file holds; needs neither torch nor safetensors.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from .errors import DamagedFile

FORMAT = "loratune-2"
"""Metadata ``format`` of a sealed file."""

UNSEALED = "loratune-1"
"""Metadata ``format`` of a file of before: without a digest, and read as it is."""

BLANK = "0" * 64
"""What stands in the digest's place while it is taken."""

LABELS = {"format": FORMAT, "digest": BLANK}
"""Metadata that a file must have been serialized with to be sealed."""

_DIGEST = re.compile(rb'"digest":"([0-9a-f]{64})"')
_CHUNK = 2**20


def of(*pieces: bytes | memoryview) -> str:
    """Return the digest of bytes, 64 hexadecimal digits; several pieces count as one."""
    digest = hashlib.blake2b(digest_size=32)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def seal(content: bytes, *more: bytes | memoryview) -> tuple[bytes | memoryview, ...]:
    """Return the bytes of a safetensors file with its digest, in pieces to be written one after another.

    ``content`` is what ``safetensors`` made of tensors and of metadata that includes ``LABELS``, or its
    header, and ``more`` what follows. Pieces, because a checkpoint may be hundreds of megabytes.
    """
    header = content[: 8 + int.from_bytes(content[:8], "little")]
    (place,) = _DIGEST.finditer(header)
    assert place.group(1).decode() == BLANK, "it is sealed already"
    whole = memoryview(content)
    return whole[: place.start(1)], of(content, *more).encode(), whole[place.end(1) :], *more


def check(path: Path) -> bool:
    """Read a whole file; return whether it is sealed, False for one of before, which has no digest.

    Raises ``DamagedFile``, which names the file, where it is damaged or not ours. What the system says
    of a file that cannot be read at all is raised as it is (``OSError``).
    """
    with path.open("rb") as file:
        header = file.read(8)
        length = int.from_bytes(header, "little")
        if len(header) < 8 or length > path.stat().st_size - 8:
            raise _damaged(path)
        header += file.read(length)
        found = _DIGEST.findall(header)
        if _format(header) == UNSEALED and b'"digest"' not in header:
            return False
        if _format(header) != FORMAT or len(found) != 1:
            raise _damaged(path)
        digest = hashlib.blake2b(header.replace(found[0], BLANK.encode()), digest_size=32)
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest().encode() != found[0]:
        raise _damaged(path)
    return True


def _format(header: bytes) -> object:
    """Return the format that a header names, None where it cannot be read."""
    try:
        return json.loads(header[8:])["__metadata__"]["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _damaged(path: Path) -> DamagedFile:
    return DamagedFile(f"{path}: damaged: its bytes are not those that were written")
