"""A study is deleted: what would go is told first, then its rows go, then its files, then tokens of no use.

Rows and Optuna's copies go in one transaction, so an interruption leaves a whole database; files
that it leaves go with the next deletion.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import LoratuneError, StudyBusy, UsageError
from ..objectives.data import token_cache
from ..storage import deletion
from ..storage.store import Store
from ..storage.study_files import CACHE
from ..study.format import counted, join, show_bytes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Planned:
    """What would be deleted."""

    studies: tuple[str, ...]
    """The study, and those that follow from it."""
    trials: int
    """Trials of all of them."""
    bytes: int
    """What their files take on disk."""

    @property
    def words(self) -> str:
        """It in words."""
        return f"{join(self.studies)} ({counted(self.trials, 'trial')}, {show_bytes(self.bytes)} of files)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Done:
    """What was deleted."""

    database: str
    """Where."""
    studies: tuple[str, ...]
    """The studies; none where only the files of an interrupted deletion were left."""
    trials: int
    """Trials of all of them."""
    freed: int
    """Bytes of files that are gone."""
    finished: tuple[str, ...]
    """Studies deleted before, whose files were left by an interruption."""
    kept_files: tuple[str, ...]
    """Studies whose files were left: another database beside this one has them, or they lie elsewhere."""
    kept_copies: tuple[str, ...]
    """Studies in Optuna's tables that were left, since they hold trials of others."""

    def values(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return dataclasses.asdict(self)

    def lines(self) -> tuple[str, ...]:
        """Return it in words, a line each."""
        freed = f"{show_bytes(self.freed)} of files freed"
        said = [
            f"deleted {join(self.studies)}: {counted(self.trials, 'trial')}, {freed}"
            if self.studies
            else f"{join(self.finished)} was deleted before: {freed}"
        ]
        if self.kept_files:
            said.append(
                f"files of {join(self.kept_files)} were left: another database beside this one holds the "
                "study too, or they lie where the search ran"
            )
        if self.kept_copies:
            said.append(
                f"Optuna's tables keep {join(self.kept_copies)}, which holds trials that are not ours"
            )
        return tuple(said)


def delete_study(
    name: str, *, following: bool, storage: str, agreed: Callable[[Planned], bool]
) -> Done | None:
    """Delete a study; return what went, or None where that was not agreed to.

    Args:
        name: the study.
        following: whether those that follow from it go too.
        storage: the database.
        agreed: asked before anything is changed.

    Raises:
        UsageError: others follow from it, and that these go was not said.
        StudyBusy: one is trained at this moment.
        LoratuneError: it is not there, or cannot be deleted.
    """
    with Store.open(storage, mode="read") as store:
        parents = store.deletions.parents()
        others = deletion.following(parents, name)
        left = name not in parents and _is_unfinished(store, name)
        if not left:
            if others and not following:
                raise UsageError(
                    f"study {name!r}: {join(others)} {'follows' if len(others) == 1 else 'follow'} from it; "
                    "add --following to delete that too, or delete it first"
                )
            chosen = (name, *others)
            if not agreed(_planned(store, store.deletions.find(chosen))):
                return None
    with Store.open(storage, mode="write") as store:
        finished = {
            study.name: store.deletions.delete_files(study) or 0 for study in store.deletions.unfinished()
        }
        if left:
            return _done(store, (), finished, {}, 0)
        if set(deletion.following(store.deletions.parents(), name)) != set(others):
            raise StudyBusy(
                f"study {name!r}: others were made of it meanwhile; nothing was deleted, try again"
            )
        used = _fingerprints(store, chosen)
        gone = store.deletions.delete(chosen)
        freed = {study.name: store.deletions.delete_files(study) for study in gone}
        return _done(store, gone, finished, freed, _drop_tokens(store, used))


def _done(
    store: Store,
    gone: Sequence[deletion.Deleted],
    finished: dict[str, int],
    freed: dict[str, int | None],
    tokens: int,
) -> Done:
    return Done(
        database=store.url,
        studies=tuple(study.name for study in gone),
        trials=_trials(gone),
        freed=sum(finished.values()) + sum(size or 0 for size in freed.values()) + tokens,
        finished=tuple(finished),
        kept_files=tuple(name for name, size in freed.items() if size is None),
        kept_copies=tuple(study.kept_copy for study in gone if study.kept_copy is not None),
    )


def _is_unfinished(store: Store, name: str) -> bool:
    return any(study.name == name for study in store.deletions.unfinished())


def _planned(store: Store, chosen: Sequence[deletion.Deleted]) -> Planned:
    return Planned(
        studies=tuple(study.name for study in chosen),
        trials=_trials(chosen),
        bytes=sum(store.disk_bytes(study.id) for study in chosen),
    )


def _trials(studies: Sequence[deletion.Deleted]) -> int:
    return sum(study.progress.trials for study in studies if study.progress is not None)


def _fingerprints(store: Store, names: Sequence[str]) -> set[str]:
    """Return the fingerprints of the data of studies, of those that can be read."""
    found = set()
    for name in names:
        try:
            found.add(store.study(name).facts.data.fingerprint)
        except LoratuneError:
            continue
    return found


def _drop_tokens(store: Store, used: set[str]) -> int:
    """Delete tokenized data that no study has any more; return the bytes freed."""
    unused = used - _fingerprints(store, tuple(store.deletions.parents()))
    return token_cache.remove(store.artifacts / CACHE, lambda summary: summary["fingerprint"] in unused)
