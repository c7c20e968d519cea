"""What every database must do for all else: events, ways to open it, the folder of files beside it."""

import os
import sys
import threading
from pathlib import Path

import pytest
from loratune.errors import StorageError
from loratune.storage import progress_note, queries
from loratune.storage.store import Store
from made_up_studies import ending


class TestEvents:
    def test_events_are_read_in_order_and_by_kind(self, store, make_study):
        study = make_study(store)
        store.add_event(study.id, "created", version="1.0", kind="x")
        store.add_event(study.id, "duplicate", of=3)
        store.add_event(study.id, "duplicate", of=4)
        assert [event.kind for event in store.events(study.id)] == ["created", "duplicate", "duplicate"]
        assert [event.detail for event in store.events(study.id, "duplicate")] == [{"of": 3}, {"of": 4}]
        assert store.events(study.id)[0].detail == {"version": "1.0", "kind": "x"}


class TestModes:
    def test_a_reader_sees_what_was_written_and_can_write_nothing(self, address, store, make_study, params):
        study = make_study(store)
        with Store.open(address, mode="read") as reader:
            assert reader.trials(study.id) == ()
            store.add_trial(study.id, number=0, params=params, seed=0, source="tpe")
            assert len(reader.trials(study.id)) == 1
            for write in (
                lambda: reader.add_event(study.id, "x"),
                lambda: reader.project(study.id, {}, {}),
                lambda: reader.acquire(study.id),
                lambda: make_study(reader, "second"),
            ):
                with pytest.raises(StorageError, match="read"):
                    write()
        assert len(store.studies()) == 1

    def test_opening_twice_keeps_what_is_there(self, address, store, make_study):
        study = make_study(store)
        with Store.open(address, mode="create") as again:
            assert again.study(None) == study

    def test_other_threads_may_read_while_one_writes(self, store, make_study, params):
        study = make_study(store)
        failures = []

        def read():
            try:
                for _ in range(20):
                    store.trials(study.id)
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(20):
            store.add_trial(study.id, number=number, params=params, seed=0, source="tpe")
        for thread in threads:
            thread.join()
        assert failures == []


class TestFolder:
    def test_disk_use_counts_the_files_of_a_study(self, store, make_study):
        study = make_study(store)
        assert store.disk_bytes(study.id) == 0
        folder = store.study_dir(study.id) / "checkpoints"
        folder.mkdir()
        (folder / "a").write_bytes(b"12345")
        assert store.disk_bytes(study.id) == 5
        assert store.disk_bytes(99) == 0

    def test_how_far_it_is_said_to_be_is_what_its_rows_say(self, address, make_study, params, round_update):
        with Store.open(address, mode="create") as store:
            study = make_study(store)
            folder = store.study_dir(study.id)
            for _ in range(2):  # also after it was given up and taken up again
                store.acquire(study.id)
                for _ in range(2):
                    number = len(store.trials(study.id))
                    store.add_trial(study.id, number=number, params=params, seed=0, source="tpe")
                    store.record_round(study.id, [round_update(number, 1)], [])
                    with pytest.raises(StorageError):  # nothing of it is counted
                        store.record_round(study.id, [round_update(number, 2)], [ending(99)])
                    store.record_round(study.id, [round_update(number, 2)], [ending(number)])
                    with store.reading() as connection:
                        rows = queries.progress(connection, study.id)
                    assert progress_note.read(folder) == rows
                    assert (rows.trials, rows.ended) == (number + 1, number + 1)
                store.release(study.id)

    def test_only_the_best_adapters_and_living_checkpoints_stay(
        self, store, make_study, params, round_update
    ):
        study = make_study(store)
        folder = store.study_dir(study.id)
        for part in ("checkpoints", "adapters"):
            (folder / part).mkdir()
        for number in range(4):
            store.add_trial(study.id, number=number, params=params, seed=0, source="tpe")
            (folder / f"checkpoints/trial-{number:05d}-q1-a0.safetensors").touch()
            (folder / f"adapters/trial-{number:05d}.safetensors").touch()
        files = [f"checkpoints/trial-{n:05d}-q1-a0.safetensors" for n in range(4)]
        store.record_round(study.id, [round_update(n, 1, checkpoint=files[n]) for n in range(4)])
        (folder / "checkpoints/trial-00003-q2-a0.safetensors").touch()  # a worker's, not yet recorded
        (folder / "checkpoints/notes.txt").touch()
        cache = store.artifacts / "cache"
        cache.mkdir()
        live = cache / ".model-digests.json.0badcafe.tmp"
        killed = [
            cache / ".tokens-00ff.safetensors.0badcafe.tmp",
            folder / ".progress.json.0badcafe.tmp",
            folder / ".progress.json.12345678.tmp",
        ]
        for file in (live, *killed):
            file.touch()
        os.utime(killed[0], (0, 0))
        store.record_round(
            study.id,
            [],
            [ending(n, value=3.0 - n, adapter=f"adapters/trial-{n:05d}.safetensors") for n in range(3)],
        )
        store.keep_adapters(study.id, 2)
        assert [trial.adapter is not None for trial in store.trials(study.id)] == [False, True, True, False]
        left = sorted(str(file.relative_to(folder)) for file in folder.glob("*/*"))
        assert left == [
            "adapters/trial-00001.safetensors",
            "adapters/trial-00002.safetensors",
            "adapters/trial-00003.safetensors",
            "checkpoints/notes.txt",
            "checkpoints/trial-00003-q1-a0.safetensors",
            "checkpoints/trial-00003-q2-a0.safetensors",
        ]
        assert live.exists()  # another search may be writing it
        assert [file for file in killed if file.exists()] == []
        assert (folder / "progress.json").is_file()


@pytest.mark.parametrize(
    ("read", "never"),
    [
        ("[store.trials(study.id) for study in store.studies()]", ("optuna", "torch", "safetensors")),
        ("store.trials(store.study(None).id)", ("torch", "safetensors")),  # with a space comes Optuna
    ],
)
def test_what_is_listed_or_read_imports_no_more_than_it_needs(path, make_study, read, never):
    import subprocess

    with Store.open(str(path), mode="create") as store:
        make_study(store)
    code = (
        "import sys; from loratune.storage.store import Store\n"
        f"with Store.open({str(path)!r}, mode='read') as store: {read}\n"
        f"print([name for name in {never!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(path).parent
    )
    assert done.stdout.strip() == "[]"
