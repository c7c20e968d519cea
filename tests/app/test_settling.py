"""What a first look at model and data leaves becomes the study's, whole, and is used by the next search."""

import errno
import os
from pathlib import Path

import pytest
from loratune.app import settling
from loratune.errors import StorageError


class Quiet:
    """A worker that has said nothing more."""

    def __init__(self, index=0):
        self.log_file = Path(f"logs/worker-{index}.log")

    def move_log(self, to):
        self.log_file = to


@pytest.mark.parametrize("other_disk", [False, True])
def test_only_what_is_new_moves_and_what_was_kept_stays(tmp_path, monkeypatch, other_disk):
    artifacts, folder = tmp_path / "tune-artifacts", tmp_path / "look"
    (artifacts / "cache").mkdir(parents=True)
    folder.mkdir()
    (artifacts / "cache" / "old").write_text("old")
    cache = settling.borrow_cache(artifacts, folder)
    assert (cache / "old").read_text() == "old"
    (cache / "new").write_text("new")
    if other_disk:
        real = Path.replace

        def replace(self, to):
            if self.parent == cache:
                raise OSError(18, "Invalid cross-device link")
            return real(self, to)

        monkeypatch.setattr(Path, "replace", replace)
    workers = Quiet(), Quiet(1)
    settling.settle(workers, folder, artifacts)
    assert [worker.log_file.relative_to(artifacts).as_posix() for worker in workers] == [
        "logs/worker-0.log",
        "logs/worker-1.log",
    ]
    assert {file.name: file.read_text() for file in (artifacts / "cache").iterdir()} == {
        "old": "old",
        "new": "new",
    }
    assert not folder.exists()


def fail_with(code):
    """Return a function of the system that fails."""

    def fail(*_args, **_options):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("failing", ["move_log", "mkdir", "replace"])
@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOSPC, "no space left on the disk of .*/tune-artifacts; free some and tune resume"),
        (errno.EACCES, ".*/tune-artifacts: Permission denied; check the path and its permissions"),
    ],
)
def test_a_disk_that_takes_nothing_is_told_in_one_line(tmp_path, monkeypatch, failing, code, said):
    artifacts, folder = tmp_path / "tune-artifacts", tmp_path / "look"
    folder.mkdir()
    (settling.borrow_cache(artifacts, folder) / "new").write_text("new")
    monkeypatch.setattr(Quiet if failing == "move_log" else Path, failing, fail_with(code))
    with pytest.raises(StorageError, match=f"^{said}$"):
        settling.settle([Quiet()], folder, artifacts)


def test_what_cannot_be_removed_in_the_end_is_no_error(tmp_path, monkeypatch):
    folder = tmp_path / "look"
    folder.mkdir()
    settling.borrow_cache(tmp_path / "tune-artifacts", folder)
    monkeypatch.setattr(os, "rmdir", fail_with(errno.EACCES))
    worker = Quiet()
    settling.settle([worker], folder, tmp_path / "tune-artifacts")
    assert folder.exists()
    assert worker.log_file == tmp_path / "tune-artifacts" / "logs" / "worker-0.log"


def test_without_room_for_temporary_files_it_is_said_before_anything_is_begun(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("tempfile.mkdtemp", fail_with(errno.ENOSPC))
        with (
            pytest.raises(StorageError, match=r"\(No space left on device\); .* set TMPDIR"),
            settling.scratch(),
        ):
            pytest.fail("nothing is begun")
    monkeypatch.setattr(Path, "mkdir", fail_with(errno.ENOSPC))
    with pytest.raises(StorageError, match=r"\(No space left on device\); .* set TMPDIR"):
        settling.borrow_cache(tmp_path / "tune-artifacts", tmp_path)
