"""``tune db delete``: asks, says what went, and refuses what is trained or has others that follow from it."""

from __future__ import annotations

import contextlib
import sqlite3
from types import SimpleNamespace

import pytest
from loratune.app import following
from loratune.app.deleting import delete_study
from loratune.errors import StudyBusy, StudyNotFound
from loratune.storage.store import Store
from loratune.study.stage import Entry, Stage
from made_up_studies import make_config, make_facts


@pytest.fixture
def family(tmp_path, params):
    """A database with ``first``, what follows from it, and ``second``."""
    path = tmp_path / "tune.db"
    stage = Stage(kind="train", parent="first", entries=(Entry(params=params, seed=0, trial=0),))
    with Store.open(str(path), mode="create") as store:
        for name, more in (("first", {}), ("first.train", {"stage": stage}), ("second", {})):
            store.create_study(name=name, trials=1, config=make_config(**more), facts=make_facts())
    return path


@pytest.fixture
def params():
    from loratune.spaces.params import LoraParams

    return LoraParams(learning_rate=1e-3, batch_size=8, lora_rank=8, lora_alpha=16)


def names(path):
    with Store.open(str(path), mode="read") as store:
        return [head.name for head in store.studies()]


def test_a_study_is_deleted_with_its_files_and_tokens_and_said_to_be(tune, study):
    artifacts = study / "tune-artifacts"
    assert list((artifacts / "cache").glob("tokens-*"))
    ended = tune("db", "delete", "done", "--yes", "--json", cwd=study)
    assert ended.code == 0, ended.err
    told = ended.json
    assert (told["studies"], told["trials"], told["kept_files"]) == (["done"], 6, [])
    assert told["freed"] > 10_000
    assert not (artifacts / "1").exists()
    assert list((artifacts / "cache").glob("tokens-*")) == []
    assert "is whole" in tune("db", "check", cwd=study).out
    assert "did you mean" not in tune("show", "done", cwd=study).complaint


