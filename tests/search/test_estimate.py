"""How long a search still takes, from what it has done so far."""

import pytest
from loratune.search.progress import estimate

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
