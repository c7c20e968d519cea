"""Becoming and ceasing to be the only one who may write a study, over as many transactions as that takes.

What is written of it is in ownership.py, and who still runs in leases.py.
"""

from __future__ import annotations

from ..study.records import LeaseRecord
from . import leases, ownership, rows
from .connections import Connections


def acquire(database: Connections, study_id: int, *, take_over: bool) -> LeaseRecord:
    """Take a study's lease; an owner on this machine is ended first where ``take_over`` says so.

    Raises ``StudyBusy`` where another owner stands in the way.
    """
    held = database.fence.held
    me = leases.here()
    ended: leases.Process | None = None
    while True:
        mine = held.pop(study_id, None)
        try:
            with database.transaction() as connection:
                name = database.touch(connection, study_id)
                claimed = ownership.claim(
                    connection, study_id, name, mine=mine, me=me, take_over=take_over, ended=ended
                )
        except BaseException:
            if mine is not None:
                held[study_id] = mine
            raise
        if isinstance(claimed, int):
            held[study_id] = claimed
            return rows.lease(me, claimed, alive=True)
        # Outside the transaction: the owner must be able to write its last words.
        leases.end(claimed)
        ended = claimed


def release(database: Connections, study_id: int) -> None:
    """Give up a study that is held; raises ``StaleOwner`` where it was lost, and holds it no more."""
    try:
        with database.transaction() as connection:
            ownership.give_up(connection, study_id)
    finally:
        database.fence.held.pop(study_id, None)


def owner(database: Connections, study_id: int) -> LeaseRecord | None:
    """Return who owns a study; None where nobody does."""
    with database.reading() as connection:
        found, token = ownership.read(connection, study_id)
    if found is None:
        return None
    standing = leases.standing(found, leases.here(), leases.running)
    return rows.lease(found, token, alive=standing != "dead")
