"""What a first look at model and data leaves becomes the study's, whole, and is used by the next search."""

from pathlib import Path

import pytest
from loratune.app import settling


class Quiet:
    """A worker that has said nothing more."""

    log_file = Path("logs/worker-0.log")

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
    worker = Quiet()
    settling.settle(worker, folder, artifacts)
    assert worker.log_file == artifacts / "logs" / "worker-0.log"
    assert {file.name: file.read_text() for file in (artifacts / "cache").iterdir()} == {
        "old": "old",
        "new": "new",
    }
    assert not folder.exists()
