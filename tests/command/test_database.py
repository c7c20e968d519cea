"""``tune db``: a copy of the database, and whether it is whole."""

import json
import shutil

import pytest


@pytest.fixture
def study(finished, tmp_path):
    """A copy of the finished study that may be damaged."""
    folder = tmp_path / "mine"
    shutil.copytree(finished, folder)
    return folder


def test_a_whole_study_is_said_to_be_whole(tune, study):
    ended = tune("db", "check", cwd=study)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"{study / 'tune.db'} is whole, and so are its files\n"


def test_a_damaged_adapter_is_one_line_and_exit_code_1(tune, study):
    adapter = min((study / "tune-artifacts" / "1" / "adapters").iterdir())
    content = bytearray(adapter.read_bytes())
    content[len(content) // 2] ^= 4
    adapter.write_bytes(content)
    ended = tune("db", "check", cwd=study)
    assert ended.code == 1
    (line,) = ended.out.splitlines()
    assert f"{adapter} is damaged" in line
    told = tune("db", "check", "--json", cwd=study)
    assert told.code == 1
    assert told.json["findings"] == [line]


def test_a_backup_is_listed_like_the_database_itself(tune, study, tmp_path):
    ended = tune("db", "backup", "-o", str(tmp_path / "copy.db"), "--json", cwd=study)
    assert ended.code == 0, ended.err
    assert ended.json["backup"] == str(tmp_path / "copy.db")
    assert ended.json["artifacts"] == str(study / "tune-artifacts")
    listed = [
        json.loads(tune("list", "--json", "--storage", str(file), cwd=study).out)
        for file in (study / "tune.db", tmp_path / "copy.db")
    ]
    for rows in listed:
        for row in rows:
            row.pop("disk_bytes", None)
    assert listed[0] == listed[1]
    again = tune("db", "backup", "-o", str(tmp_path / "copy.db"), cwd=study)
    assert again.code == 1
    assert "is there already" in again.complaint


def test_of_a_file_cut_short_the_check_says_no_more_than_it_knows(tune, study):
    database = study / "tune.db"
    database.write_bytes(database.read_bytes()[: database.stat().st_size // 2])
    ended = tune("db", "check", cwd=study)
    assert ended.code == 1
    assert "damaged; restore it from a copy" in ended.complaint
    assert "tune db check" not in ended.complaint
    assert "tune db check says how far" in tune("list", cwd=study).complaint


def test_a_backup_without_a_name_is_named_by_the_time(tune, study):
    before = set(study.iterdir())
    ended = tune("db", "backup", cwd=study)
    (made,) = set(study.iterdir()) - before
    assert made.name.startswith("tune-")
    assert ended.out == f"wrote {made.name}\n"
    assert "tune-artifacts" in ended.err


def test_a_slip_in_a_command_of_the_database_gets_the_nearest_name(refused):
    assert "(did you mean 'backup'?)" in refused("db", "bakup").complaint
