"""The lease of a study in the database: read, written and given up inside the caller's transaction.

A lease's token only grows; the row stays when it is given up, so that no token is ever used twice.
"""

from __future__ import annotations

import sqlalchemy
from sqlalchemy import insert, select, update

from ..errors import StaleOwner, StudyBusy
from . import leases, rows, tables

_NOBODY = {"host": None, "pid": None, "pid_started": None, "identity": None}


def read(connection: sqlalchemy.Connection, study_id: int) -> tuple[leases.Process | None, int]:
    """Return a study's owner, None where it has none, and its last token."""
    query = select(tables.leases).where(tables.leases.c.study_id == study_id)
    row = connection.execute(query).mappings().first()
    return (None, 0) if row is None else (rows.owner(row), int(row["token"]))


def claim(
    connection: sqlalchemy.Connection,
    study_id: int,
    name: str,
    *,
    mine: int | None,
    me: leases.Process,
    take_over: bool,
    ended: leases.Process | None,
) -> int | leases.Process:
    """Make ``me`` the owner of a study.

    Args:
        connection: inside a transaction that holds the write lock.
        study_id: the study.
        name: its name, for messages.
        mine: the token that this process held before, if any.
        me: this process.
        take_over: whether another owner may be displaced.
        ended: an owner that was ended since the last try.

    Returns:
        The token; or the owner on this machine that must be ended first, outside the transaction.

    Raises:
        StudyBusy: another owner stands in the way.
    """
    owner, token = read(connection, study_id)
    if owner is not None:
        if token == mine:
            return token
        found = leases.standing(owner, me, leases.running)
        if found == "alive" and take_over and owner != ended:
            return owner
        if found == "alive" or (found == "elsewhere" and not take_over):
            raise _busy(name, owner, found)
    values = {"token": token + 1, "host": me.host, "pid": me.pid, "pid_started": me.started}
    values |= {"identity": me.identity(), "acquired_at": rows.now()}
    table = tables.leases
    changed = connection.execute(update(table).where(table.c.study_id == study_id).values(values))
    if changed.rowcount == 0:
        connection.execute(insert(table).values(study_id=study_id, **values))
    return token + 1


def check_free(connection: sqlalchemy.Connection, study_id: int, name: str) -> None:
    """Raise ``StudyBusy`` where a process that may be alive owns a study."""
    owner, _ = read(connection, study_id)
    if owner is not None and (found := leases.standing(owner, leases.here(), leases.running)) != "dead":
        raise _busy(name, owner, found)


def give_up(connection: sqlalchemy.Connection, study_id: int) -> None:
    """Leave a study without an owner."""
    table = tables.leases
    connection.execute(update(table).where(table.c.study_id == study_id).values(_NOBODY))


def check_not_lost(connection: sqlalchemy.Connection, study_id: int) -> None:
    """Raise ``StaleOwner`` where a process that may be alive owns a study that we do not."""
    owner, _ = read(connection, study_id)
    if owner is not None and leases.standing(owner, leases.here(), leases.running) != "dead":
        raise StaleOwner(
            f"study {study_id}: process {owner.pid} on {owner.host} owns it; nothing was written"
        )


def _busy(name: str, owner: leases.Process, found: leases.Standing) -> StudyBusy:
    """Return what is said of an owner that stands in the way."""
    if found == "elsewhere":
        return StudyBusy(
            f"study {name!r}: owned by process {owner.pid} on host {owner.host!r}, which cannot be seen "
            "from here; end it there, or if it is gone, add --take-over"
        )
    return StudyBusy(
        f"study {name!r}: process {owner.pid} on this machine ({owner.host}) is running it; "
        "wait for it, or end it and go on here with --take-over"
    )
