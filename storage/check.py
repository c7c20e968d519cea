"""Whether a database and its files are whole: one finding a line, none where all is well.

Changes nothing. What only a running search may leave half done is no finding while one runs.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import sqlalchemy

from .. import digest
from ..errors import DamagedFile, LoratuneError, StorageError
from ..nouns import numbered, plural
from ..study.records import CurvePoint, StudyHead, TrialRecord
from . import database_errors, progress_note, queries, rows, study_files, tables
from .store import Store
from .to_optuna import NUMBER, names

_UNREADABLE = (LoratuneError, ValueError, KeyError, TypeError)
"""What reading a row ends in whose bytes are not those that were written."""

FEW = 5
"""Rows of a kind that are named; the others are counted."""

Record = TypeVar("Record")


def findings(store: Store) -> tuple[str, ...]:
    """Return everything that is wrong with a database and its files, a line each."""
    found = [*_database(store)]
    try:
        with store.reading() as connection:
            known = queries.names(connection)
    except _UNREADABLE as error:
        return (*found, f"{store.url}: its studies cannot be read ({_words(error)})")
    for name in known:
        try:
            with store.reading() as connection:
                head = queries.head(connection, name)
            if head is not None:
                found += [f"study {name}: {finding}" for finding in _study(store, head)]
        except _UNREADABLE as error:
            found.append(f"study {name}: its rows cannot be read ({_words(error)})")
    return tuple(found)


def _words(error: Exception) -> str:
    if isinstance(error.__cause__, database_errors.DamagedError):
        return f"{error.__cause__} is damaged"  # the rest of the error would send the user here
    return " ".join(str(error).split())[:400] or type(error).__name__


def _database(store: Store) -> Iterator[str]:
    """Yield what SQLite itself finds; a server's database answers for itself."""
    with store.reading() as connection:
        if connection.dialect.name != "sqlite":
            return
        for (words,) in connection.exec_driver_sql("PRAGMA integrity_check"):
            if words != "ok":
                yield f"{store.url}: damaged: {words}"
        for table, _, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
            yield f"{store.url}: a row of {table} belongs to one of {parent} that is not there"


def _study(store: Store, study: StudyHead) -> Iterator[str]:
    starts: dict[int, int] = {}
    try:
        if (stage := store.study(study.name).config.stage) is not None:
            starts = {number: entry.start for number, entry in enumerate(stage.entries)}
    except StorageError:
        yield "its configuration or what was found for it is not what this version of loratune writes"
    lease = store.lease(study.id)
    live = lease is not None and lease.alive
    # One moment: a search may write between two transactions.
    with store.reading() as connection:
        trials, torn_trials = _each(connection, study.id, tables.trials, ("number",), rows.trial)
        curve, torn_points = _each(connection, study.id, tables.curve, ("trial", "round"), rows.point)
        torn_numbers, torn_keys = {number for (number,) in torn_trials}, {tuple(key) for key in torn_points}
        copied = _copied(connection, study.name)
        numbers = {trial.number for trial in trials} | torn_numbers
        torn = (*_evaluations(connection, study.id, numbers), *_events(connection, study.id))
        reached = queries.progress(connection, study.id)
    yield from _few(
        [f"trial {number}: its row cannot be read" for (number,) in torn_trials], "rows of trials"
    )
    yield from _few(
        [
            f"trial {trial}: its curve after round {round_number} cannot be read"
            for trial, round_number in torn_points
        ],
        "points of curves",
    )
    yield from trial_findings(trials, curve, starts=starts, unread=torn_numbers, unread_points=torn_keys)
    yield from torn
    # Whether a trial has ended is not known of a row that cannot be read.
    readable = copied and {number: times for number, times in copied.items() if number not in torn_numbers}
    yield from copy_findings(trials, readable, live=live)
    folder = store.study_dir(study.id)
    noted = progress_note.read(folder)
    if noted is not None and not live and reached.lacks(noted):
        yield (
            f"the database holds {reached.words}, but {noted.words} were recorded: "
            "it is older than its files; put its log (-wal) or the newer file back"
        )
    yield from _held(folder)
    for trial in trials:
        for name in (trial.checkpoint, trial.adapter):
            if name is None:
                continue
            try:
                digest.check(folder / name)
            except (DamagedFile, OSError) as error:
                # A search deletes a checkpoint when a newer one is recorded.
                if live and _changed(store, study, trial):
                    continue
                words = "is not there" if isinstance(error, FileNotFoundError) else "is damaged"
                cure = (
                    "tune resume trains it again"
                    if trial.state == "running"
                    else "tune export trains it again"
                )
                yield f"trial {trial.number}: {folder / name} {words}; {cure}"


def _held(folder: Path) -> Iterator[str]:
    """Yield which states before a decay are damaged; that one is not there may be as it should be."""
    for path in sorted((folder / study_files.HELD).glob("trial-*.safetensors")):
        try:
            digest.check(path)
        except FileNotFoundError:
            continue  # a climb deletes those that nobody goes on from
        except (DamagedFile, OSError):
            number = int(path.stem.removeprefix("trial-"))
            yield (
                f"trial {number}: {path}, from which a longer trial goes on, is damaged; that trial would "
                "begin anew"
            )


