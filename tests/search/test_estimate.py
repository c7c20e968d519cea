"""How long a search still takes, from what it has done so far."""

import pytest
from loratune.search.progress import estimate, estimate_of_pausing

# Rounds: ten ended trials took 40 of them in 100 seconds.
SO_FAR = {"rounds_done": 40, "elapsed": 100.0, "rounds_of_finished": 40, "finished": 10}


@pytest.mark.parametrize("stops", [True, False])
def test_nothing_is_known_before_the_first_round_has_ended(stops):
    known = {**SO_FAR, "rounds_done": 0, "rounds_of_finished": 0, "finished": 0}
    assert estimate(**known, to_begin=5, begun=[0], stops=stops) == (None, None)


@pytest.mark.parametrize("rounds", [4, 5, 6, 7, 8])
@pytest.mark.parametrize("stops", [True, False])
def test_a_trial_that_nothing_stops_any_more_owes_all_its_rounds(rounds, stops):
    _, left = estimate(**SO_FAR, to_begin=0, begun=[rounds] * 4, stops=stops)
    assert left == pytest.approx(4 * (8 - rounds) / 0.4)


def test_without_stopping_every_trial_is_whole_also_before_one_has_ended():
    begun = {**SO_FAR, "rounds_of_finished": 0, "finished": 0}
    per_hour, left = estimate(**begun, to_begin=10, begun=[2], stops=False)
    assert left == pytest.approx((80 + 6) / 0.4)
    assert per_hour == pytest.approx(3600 * 0.4 / 8)


def test_a_trial_that_may_be_stopped_owes_what_others_took_and_at_least_half_of_the_rest():
    for rounds, owed in ((0, 4), (1, 3.5), (2, 3), (3, 2.5)):
        _, left = estimate(**SO_FAR, to_begin=0, begun=[rounds], stops=True)
        assert left == pytest.approx(owed / 0.4)


def test_a_search_that_has_only_whole_trials_left_is_over_when_they_are():
    assert estimate(**SO_FAR, to_begin=0, begun=[], stops=True)[1] == 0.0


def test_where_trials_wait_the_share_of_all_that_is_trained_says_how_long_it_takes():
    known = {"rounds_done": 40, "elapsed": 100.0, "trials": 100, "share": 0.25}
    per_hour, left = estimate_of_pausing(**known, rounds_of_all=80, begun=[0, 3])
    assert left == pytest.approx((200 - 80) / 0.4)
    assert per_hour == pytest.approx(3600 * 0.4 / 2)
    # Once more was trained than that, what trains is on its way to its next rung at least.
    assert estimate_of_pausing(**known, rounds_of_all=300, begun=[0, 3, 4])[1] == pytest.approx(6 / 0.4)
    assert estimate_of_pausing(**{**known, "rounds_done": 0}, rounds_of_all=0, begun=[]) == (None, None)
