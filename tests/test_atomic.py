"""A file's name is there whole or not at all, and nobody has a way of writing of their own."""

from __future__ import annotations

import errno
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from loratune.atomic import sweep_unfinished, write_atomically
from loratune.whole_files import write_bytes

ROOT = Path(__file__).parents[1]
OTHER_WAYS = re.compile(r"os\.fsync|mkstemp|\.replace\(path\)|\.rename\(path\)|os\.replace|os\.rename")
ALLOWED = {
    "atomic.py",
    "storage/upkeep.py",  # SQLite writes the copy of a database, under a name that may not be taken over
}


def test_what_was_there_is_replaced_by_all_the_pieces(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    write_atomically(file, [b"new ", memoryview(b"and whole")])
    assert file.read_bytes() == b"new and whole"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_the_mode_is_as_asked_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    before = os.umask(0o077)
    try:
        write_atomically(tmp_path / "file", [b"x"], mode=mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0, 0o666)])
def test_what_is_the_users_is_as_readable_as_any_new_file_and_the_umask_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: int, mode: int
) -> None:
    before = os.umask(umask)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(os, "umask", None)  # it is every thread's
            write_bytes(tmp_path / "file", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(file, [b"new"])
    monkeypatch.undo()
    assert file.read_bytes() == b"old"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_pieces_that_end_in_an_error_leave_no_rest(tmp_path: Path) -> None:
    def pieces():
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", pieces())
    assert list(tmp_path.iterdir()) == []


def test_bytes_are_synced_before_the_name_unless_they_need_not_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, done = os.fsync, []

    def sync(handle: int) -> None:
        done.append([found.name for found in tmp_path.iterdir() if not found.name.startswith(".")])
        real(handle)

    monkeypatch.setattr(os, "fsync", sync)
    write_atomically(tmp_path / "file", [b"x"])
    assert done == [[]]
    write_atomically(tmp_path / "other", [b"x"], synced=False)
    assert done == [[]]


def killed_while_writing(file: Path) -> Path:
    """Leave what a writer does that is killed before the rename, and return it."""
    killed = (
        "import os, pathlib, sys; from loratune.atomic import write_atomically; "
        "os.fsync = lambda _: os._exit(9); write_atomically(pathlib.Path(sys.argv[1]), [b'half'])"
    )
    assert subprocess.run([sys.executable, "-c", killed, str(file)], check=False).returncode == 9
    (left,) = (found for found in file.parent.iterdir() if found.name.startswith(f".{file.name}."))
    return left


def test_what_a_killed_writer_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    left = killed_while_writing(tmp_path / "model-digests.json")
    others = [".progress.json.tmp", "notes.0badcafe.tmp", ".mine.tmp", "model-digests.json"]
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / ".folder.0badcafe.tmp").mkdir()
    assert left.is_file()
    sweep_unfinished(tmp_path)
    assert {found.name for found in tmp_path.iterdir()} == {*others, ".folder.0badcafe.tmp"}
    sweep_unfinished(tmp_path / "nowhere")


def test_what_another_process_may_be_writing_is_left_alone(tmp_path: Path) -> None:
    old, new = (killed_while_writing(tmp_path / name) for name in ("old", "new"))
    os.utime(old, (0, 0))
    sweep_unfinished(tmp_path, older_than=3600)
    assert (old.exists(), new.exists()) == (False, True)


def test_there_is_no_other_way_of_writing_a_file_whole() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    ours = [name for name in tracked if not name.startswith(("tests/", "benchmarks/"))]
    found = {name for name in ours if OTHER_WAYS.search((ROOT / name).read_text(encoding="utf-8"))}
    assert found == ALLOWED
