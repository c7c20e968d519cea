"""What every database must do for ownership: one process writes a study, and another only after it."""

import os

import pytest
from loratune.errors import StaleOwner, StudyBusy
from loratune.storage.store import Store
from made_up_studies import ending


class TestOwnership:
    def test_an_owner_is_this_process_until_it_lets_go(self, store, make_study):
        study = make_study(store)
        assert store.lease(study.id) is None
        lease = store.acquire(study.id)
        assert (lease.pid, lease.token, lease.alive) == (os.getpid(), 1, True)
        assert store.lease(study.id) == lease
        store.release(study.id)
        assert store.lease(study.id) is None
        store.release(study.id)  # nothing left to do

    def test_asking_again_changes_nothing(self, store, make_study):
        study = make_study(store)
        assert store.acquire(study.id) == store.acquire(study.id)

    def test_a_token_is_never_used_twice(self, store, make_study):
        study = make_study(store)
        tokens = []
        for _ in range(3):
            tokens.append(store.acquire(study.id).token)
            store.release(study.id)
        assert tokens == [1, 2, 3]

    def test_a_second_store_is_refused_and_may_not_write(self, address, store, make_study, params):
        study = make_study(store)
        store.acquire(study.id)
        with Store.open(address, mode="write") as other:
            with pytest.raises(StudyBusy, match=f"process {os.getpid()} on this machine"):
                other.acquire(study.id)
            with pytest.raises(StudyBusy, match="this very process"):
                other.acquire(study.id, take_over=True)
            with pytest.raises(StaleOwner, match="nothing was written"):
                other.add_trial(study.id, number=0, params=params, seed=0, source="tpe")
            with pytest.raises(StaleOwner):
                other.project(study.id, {}, {})
        store.add_trial(study.id, number=0, params=params, seed=0, source="tpe")

    def test_whether_a_study_is_free_can_be_asked_by_name(self, address, store, make_study):
        study = make_study(store)
        for name in (study.name, "not there"):
            store.check_free(name)
        store.acquire(study.id)
        with Store.open(address, mode="create") as other:
            with pytest.raises(StudyBusy, match=f"{study.name!r}: process {os.getpid()} on this machine"):
                other.check_free(study.name)
            store.release(study.id)
            other.check_free(study.name)

    def test_closing_lets_go(self, address, make_study):
        with Store.open(address, mode="create") as store:
            study = make_study(store)
            store.acquire(study.id)
        with Store.open(address, mode="write") as other:
            assert other.lease(study.id) is None
            assert other.acquire(study.id).token == 2

    def test_a_displaced_owner_can_write_nothing_more(self, address, store, make_study, params, round_update):
        study = make_study(store)
        store.acquire(study.id)
        store.add_trial(study.id, number=0, params=params, seed=0, source="tpe")
        store.project(study.id, {}, {})
        store.record_round(study.id, [], [ending(0)])
        with store._connections.engine.connect() as connection:  # as if another had taken it over
            connection.exec_driver_sql("UPDATE tune_leases SET token = token + 1, host = 'elsewhere'")
            connection.commit()
        before = store.trials(study.id)
        for write in (
            lambda: store.add_trial(study.id, number=1, params=params, seed=0, source="tpe"),
            lambda: store.add_event(study.id, "x"),
            lambda: store.set_trials(study.id, 5),
            lambda: make_study(store, "second"),
            lambda: store.project(study.id, {}, {}),
            lambda: store._copy._projection.write(study, before, store.curve(study.id), {}, {}),
        ):
            with pytest.raises(StaleOwner, match="took it over"):
                write()
        assert store.trials(study.id) == before
        assert [study.name for study in store.studies()] == ["first"]
        with store.reading() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM trials").scalar() == 0
        with pytest.raises(StudyBusy, match="'elsewhere'"):
            store.acquire(study.id)
        with pytest.raises(StaleOwner):
            store.add_event(study.id, "x")
        assert store.acquire(study.id, take_over=True).token == 3
        store.add_event(study.id, "x")
