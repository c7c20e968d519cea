"""What a pruner leaves to be trained, as a plan reckons with it."""

import pytest
from loratune.study.pruners import PRUNERS, Halving, Promote


@pytest.mark.parametrize(
    # Replayed on both tables, the mean of four seeds each (docs/log.md).
    ("trials", "factor", "replayed"),
    [(12, 3, (0.292, 0.294)), (24, 3, (0.240, 0.253)), (100, 3, (0.239, 0.242)), (100, 4, (0.198, 0.205))],
)
def test_the_share_of_pausing_and_promoting_is_that_of_the_replays(trials, factor, replayed):
    share = Promote(factor=factor).trained_share(trials)
    assert min(replayed) - 0.015 <= share <= max(replayed) + 0.015


def test_no_share_is_above_all_and_a_later_first_rung_saves_less():
    for kind in PRUNERS.kinds:
        assert all(0 < kind().trained_share(trials) <= 1 for trials in (0, 1, 2, 10, 1000))
    shares = [Promote(first=rung).trained_share(100) for rung in (1, 2, 4)]
    assert shares == sorted(shares)
    assert Promote().trained_share(100) < 0.5 * Halving().trained_share(100)


def test_only_one_that_pauses_lets_trials_wait_and_from_its_first_rung_on():
    assert [rung for rung in range(9) if Promote().pauses_at(rung)] == [1, 2, 4]
    assert [rung for rung in range(9) if Promote(first=2).pauses_at(rung)] == [2, 4]
    assert not any(Halving(first=1).pauses_at(rung) for rung in range(9))
