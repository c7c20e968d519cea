"""Which trial kills its worker."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from loratune.search.bisect import Suspicion, after_death, after_survival, without


def hunt(pack: tuple[int, ...], killers: set[int]) -> tuple[list[int], int]:
    """Run rounds until one passes with all that is left; return who was blamed, and the deaths."""
    suspicion, blamed, deaths, members = Suspicion(), [], 0, list(pack)
    while members:
        inside = suspicion.groups[0] if suspicion.groups else tuple(members)
        if killers & set(inside):
            deaths += 1
            suspicion, culprit = after_death(suspicion, inside)
            if culprit is not None:
                blamed.append(culprit)
                members.remove(culprit)
        elif suspicion.groups:
            suspicion = after_survival(suspicion)
        else:
            break
    return blamed, deaths


@given(st.sets(st.integers(0, 40), min_size=1, max_size=20), st.data())
def test_the_killers_are_blamed_and_nobody_else(pack: set[int], data: st.DataObject) -> None:
    killers = data.draw(st.sets(st.sampled_from(sorted(pack))))
    blamed, deaths = hunt(tuple(sorted(pack)), killers)
    assert sorted(blamed) == sorted(killers)
    assert deaths <= 12 * len(killers)


def test_one_death_accuses_nobody() -> None:
    suspicion, culprit = after_death(Suspicion(), (1, 2, 3))
    assert culprit is None
    assert suspicion.groups == ((1, 2, 3),)
    assert after_survival(suspicion) == Suspicion()


def test_a_single_trial_is_given_three_lives() -> None:
    suspicion, blamed = Suspicion(), []
    for _ in range(3):
        suspicion, culprit = after_death(suspicion, (4,))
        blamed.append(culprit)
    assert blamed == [None, None, 4]
    assert suspicion == Suspicion()


def test_a_trial_that_leaves_is_no_longer_suspected() -> None:
    suspicion = Suspicion(groups=((1, 2), (3,)), deaths=1)
    assert without(suspicion, 3) == Suspicion(groups=((1, 2),), deaths=1)
    assert without(without(suspicion, 1), 2) == Suspicion(groups=((3,),), deaths=1)
    assert without(Suspicion(groups=((3,),), deaths=2), 3) == Suspicion()
