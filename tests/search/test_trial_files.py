"""Files of running trials: the last state and the one before it are there, and no other."""

import dataclasses
import datetime

import pytest
from loratune.search.trial_files import TrialFiles
from loratune.storage import study_files
from loratune.study.records import TrialRecord


@pytest.fixture
def trial(params):
    return TrialRecord(
        number=3,
        params=params,
        seed=0,
        source="tpe",
        state="running",
        reason=None,
        value=None,
        rounds=0,
        attempt=0,
        checkpoint=None,
        adapter=None,
        started_at=datetime.datetime.now(datetime.UTC),
        finished_at=None,
    )


class Folder:
    """A study's folder in which a trial leaves a state after every round."""

    def __init__(self, path):
        self.path = path
        (path / study_files.CHECKPOINTS).mkdir()

    def leave(self, round_number, attempt=0):
        path = self.path / study_files.CHECKPOINTS / f"trial-00003-q{round_number}-a{attempt}.safetensors"
        path.write_bytes(b"state")
        return path.relative_to(self.path).as_posix()

    def names(self):
        return {found.relative_to(self.path).as_posix() for found in self.path.rglob("*") if found.is_file()}


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def advanced(files, folder, trial, rounds):
    """Let a trial go through its first rounds; return it and what it left, in order."""
    left = []
    for round_number in range(1, rounds + 1):
        left.append(folder.leave(round_number))
        files.advanced(3, trial.checkpoint)
        trial = dataclasses.replace(trial, rounds=round_number, checkpoint=left[-1])
    return trial, left


def test_the_last_two_states_are_kept_until_the_end(folder, trial):
    files = TrialFiles(folder.path, [])
    trial, left = advanced(files, folder, trial, 4)
    assert folder.names() == set(left[2:])
    assert files.checkpoint(trial) == folder.path / left[3]
    files.ended(3, trial.checkpoint)
    assert folder.names() == set()


def test_a_lost_state_is_followed_by_the_one_before_and_then_by_the_beginning(folder, trial):
    files = TrialFiles(folder.path, [])
    trial, left = advanced(files, folder, trial, 3)
    assert files.rounds_of_older(3) == 2
    files.set_back(3)
    assert files.checkpoint(trial) == folder.path / left[1]
    assert files.rounds_of_older(3) == 0
    files.set_back(3)
    assert files.checkpoint(trial) is None


def test_a_trial_that_caught_up_has_its_last_two_states_again(folder, trial):
    files = TrialFiles(folder.path, [])
    trial, _ = advanced(files, folder, trial, 3)
    files.set_back(3)
    again = folder.leave(3, attempt=1)
    files.repeated(3, again)
    assert files.checkpoint(trial) == folder.path / again
    new = folder.leave(4, attempt=1)
    files.advanced(3, trial.checkpoint)
    assert folder.names() == {again, new}
