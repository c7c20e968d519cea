"""How long a search still takes, from what it has done so far."""

import pytest
from loratune.objectives.testing.clock import ManualClock
from loratune.search.progress import Announcer, estimate, estimate_of_pausing
from loratune.search.study_state import StudyState
from loratune.storage.store import Store


def told_at(announcer, clock, second):
    clock.time = second
    return announcer.progress().seconds_left


# Work in rounds: ten ended trials took 40 of them in 100 seconds.
SO_FAR = {"done": 40, "seconds": 100.0, "costs": range(9), "of_finished": 40, "finished": 10}


@pytest.mark.parametrize("stops", [True, False])
def test_nothing_is_known_before_the_first_round_has_ended(stops):
    known = {**SO_FAR, "done": 0, "of_finished": 0, "finished": 0}
    assert estimate(**known, to_begin=[0] * 5, begun=[0], stops=stops) == (None, None)


@pytest.mark.parametrize("rounds", [4, 5, 6, 7, 8])
@pytest.mark.parametrize("stops", [True, False])
def test_a_trial_that_nothing_stops_any_more_owes_all_its_rounds(rounds, stops):
    _, left = estimate(**SO_FAR, to_begin=[], begun=[rounds] * 4, stops=stops)
    assert left == pytest.approx(4 * (8 - rounds) / 0.4)


def test_without_stopping_every_trial_is_whole_also_before_one_has_ended():
    begun = {**SO_FAR, "of_finished": 0, "finished": 0}
    per_hour, left = estimate(**begun, to_begin=[0] * 10, begun=[2], stops=False)
    assert left == pytest.approx((80 + 6) / 0.4)
    assert per_hour == pytest.approx(3600 * 0.4 / 8)


def test_a_trial_that_may_be_stopped_owes_what_others_took_and_at_least_half_of_the_rest():
    for rounds, owed in ((0, 4), (1, 3.5), (2, 3), (3, 2.5)):
        _, left = estimate(**SO_FAR, to_begin=[], begun=[rounds], stops=True)
        assert left == pytest.approx(owed / 0.4)


def test_a_search_that_has_only_whole_trials_left_is_over_when_they_are():
    assert estimate(**SO_FAR, to_begin=[], begun=[], stops=True)[1] == 0.0


def test_where_trials_wait_the_share_of_all_that_is_trained_says_how_long_it_takes():
    known = {"done": 40, "seconds": 100.0, "costs": range(9), "trials": 100, "mean": 2.0}
    per_hour, left = estimate_of_pausing(**known, of_all=80, begun=[0, 3])
    assert left == pytest.approx((200 - 80) / 0.4)
    assert per_hour == pytest.approx(3600 * 0.4 / 2)
    # Once more was trained than that, what trains is on its way to its next rung at least.
    assert estimate_of_pausing(**known, of_all=300, begun=[0, 3, 4])[1] == pytest.approx(6 / 0.4)
    assert estimate_of_pausing(**{**known, "done": 0}, of_all=0, begun=[]) == (None, None)


def test_what_the_last_round_costs_more_is_still_to_come_until_it_has_ended():
    costs = (0, 1, 2, 3, 4, 5, 6, 7, 48)
    _, left = estimate(
        done=28, seconds=28.0, costs=costs, of_finished=0, finished=0, to_begin=[], begun=[7] * 4, stops=False
    )
    assert left == pytest.approx(4 * 41)


def test_a_trial_that_goes_on_from_a_state_is_not_reckoned_from_its_beginning():
    _, left = estimate(**SO_FAR, to_begin=[3, 3], begun=[], stops=False)
    assert left == pytest.approx(2 * 5 / 0.4)


def test_time_left_falls_through_a_long_last_round_and_is_not_known_once_that_takes_longer(bench):
    bench.create(4)
    with Store.open(str(bench.path), mode="write") as store:
        study = store.study("a")
        store.acquire(study.id)
        state = StudyState(store, study)
        state.add(state.config.first[0], "default")
        clock = ManualClock()
        announcer = Announcer(state, [], (), clock.now)
        clock.time = 10.0
        announcer.trained([1])
        (left, *later) = [told_at(announcer, clock, second) for second in (10.0, 11.0, 12.0)]
        assert left > 2
        assert later == pytest.approx([left - 1, left - 2])
        assert told_at(announcer, clock, 11.0 + left) is None