def _each(
    connection: sqlalchemy.Connection,
    study_id: int,
    table: sqlalchemy.Table,
    key: Sequence[str],
    read: Callable[[sqlalchemy.RowMapping], Record],
) -> tuple[list[Record], list[tuple[int, ...]]]:
    """Return a study's rows of a table that can be read, and the keys of the others.

    Row by row, since a value that is no JSON ends the reading of all that come after it.
    """
    columns = [table.c[name] for name in key]
    query = sqlalchemy.select(*columns).where(table.c.study_id == study_id).order_by(*columns)
    found: list[Record] = []
    torn: list[tuple[int, ...]] = []
    for values in connection.execute(query).all():
        chosen = [column == value for column, value in zip(columns, values, strict=True)]
        one = queries.whole_rows(connection, table).where(table.c.study_id == study_id, *chosen)
        try:
            found.append(read(connection.execute(one).mappings().one()))
        except (*_UNREADABLE, database_errors.DamagedError):
            torn.append(tuple(values))
    return found, torn


def _few(lines: Sequence[str], what: str) -> Iterator[str]:
    """Yield the first lines, and how many more there are."""
    yield from lines[:FEW]
    if len(lines) > FEW:
        yield f"{what}: {len(lines) - FEW} more cannot be read"


def trial_findings(
    trials: Sequence[TrialRecord],
    curve: Sequence[CurvePoint],
    *,
    starts: Mapping[int, int] = {},
    unread: Collection[int] = (),
    unread_points: Collection[tuple[int, ...]] = (),
) -> Iterator[str]:
    """Yield what does not hold of a study's trials: numbers without gaps, a point for each round.

    ``starts`` has the rounds that trials had done at their beginning, ``unread`` the numbers of those that
    are there and cannot be read, ``unread_points`` trial and round of such points.
    """
    known = {trial.number for trial in trials} | set(unread)
    missing = sorted(set(range(max(known, default=-1) + 1)) - known)
    if missing:
        which = ", ".join(map(str, missing))
        yield f"{plural(len(missing), 'trial')} {which} {'is' if len(missing) == 1 else 'are'} missing"
    rounds: dict[int, list[int]] = {}
    for number, round_number in [*((point.trial, point.round) for point in curve), *unread_points]:
        rounds.setdefault(number, []).append(round_number)
    for trial in trials:
        first = starts.get(trial.number, 0) + 1
        if sorted(rounds.get(trial.number, [])) != list(range(first, trial.rounds + 1)):
            yield f"trial {trial.number}: its curve does not hold rounds {first} to {trial.rounds}"
    for number in sorted(rounds.keys() - known):
        yield f"trial {number}: has a curve and no row"


def copy_findings(
    trials: Sequence[TrialRecord], copied: Mapping[int, int] | None, *, live: bool
) -> Iterator[str]:
    """Yield where Optuna's copy is not in step; ``copied`` counts its trials by our numbers."""
    if copied is None:
        return
    ended = {trial.number for trial in trials if trial.state != "running"}
    for number, times in sorted(copied.items()):
        if times > 1:
            yield f"trial {number}: is {times} times in Optuna's tables"
        if number not in ended:
            yield f"trial {number}: is in Optuna's tables and has not ended; tune resume writes them anew"
    lacking = sorted(ended - copied.keys())
    if lacking and not live:
        few = len(lacking) == 1
        yield (
            f"Optuna's tables lack {numbered(len(lacking), 'trial')} that {'has' if few else 'have'} ended; "
            f"tune resume adds {'it' if few else 'them'}"
        )


def _copied(connection: sqlalchemy.Connection, name: str) -> dict[int, int] | None:
    """Return how often Optuna's tables hold each of our trials; None where the study is not in them."""
    known = names(name)
    if not any(queries.optuna_has(connection, one) for one in known):
        return None
    query = sqlalchemy.text(
        "SELECT a.value_json FROM studies s JOIN trials t ON t.study_id = s.study_id "
        "JOIN trial_user_attributes a ON a.trial_id = t.trial_id AND a.key = :key "
        "WHERE s.study_name IN (:name, :other)"
    )
    chosen = {"key": NUMBER, "name": known[0], "other": known[1]}
    return Counter(int(number) for (number,) in connection.execute(query, chosen))


def _evaluations(connection: sqlalchemy.Connection, study_id: int, known: Collection[int]) -> Iterator[str]:
    """Yield the evaluations whose bytes are no vectors, and those of trials that are not known."""
    table, key = tables.evaluations, ("trial", "round")
    _, torn = _each(connection, study_id, table, key, rows.evaluation)
    yield from _few(
        [
            f"trial {trial}: the losses of trial {trial} after round {round_number} cannot be read"
            for trial, round_number in torn
        ],
        "losses of trials",
    )
    present = sqlalchemy.select(table.c.trial).where(table.c.study_id == study_id).distinct()
    for (trial,) in connection.execute(present.order_by(table.c.trial)).all():
        if trial not in known:
            yield f"trial {trial}: has an evaluation and no row"


def _events(connection: sqlalchemy.Connection, study_id: int) -> Iterator[str]:
    """Yield how much of what happened cannot be read."""
    _, torn = _each(connection, study_id, tables.events, ("id",), rows.event)
    if torn:
        yield "an event cannot be read" if len(torn) == 1 else f"{len(torn)} events cannot be read"


def _changed(store: Store, study: StudyHead, before: TrialRecord) -> bool:
    """Return whether a trial names other files by now."""
    with contextlib.suppress(LoratuneError, IndexError):
        now = store.trials(study.id)[before.number]
        return (now.checkpoint, now.adapter) != (before.checkpoint, before.adapter)
    return True