def harmless(path):
    """Make a database of another program."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (note TEXT)")


def of_ours(path):
    with Store.open(str(path), mode="create"):
        pass


def damaged(path):
    of_ours(path)
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xa5" * (len(content) - 100))


@pytest.mark.parametrize(("beside", "stay"), [(harmless, False), (of_ours, True), (damaged, True)])
def test_tokens_stay_where_another_database_shares_them(study, beside, stay):
    """Its studies may be of the same data, and are not known here."""
    beside(study / "other.db")
    done = delete_study("done", following=False, storage=str(study / "tune.db"), agreed=lambda _: True)
    assert done is not None
    left = list((study / "tune-artifacts" / "cache").glob("tokens-*"))
    assert (left != []) is stay


def test_tokens_stay_where_a_study_that_may_use_them_cannot_be_read(study):
    path = study / "tune.db"
    with Store.open(str(path), mode="write") as store:
        store.create_study(name="second", trials=1, config=make_config(), facts=make_facts())
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE tune_studies SET facts = 'no json' WHERE name = 'second'")
        connection.commit()
    assert delete_study("done", following=False, storage=str(path), agreed=lambda _: True) is not None
    assert list((study / "tune-artifacts" / "cache").glob("tokens-*"))


def test_files_that_may_be_anothers_are_said_to_stay_and_why(tune, family):
    with Store.open(str(family), mode="read") as store:
        store.backup(family.with_name("copy.db"))
    ended = tune("db", "delete", "second", "--yes")
    assert ended.code == 0
    said = " ".join((ended.out + ended.err).split())
    assert "files of second were left: " in said
    assert "copy.db, which shares their folder, has a study of the same number, 3" in said


def test_a_deletion_that_is_finished_says_so_too(family):
    with Store.open(str(family), mode="write") as store:
        store.deletions.delete(["second"])
        (store.study_dir(3) / "left").touch()
    with Store.open(str(family.with_name("other.db")), mode="create") as store:
        store.create_study(name="other", trials=1, config=make_config(), facts=make_facts())
    with contextlib.closing(sqlite3.connect(family.with_name("other.db"))) as connection:
        connection.execute("UPDATE tune_studies SET id = 3")
        connection.commit()
    done = delete_study("second", following=False, storage=str(family), agreed=lambda _: True)
    assert done is not None
    assert (done.finished, done.kept_files, done.freed) == (("second",), ("second",), 0)
    assert done.lines()[1].startswith("files of second were left: ")
    assert (family.parent / "tune-artifacts" / "3" / "left").exists()


def test_one_that_is_made_of_it_while_it_is_agreed_to_keeps_it(family, params):
    stage = Stage(kind="confirm", parent="second", entries=(Entry(params=params, seed=0, trial=0),))

    def meanwhile(_):
        with Store.open(str(family), mode="write") as store:
            store.create_study(
                name="second.confirm", trials=1, config=make_config(stage=stage), facts=make_facts()
            )
        return True

    with pytest.raises(StudyBusy, match=r"'second': second.confirm follows from it, and was made meanwhile"):
        delete_study("second", following=False, storage=str(family), agreed=meanwhile)
    assert names(family) == ["first", "first.train", "second", "second.confirm"]


def delete_and_make_again(path):
    """Delete ``second``, and make another study of that name."""
    assert delete_study("second", following=False, storage=str(path), agreed=lambda _: True)
    with Store.open(str(path), mode="write") as store:
        return store.create_study(name="second", trials=1, config=make_config(), facts=make_facts()).id


def test_another_of_its_name_that_was_not_agreed_to_stays(family):
    with pytest.raises(StudyBusy, match="'second': was deleted meanwhile and another one made"):
        delete_study(
            "second",
            following=False,
            storage=str(family),
            agreed=lambda _: bool(delete_and_make_again(family)),
        )
    assert names(family) == ["first", "first.train", "second"]


def confirm_second(family, params):
    stage = Stage(kind="confirm", parent="second", entries=(Entry(params=params, seed=0, trial=0),))
    with Store.open(str(family), mode="write") as store:
        found = store.study("second")
        following.follow(store, found, stage, name="second.confirm", examples=64, eval_examples=64)


def test_nothing_is_made_to_follow_from_another_study_of_the_name(family, params, monkeypatch):
    def prepare(*_):
        delete_and_make_again(family)
        return SimpleNamespace(facts=make_facts(), worker=SimpleNamespace(close=lambda: None))

    monkeypatch.setattr(following, "_prepare", prepare)
    with pytest.raises(StudyNotFound, match=r"'second': was deleted while second\.confirm was prepared"):
        confirm_second(family, params)
    assert names(family) == ["first", "first.train", "second"]


def test_one_that_is_deleted_while_what_follows_from_it_is_prepared_leaves_nothing(
    family, params, monkeypatch
):
    closed = []

    def prepare(*_):
        assert delete_study("second", following=False, storage=str(family), agreed=lambda _: True)
        worker = SimpleNamespace(close=lambda: closed.append(True))
        return SimpleNamespace(facts=make_facts(), worker=worker)

    monkeypatch.setattr(following, "_prepare", prepare)
    with pytest.raises(StudyNotFound, match=r"'second', which it follows from, is not in .* any more"):
        confirm_second(family, params)
    assert names(family) == ["first", "first.train"]
    assert closed == [True]


def test_without_a_terminal_it_must_be_agreed_to_and_the_line_says_what_would_go(refused, family):
    ended = refused("db", "delete", "second")
    assert ended.code == 2
    assert "second (0 trials, 0 bytes of files) would be deleted for good; add --yes" in ended.complaint
    assert names(family) == ["first", "first.train", "second"]


@pytest.mark.parametrize(("answer", "left"), [("y\n", ["first", "first.train"]), ("\n", None)])
def test_on_a_terminal_it_asks(family, monkeypatch, answer, left):
    from click.testing import CliRunner
    from loratune.cli import tune as group
    from loratune.command import database

    monkeypatch.chdir(family.parent)
    monkeypatch.setattr(database, "asks", lambda: True)
    ended = CliRunner().invoke(group, ["db", "delete", "second"], input=answer)
    assert ended.exit_code == (0 if left else 1)
    assert "delete second (0 trials, 0 bytes of files) for good? [y/N]" in ended.output
    assert names(family) == (left or ["first", "first.train", "second"])


def test_what_follows_from_it_is_named_and_goes_only_where_that_is_said(refused, family):
    ended = refused("db", "delete", "first", "--yes")
    assert ended.code == 2
    assert "'first': first.train follows from it; add --following" in ended.complaint
    done = delete_study("first", following=True, storage=str(family), agreed=lambda _: True)
    assert done is not None
    assert done.studies == ("first", "first.train")
    assert names(family) == ["second"]


def test_a_study_that_is_trained_is_refused(tune, family):
    with Store.open(str(family), mode="write") as store:
        store.acquire(store.study("second").id)
        ended = tune("db", "delete", "second", "--yes")
    assert ended.code == 1
    assert "is running it; interrupt it first" in ended.complaint
    assert "second" in names(family)


def test_an_unknown_study_is_told_with_the_nearest_name(refused, family):
    assert "'secnd': not in" in refused("db", "delete", "secnd", "--yes").complaint
    assert len(names(family)) == 3


def test_the_same_command_finishes_a_deletion_that_was_killed(family):
    with Store.open(str(family), mode="write") as store:
        (gone,) = store.deletions.delete(["second"])
        (store.study_dir(gone.id) / "left").write_bytes(b"x" * 10)
    done = delete_study("second", following=False, storage=str(family), agreed=lambda _: True)
    assert done is not None
    assert (done.studies, done.finished, done.freed) == ((), ("second",), 10)
