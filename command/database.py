"""``tune db``: a copy of the database, whether it and its files are whole, and studies deleted from it."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path

import click
from rich.text import Text

from ..app.default_storage import default_storage
from ..errors import StorageError, UsageError
from ..storage.database_errors import HOW_FAR
from ..storage.store import Store
from ..study.format import show_bytes
from .console import ERR, OUT, emit_json, say
from .group import Commands
from .options import json_option, output_option, storage_option


@click.group(cls=Commands, short_help="Copy or check the database, or delete a study.")
def db() -> None:
    """Copy the database while a search runs, check that it and its files are whole, or delete a study.

    \b
    Examples:
      tune db backup -o studies.db
      tune db check
      tune db delete demo
    """


@db.command(short_help="Copy the database into one file.")
@output_option("The copy; by default the database's name with the time.")
@storage_option
@json_option
def backup(output: Path | None, storage: str | None, as_json: bool) -> None:
    """Copy the whole database into one new file, as it is at this moment; a search may run meanwhile.

    \b
    Example:
      tune db backup -o studies.db
    """
    with Store.open(storage or default_storage(), mode="read") as store:
        to = output or Path(f"{Path(store.url).stem}-{datetime.datetime.now():%Y%m%d-%H%M%S}.db")
        store.backup(to)
        artifacts, held = store.artifacts, store.artifacts_bytes()
        if as_json:
            told = {"database": store.url, "backup": str(to), "bytes": to.stat().st_size}
            emit_json({**told, "artifacts": str(artifacts), "artifacts_bytes": held})
            return
    say(OUT, Text(f"wrote {to}"))
    say(
        ERR,
        Text(
            f"it holds every number; checkpoints and adapters are in {artifacts} ({show_bytes(held)}): "
            "to resume or to export weights from the copy, copy that folder beside it",
            style="dim",
        ),
    )


@db.command(short_help="Check that the database and its files are whole.")
@storage_option
@json_option
def check(storage: str | None, as_json: bool) -> None:
    """Check the database and the files that it names; a line for each finding, and exit code 1.

    \b
    Example:
      tune db check
    """
    from ..storage.check import findings

    try:
        with Store.open(storage or default_storage(), mode="read") as store:
            url, found = store.url, findings(store)
    except StorageError as error:
        raise StorageError(str(error).replace(HOW_FAR, "")) from error
    if as_json:
        emit_json({"database": url, "findings": list(found)})
    elif found:
        for finding in found:
            say(OUT, Text(finding))
    else:
        say(OUT, Text(f"{url} is whole, and so are its files"))
    if found:
        sys.exit(1)


@db.command(short_help="Delete a study and its files.")
@click.argument("study")
@click.option("--following", is_flag=True, help="Delete the studies that follow from it, too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@storage_option
@json_option
def delete(study: str, following: bool, yes: bool, storage: str | None, as_json: bool) -> None:
    """Delete STUDY: its trials, its copy in Optuna's tables, its checkpoints, adapters and tokenized data.

    \b
    Examples:
      tune db delete demo
      tune db delete demo --following --yes
    """
    from ..app.deleting import Planned, delete_study

    def agreed(planned: Planned) -> bool:
        if yes:
            return True
        if not asks():
            raise UsageError(f"{planned.words} would be deleted for good; add --yes to do it")
        return click.confirm(f"delete {planned.words} for good?", err=True)

    done = delete_study(study, following=following, storage=storage or default_storage(), agreed=agreed)
    if done is None:
        say(ERR, Text("nothing was deleted"))
        sys.exit(1)
    if as_json:
        emit_json(done.values())
        return
    for line in done.lines():
        say(OUT, Text(line))


def asks() -> bool:
    """Return whether somebody is there to be asked."""
    return sys.stdin is not None and sys.stdin.isatty()
