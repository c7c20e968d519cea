"""A study of the user's own in Optuna's tables is never written to, whatever its name."""

import optuna
import pytest
from loratune.errors import StorageError
from loratune.storage.check import findings
from loratune.storage.store import Store
from optuna_copies import DISTRIBUTIONS, VALUES, end, load, opened


def user_study(storage, name="first", value=0.125):
    """Make a study of the user's own, with a trial that nobody else has."""
    study = optuna.create_study(storage=storage, study_name=name)
    study.add_trial(optuna.create_trial(value=value))
    return study


class TestAStudyOfTheUsersOwn:
    def test_is_left_as_it_is_and_ours_is_copied_under_another_name(self, path, owned):
        store, study = owned
        store.record_round(study.id, [], [end(1, value=2.0)])
        with opened(path) as theirs:
            user_study(theirs)
            assert store.project(study.id, DISTRIBUTIONS, VALUES) == "first (loratune)"
            store.record_round(study.id, [], [end(3, value=4.0)])
            assert store.project(study.id, DISTRIBUTIONS, VALUES) == "first (loratune)"
            assert [trial.value for trial in load(path)] == [0.125]
            assert [trial.value for trial in load(path, "first (loratune)")] == [2.0, 4.0]
        store.close()
        with Store.open(str(path), mode="write") as again:
            again.project(study.id, DISTRIBUTIONS, VALUES)
            assert findings(again) == ()
        assert [trial.value for trial in load(path)] == [0.125]
        assert [trial.value for trial in load(path, "first (loratune)")] == [2.0, 4.0]

    def test_is_not_written_to_where_it_took_the_place_of_a_copy_that_was_deleted(self, path, owned):
        store, study = owned
        store.record_round(study.id, [], [end(1, value=2.0)])
        assert store.project(study.id, DISTRIBUTIONS, VALUES) == "first"
        with opened(path) as theirs:
            before = theirs.get_study_id_from_name("first")
            optuna.delete_study(storage=theirs, study_name="first")
            user_study(theirs)
            assert theirs.get_study_id_from_name("first") == before  # else this would show less
            store.record_round(study.id, [], [end(3, value=4.0)])
            store.project(study.id, DISTRIBUTIONS, VALUES)
        assert [trial.value for trial in load(path)] == [0.125]
        assert [trial.value for trial in load(path, "first (loratune)")] == [2.0, 4.0]

    @pytest.mark.parametrize("notes", [{}, {"loratune_layout": 1}])
    def test_is_one_too_that_holds_trials_of_ours_beside_the_users(self, path, owned, notes):
        store, study = owned
        store.record_round(study.id, [], [end(1, value=2.0)])
        with opened(path) as theirs:
            mixed = user_study(theirs)
            mixed.add_trial(optuna.create_trial(value=2.0, user_attrs={"loratune_number": 1}))
            for key, value in notes.items():
                mixed.set_user_attr(key, value)
        store.project(study.id, DISTRIBUTIONS, VALUES)
        assert [trial.value for trial in load(path)] == [0.125, 2.0]
        assert [trial.value for trial in load(path, "first (loratune)")] == [2.0]

    def test_is_kept_while_it_is_empty(self, path, owned):
        store, study = owned
        with opened(path) as theirs:
            optuna.create_study(storage=theirs, study_name="first").set_user_attr("mine", 1)
            store.project(study.id, DISTRIBUTIONS, VALUES)
            assert optuna.load_study(storage=theirs, study_name="first").user_attrs == {"mine": 1}

    def test_is_never_in_the_way_of_the_record(self, path, owned):
        store, study = owned
        with opened(path) as theirs:
            for name in ("first", "first (loratune)"):
                user_study(theirs, name)
        with pytest.raises(StorageError, match="delete or rename one of them") as caught:
            store.project(study.id, DISTRIBUTIONS, VALUES)
        assert "\n" not in str(caught.value)
        store.record_round(study.id, [], [end(1, value=2.0)])
        assert [trial.value for trial in load(path)] == [0.125]
