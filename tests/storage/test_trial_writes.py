"""What every database must do for trials: recorded in order, never changed once they have ended."""

import numpy as np
import pytest
from loratune.errors import StorageError
from loratune.storage import queries, trial_writes
from loratune.storage.check import findings
from made_up_studies import ending


class TestTrials:
    def test_a_trial_is_read_as_it_was_added(self, store, make_study, params):
        study = make_study(store)
        store.add_trial(study.id, number=0, params=params, seed=2**40, source="default")
        (trial,) = store.trials(study.id)
        assert (trial.number, trial.params, trial.seed, trial.source) == (0, params, 2**40, "default")
        assert (trial.state, trial.rounds, trial.attempt) == ("running", 0, 0)
        assert (trial.reason, trial.value, trial.checkpoint, trial.adapter, trial.finished_at) == (None,) * 5

    def test_more_can_be_named_than_one_statement_takes(
        self, store, make_study, params, round_update, monkeypatch
    ):
        study = make_study(store)
        for number in range(7):
            store.add_trial(study.id, number=number, params=params, seed=0, source="tpe")
        with store._connections.writing(study.id) as connection, monkeypatch.context() as patch:
            patch.setattr(queries, "AT_ONCE", 3)
            updates = [round_update(n, 1) for n in (6, 1, 0, 5, 2)]
            trial_writes.record(connection, study.id, store.study_dir(study.id), updates)
            found = queries.trials(connection, study.id, (6, 0, 5, 1, 2))
            assert [trial.number for trial in found] == [0, 1, 2, 5, 6]
            found = queries.curve(connection, study.id, (6, 0, 5, 1))
            assert [point.trial for point in found] == [0, 1, 5, 6]
            assert queries.trials(connection, study.id, ()) == ()
        many = range(300_000)  # no build of SQLite that we know takes so many in one
        with store._connections.writing(study.id) as connection:
            assert len(queries.trials(connection, study.id, many)) == 7
            assert len(queries.curve(connection, study.id, many)) == 5
            trial_writes.forget_adapters(connection, study.id, many)
        assert findings(store) == ()  # every seal is right

    @pytest.mark.parametrize("number", [0, 2, 7, -1])
    def test_a_number_that_is_not_the_next_is_refused(self, store, make_study, params, number):
        study = make_study(store)
        store.add_trial(study.id, number=0, params=params, seed=0, source="default")
        with pytest.raises(StorageError, match="the next number is 1"):
            store.add_trial(study.id, number=number, params=params, seed=0, source="tpe")
        assert len(store.trials(study.id)) == 1

    def test_each_study_counts_for_itself(self, store, make_study, params):
        for name in ("first", "second"):
            study = make_study(store, name)
            store.add_trial(study.id, number=0, params=params, seed=0, source="default")
            assert [trial.number for trial in store.trials(study.id)] == [0]

    def test_an_attempt_is_counted(self, store, make_study, params):
        study = make_study(store)
        store.add_trial(study.id, number=0, params=params, seed=0, source="default")
        assert [store.begin_attempt(study.id, 0) for _ in range(2)] == [1, 2]
        assert store.trials(study.id)[0].attempt == 2
        with pytest.raises(StorageError, match="trial 5: not in study"):
            store.begin_attempt(study.id, 5)

    def test_a_round_is_read_as_it_was_recorded(self, store, make_study, params, round_update):
        study = make_study(store)
        for number in (0, 1):
            store.add_trial(study.id, number=number, params=params, seed=0, source="tpe")
        updates = [round_update(0, 1, checkpoint="checkpoints/a"), round_update(1, 1, eval_loss=None)]
        store.record_round(study.id, updates)
        assert store.curve(study.id) == (updates[0].point, updates[1].point)
        assert store.curve(study.id, 1) == (updates[1].point,)
        first, second = store.trials(study.id)
        assert (first.rounds, first.checkpoint) == (1, "checkpoints/a")
        assert (second.rounds, second.checkpoint) == (1, None)
        found = store.evaluation(study.id, 0, 1)
        assert found.losses.dtype == np.float32
        assert found.tokens.dtype == np.int64
        assert found.losses.tolist() == updates[0].evaluation.losses.tolist()
        assert found.tokens.tolist() == [3, 70_000, 1]
        assert store.evaluation(study.id, 1, 1) is None
        assert list(store.evaluations(study.id, 1)) == [0]
        assert store.evaluations(study.id, 2) == {}

    def test_what_is_not_finite_is_recorded_as_missing(self, store, make_study, params, round_update):
        study = make_study(store)
        store.add_trial(study.id, number=0, params=params, seed=0, source="tpe")
        store.record_round(study.id, [round_update(0, 1, train_loss=float("nan"), eval_loss=float("inf"))])
        (point,) = store.curve(study.id)
        assert (point.train_loss, point.eval_loss) == (None, None)

    def test_a_number_of_numpy_is_stored_as_a_number(self, store, make_study, params, round_update):
        study = make_study(store)
        store.add_trial(study.id, number=0, params=params, seed=0, source="tpe")
        store.record_round(study.id, [round_update(0, 1, train_loss=np.float32(1.5))])
        store.record_round(study.id, [], [ending(0, value=np.float32(0.5))])
        assert store.curve(study.id)[0].train_loss == 1.5
        assert store.trials(study.id)[0].value == 0.5

    @pytest.mark.parametrize("wrong", [1, 3, 8])
    def test_a_round_out_of_order_is_refused_and_nothing_of_it_stays(
        self, store, make_study, params, round_update, wrong
    ):
        study = make_study(store)
        for number in (0, 1):
            store.add_trial(study.id, number=number, params=params, seed=0, source="tpe")
        store.record_round(study.id, [round_update(0, 1), round_update(1, 1)])
        before = store.trials(study.id), store.curve(study.id)
        with pytest.raises(StorageError, match=f"round {wrong} does not follow 1"):
            store.record_round(study.id, [round_update(0, 2), round_update(1, wrong)])
        assert (store.trials(study.id), store.curve(study.id)) == before

    @pytest.mark.parametrize("file", ["../x", "/etc/passwd", "checkpoints/../../x", ""])
    def test_a_file_outside_the_study_is_refused(self, store, make_study, params, round_update, file):
        study = make_study(store)
        store.add_trial(study.id, number=0, params=params, seed=0, source="tpe")
        with pytest.raises(StorageError, match="outside the study's folder"):
            store.record_round(study.id, [round_update(0, 1, checkpoint=file)])

    def test_an_absolute_file_inside_the_study_is_stored_relative(
        self, store, make_study, params, round_update
    ):
        study = make_study(store)
        store.add_trial(study.id, number=0, params=params, seed=0, source="tpe")
        inside = store.study_dir(study.id) / "checkpoints" / "a"
        store.record_round(study.id, [round_update(0, 1, checkpoint=str(inside))])
        assert store.trials(study.id)[0].checkpoint == "checkpoints/a"

    def test_endings_are_recorded_with_their_round_or_not_at_all(
        self, store, make_study, params, round_update
    ):
        study = make_study(store)
        for number in (0, 1):
            store.add_trial(study.id, number=number, params=params, seed=0, source="tpe")
        with pytest.raises(StorageError, match="not a finite number"):
            store.record_round(
                study.id, [round_update(0, 1), round_update(1, 1)], [ending(0), ending(1, value=float("nan"))]
            )
        assert [trial.state for trial in store.trials(study.id)] == ["running", "running"]
        assert store.curve(study.id) == ()
        store.record_round(
            study.id,
            [round_update(0, 1, checkpoint="checkpoints/a"), round_update(1, 1)],
            [ending(0, value=1.25, adapter="adapters/a"), ending(1, "pruned")],
        )
        first, second = store.trials(study.id)
        assert (first.state, first.value, first.adapter, first.checkpoint) == (
            "complete",
            1.25,
            "adapters/a",
            None,
        )
        assert (second.state, second.value, second.reason) == ("pruned", None, "worse than its peers")
        assert first.finished_at >= first.started_at

    @pytest.mark.parametrize("state", ["complete", "pruned", "diverged", "infeasible", "failed"])
    def test_a_finished_trial_is_never_changed(self, store, make_study, params, round_update, state):
        study = make_study(store)
        store.add_trial(study.id, number=0, params=params, seed=0, source="tpe")
        store.record_round(study.id, [], [ending(0, state)])
        before = store.trials(study.id)
        for change in (
            lambda: store.record_round(study.id, [], [ending(0, value=0.1)]),
            lambda: store.record_round(study.id, [round_update(0, 1)]),
            lambda: store.begin_attempt(study.id, 0),
        ):
            with pytest.raises(StorageError, match=f"has ended \\({state}\\)"):
                change()
        assert store.trials(study.id) == before

    @pytest.mark.parametrize(
        ("made", "words"),
        [
            ({"state": "running", "value": None}, "cannot end as 'running'"),
            ({"state": "lost", "reason": "x"}, "cannot end as 'lost'"),
            ({"state": "complete", "value": float("inf")}, "not a finite number"),
            ({"state": "pruned", "value": 1.0}, "only a complete trial has a value"),
            ({"state": "failed", "reason": ""}, "without a reason"),
        ],
    )
    def test_an_ending_that_makes_no_sense_is_refused(self, store, make_study, params, made, words):
        study = make_study(store)
        store.add_trial(study.id, number=0, params=params, seed=0, source="tpe")
        with pytest.raises(StorageError, match=words):
            store.record_round(study.id, [], [ending(0, **made)])
        assert store.trials(study.id)[0].state == "running"
