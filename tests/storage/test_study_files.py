"""What is kept on disk, what is swept, and how a file comes to be there whole."""

import datetime
import errno
import os
import stat

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loratune import digest
from loratune.errors import DamagedFile, StorageError
from loratune.spaces.params import LoraParams
from loratune.storage import study_files
from loratune.study.records import TrialRecord
from safetensors import safe_open
from safetensors.numpy import save_file


def record(number, state, *, value=None, rounds=0, attempt=0, checkpoint=None, adapter=None):
    return TrialRecord(
        number=number,
        params=LoraParams(learning_rate=1e-3, batch_size=8, lora_rank=8, lora_alpha=16),
        seed=0,
        source="tpe",
        state=state,
        reason=None,
        value=value,
        rounds=rounds,
        attempt=attempt,
        checkpoint=checkpoint,
        adapter=adapter,
        started_at=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        finished_at=None,
    )


def checkpoint(number, round_number, attempt):
    return study_files.checkpoint_file(number, round_number, attempt)


@st.composite
def trials(draw):
    found = []
    for number in range(draw(st.integers(0, 8))):
        state = draw(st.sampled_from(["running", "complete", "pruned", "failed"]))
        rounds, attempt = draw(st.integers(0, 8)), draw(st.integers(0, 2))
        running = state == "running"
        complete = state == "complete"
        found.append(
            record(
                number,
                state,
                value=draw(st.sampled_from([1.0, 2.0, 3.0])) if complete else None,
                rounds=rounds,
                attempt=attempt,
                checkpoint=checkpoint(number, rounds, attempt) if running and rounds else None,
                adapter=study_files.adapter_name(number) if complete and draw(st.booleans()) else None,
            )
        )
    return found


names = st.one_of(
    st.builds(checkpoint, st.integers(0, 9), st.integers(1, 8), st.integers(0, 3)),
    st.builds(
        lambda name, end: name + end,
        st.builds(checkpoint, st.integers(0, 9), st.integers(1, 8), st.integers(0, 3)),
        st.sampled_from([".tmp", ".1a2b.tmp"]),
    ),
    st.builds(study_files.adapter_name, st.integers(0, 9)),
    st.sampled_from(["checkpoints/notes.txt", "adapters/README", "checkpoints/trial-x"]),
)


@given(trials(), st.integers(-1, 9))
def test_the_best_adapters_and_every_running_checkpoint_are_kept(found, best):
    kept = study_files.keep(found, best)
    by_name = {trial.checkpoint: trial for trial in found} | {trial.adapter: trial for trial in found}
    for trial in found:
        if trial.checkpoint is not None:
            assert trial.checkpoint in kept
    adapters = [by_name[name] for name in kept if name.startswith(study_files.ADAPTERS)]
    assert len(adapters) <= max(0, best)
    complete = [trial for trial in found if trial.state == "complete"]
    for trial in adapters:
        better = [other for other in complete if (other.value, other.number) < (trial.value, trial.number)]
        assert len(better) < best
    for trial in complete:
        better = [other for other in complete if (other.value, other.number) < (trial.value, trial.number)]
        if trial.adapter is not None and len(better) < best:
            assert trial.adapter in kept


@given(trials(), st.sets(names, max_size=20))
def test_no_file_that_a_row_names_is_ever_an_orphan(found, present):
    named = {trial.checkpoint for trial in found} | {trial.adapter for trial in found}
    assert not study_files.orphans(present, found) & named


@given(trials(), st.sets(names, max_size=20))
def test_what_may_yet_be_recorded_is_no_orphan_and_all_else_of_ours_is(found, present):
    orphans = study_files.orphans(present, found)
    rows = {trial.number: trial for trial in found}
    named = {trial.checkpoint for trial in found} | {trial.adapter for trial in found}
    named |= set(study_files.previous(present, found).values())
    for name in present - named:
        if not name.startswith(("checkpoints/trial-0", "adapters/trial-0")):
            assert name not in orphans
            continue
        trial = rows.get(int(name.partition("trial-")[2][:5]))
        live = trial is not None and trial.state == "running"
        if name.startswith("checkpoints"):
            round_number, attempt = (int(name.partition(mark)[2][0]) for mark in ("-q", "-a"))
            live = live and round_number > trial.rounds and attempt >= trial.attempt
        assert (name in orphans) == (not live)


@given(trials(), st.sets(names, max_size=20))
def test_sweeping_twice_finds_nothing_more(found, present):
    left = present - study_files.orphans(present, found)
    assert study_files.orphans(left, found) == frozenset()


