"""Recovery as pure steps: (state, failure) → (state, actions), on plain values."""

import pytest
from loratune.search.bisect import Suspicion
from loratune.search.limits import Limits
from loratune.search.passes import Passes, beginning
from loratune.search.recovery_steps import (
    Died,
    EndSearch,
    EndTrial,
    GiveUp,
    Health,
    LimitSlots,
    NotStarted,
    SetBack,
    StateLost,
    TryAgain,
    recover,
)

LIMITS = Limits(starts=3, killed_starts=5, failures=2)
ALONE = Health(passes=beginning(1))
FOUR = Health(passes=beginning(4))


def again(health, failure, times):
    """Return what follows, time after time, from the same failure."""
    found = []
    for _ in range(times):
        health, actions = recover(health, failure, LIMITS)
        found.append(actions)
    return health, found


def test_a_worker_that_dies_without_trials_accuses_none():
    assert recover(FOUR, Died(pack=(), reason="gone"), LIMITS) == (FOUR, ())


def test_a_pack_is_tried_again_then_halved_and_nobody_ends():
    health, found = again(FOUR, Died(pack=(1, 2, 3, 4), reason="gone"), 2)
    assert found == [(), ()]
    assert health.passes.suspicion == Suspicion(groups=((1, 2), (3, 4)), deaths=1)
    assert health.killers == 0


@pytest.mark.parametrize(("killed", "deaths"), [(False, 3), (True, 10)])
def test_a_trial_alone_fails_after_its_deaths(killed, deaths):
    health, found = again(ALONE, Died(pack=(7,), reason="gone", killed=killed), deaths)
    assert found == [
        *([()] * (deaths - 1)),
        (EndTrial(trial=7, state="failed", reason="kills its worker: gone"),),
    ]
    assert health.killers == 1
    assert health.passes.suspicion == Suspicion()


def test_a_row_of_killers_ends_the_search():
    blamed = Health(passes=Passes(slots=1, limit=1, suspicion=Suspicion(groups=((7,),), deaths=2)), killers=1)
    health, (action,) = recover(blamed, Died(pack=(7,), reason="gone"), LIMITS)
    assert action == EndSearch(
        reason="2 trials in a row killed their workers, the last so: gone; "
        "mend the cause, then tune resume goes on"
    )
    assert health.killers == 2


def test_memory_that_runs_out_halves_the_pack_and_then_says_that_a_trial_does_not_fit():
    health, actions = recover(FOUR, Died(pack=(1, 2, 3), reason="full", out_of_memory=True), LIMITS)
    assert actions == (LimitSlots(slots=1, reason="full"),)
    assert (health.passes.slots, health.passes.limit) == (1, 1)
    health, actions = recover(health, Died(pack=(2,), reason="full", out_of_memory=True), LIMITS)
    reason = "does not fit into memory, even alone: full"
    assert actions == (EndTrial(trial=2, state="infeasible", reason=reason),)
    assert health.killers == 0


@pytest.mark.parametrize(("killed", "starts"), [(False, 3), (True, 5)])
def test_a_worker_that_does_not_start_is_tried_again_and_then_given_up(killed, starts):
    health, found = again(FOUR, NotStarted(reason="why", killed=killed), starts)
    assert found == [*([(TryAgain(reason="why"),)] * (starts - 1)), (GiveUp(reason="why"),)]
    assert health == Health(passes=FOUR.passes, failed_starts=starts)


def test_memory_that_runs_out_at_the_start_halves_the_slots_and_is_no_failed_start():
    health, found = again(FOUR, NotStarted(reason="full", out_of_memory=True), 3)
    assert found == [
        (LimitSlots(slots=2, reason="full"),),
        (LimitSlots(slots=1, reason="full"),),
        (GiveUp(reason="full"),),
    ]
    assert health.failed_starts == 1


def test_a_lost_state_sets_a_trial_back_and_one_that_had_none_fails():
    lost = StateLost(trial=3, reason="damaged", from_scratch=False)
    assert recover(FOUR, lost, LIMITS) == (FOUR, (SetBack(trial=3, reason="damaged"),))
    suspected = Health(passes=Passes(slots=4, limit=4, suspicion=Suspicion(groups=((3,), (4,)), deaths=1)))
    health, actions = recover(suspected, StateLost(trial=3, reason="damaged", from_scratch=True), LIMITS)
    assert actions == (EndTrial(trial=3, state="failed", reason="damaged"),)
    assert health.passes.suspicion.groups == ((4,),)