def test_a_sweep_deletes_the_orphans_from_the_disk_and_nothing_else(tmp_path):
    of_trial_0 = [checkpoint(0, round_number, 0) for round_number in (1, 2, 3)]
    for name in [*of_trial_0, checkpoint(1, 8, 0), "checkpoints/own.bin"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [record(0, "running", rounds=3, checkpoint=checkpoint(0, 3, 0)), record(1, "pruned")]
    present = study_files.listing(tmp_path)
    (tmp_path / checkpoint(1, 8, 0)).unlink()  # gone already: no matter
    assert study_files.sweep(tmp_path, present, found) == {checkpoint(0, 1, 0), checkpoint(1, 8, 0)}
    assert study_files.listing(tmp_path) == ("checkpoints/own.bin", checkpoint(0, 2, 0), checkpoint(0, 3, 0))


@given(trials(), st.sets(names, max_size=20))
def test_the_state_before_the_last_one_stays_one_for_each_running_trial(found, present):
    before = study_files.previous(present, found)
    rows = {trial.number: trial for trial in found}
    for number, name in before.items():
        assert rows[number].state == "running"
        assert study_files.round_of(name) == rows[number].rounds - 1 > 0
        assert name not in study_files.orphans(present, found)


@pytest.fixture
def trained(tmp_path):
    """A checkpoint as a worker writes it."""
    generator = np.random.default_rng(0)
    tensors = {
        f"{part}/model.layers.0.q_proj.{name}": generator.standard_normal((4, 8)).astype(np.float32)
        for part in ("params", "exp_avg", "exp_avg_sq")
        for name in ("lora_A", "lora_B")
    }
    path = tmp_path / "trial.safetensors"
    save_file(tensors, path, metadata={"format": "loratune-1", "trial": "3"})
    return path, tensors


def test_an_adapter_is_its_checkpoint_without_the_moments(tmp_path, trained):
    path, tensors = trained
    adapter = tmp_path / "adapters" / "trial-00003.safetensors"
    study_files.write_adapter(path, adapter)
    with safe_open(adapter, framework="numpy") as file:
        assert file.metadata() == {**digest.LABELS, "trial": "3", "digest": file.metadata()["digest"]}
        assert set(file.keys()) == {name for name in tensors if name.startswith("params/")}
        for name in file.keys():  # noqa: SIM118
            np.testing.assert_array_equal(file.get_tensor(name), tensors[name])
    assert digest.check(adapter)
    assert stat.S_IMODE(adapter.stat().st_mode) == 0o600
    assert adapter.stat().st_size < path.stat().st_size / 2
    assert [file.name for file in adapter.parent.iterdir()] == [adapter.name]


@pytest.mark.parametrize("content", [b"", b"half a file", None])
def test_an_unreadable_checkpoint_is_one_line_and_leaves_no_adapter(tmp_path, content):
    path = tmp_path / "trial.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StorageError, match="no readable checkpoint") as caught:
        study_files.write_adapter(path, tmp_path / "adapter.safetensors")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "adapter.safetensors").exists()


def test_no_adapter_is_made_of_a_checkpoint_with_one_bit_flipped(tmp_path, trained):
    path, _ = trained
    study_files.write_adapter(path, tmp_path / "whole")
    damaged = bytearray((tmp_path / "whole").read_bytes())
    damaged[-100] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DamagedFile, match="damaged"):
        study_files.write_adapter(path, tmp_path / "adapter.safetensors")
    assert not (tmp_path / "adapter.safetensors").exists()


def test_a_cut_checkpoint_is_refused(tmp_path, trained):
    path, _ = trained
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(StorageError, match="no readable checkpoint"):
        study_files.write_adapter(path, tmp_path / "adapter.safetensors")


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_the_old_file_whole_and_no_rest(tmp_path, monkeypatch, failing, code):
    path = tmp_path / "file"
    study_files.write_synced(path, b"old")

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(StorageError, match=r"no space left on the disk of .*; free some and tune resume"):
        study_files.write_synced(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_the_content_is_synced_before_the_name_and_the_name_before_the_return(tmp_path, monkeypatch):
    order = []
    real = {name: getattr(os, name) for name in ("fsync", "replace", "rename")}

    def sync(handle):
        order.append("sync folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "sync file")
        real["fsync"](handle)

    def rename(kind):
        def call(*names, **options):
            order.append("rename")
            return real[kind](*names, **options)

        return call

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", rename("replace"))
    monkeypatch.setattr(os, "rename", rename("rename"))
    study_files.write_synced(tmp_path / "file", b"x")
    assert order == ["sync file", "rename", "sync folder"]


def test_a_half_written_adapter_of_an_ended_trial_is_an_orphan():
    name = study_files.adapter_name(4).replace("/", "/.") + ".0badcafe.tmp"
    assert study_files.orphans([name], []) == {name}
    assert study_files.orphans([name], [record(4, "running")]) == frozenset()
    assert study_files.orphans([name], [record(n, "complete", value=1.0) for n in range(5)]) == {name}


def test_a_half_written_state_from_before_a_decay_is_swept(tmp_path):
    held = tmp_path / study_files.HELD
    held.mkdir()
    names = ["trial-00004.safetensors", ".trial-00005.safetensors.0badcafe.tmp"]
    for name in names:
        (held / name).touch()
    study_files.sweep_leftovers(tmp_path, tmp_path / "cache")
    assert [path.name for path in held.iterdir()] == names[:1]


def test_ids_whose_folder_is_taken_are_passed_over(tmp_path):
    artifacts = tmp_path / "tune-artifacts"
    assert [study_files.reserve(artifacts, 1) for _ in range(3)] == [1, 2, 3]
    assert study_files.reserve(artifacts, 2) == 4
    assert stat.S_IMODE(artifacts.stat().st_mode) == 0o700
