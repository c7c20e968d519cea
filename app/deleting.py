"""A study is deleted: what would go is told first, then its rows go, then its files, then tokens of no use.

Rows and Optuna's copies go in one transaction, so an interruption leaves a whole database; files
that it leaves go with the next deletion.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import LoratuneError, UsageError
from ..objectives.data import token_cache
from ..storage import deletion
from ..storage.deleted_files import Freed
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
    """Studies whose files were left, since they may be another's."""
    why_kept: tuple[str, ...]
    """Why, in words, for each of these."""
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
        said += [
            f"files of {name} were left: {why}"
            for name, why in zip(self.kept_files, self.why_kept, strict=True)
        ]
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
        StudyBusy: one is trained at this moment, or is another one since that was agreed to.
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
            found = store.deletions.find(chosen)
            if not agreed(_planned(store, found)):
                return None
    with Store.open(storage, mode="write") as store:
        finished = _delete_files(store, store.deletions.unfinished())
        if left:
            return _done(store, (), finished, (), 0)
        used = _fingerprints(store, chosen) or set()
        gone = store.deletions.delete(chosen, agreed=[study.id for study in found])
        return _done(store, gone, finished, _delete_files(store, gone), _drop_tokens(store, used))


def _delete_files(store: Store, studies: Sequence[deletion.Deleted]) -> tuple[tuple[str, Freed], ...]:
    """Delete files; return what became of each study's by its name, which a later study may have again."""
    return tuple((study.name, store.deletions.delete_files(study)) for study in studies)


def _done(
    store: Store,
    gone: Sequence[deletion.Deleted],
    finished: tuple[tuple[str, Freed], ...],
    freed: tuple[tuple[str, Freed], ...],
    tokens: int,
) -> Done:
    files = (*finished, *freed)
    kept = [(name, one.kept) for name, one in files if one.kept is not None]
    return Done(
        database=store.url,
        studies=tuple(study.name for study in gone),
        trials=_trials(gone),
        freed=sum(one.bytes for _, one in files) + tokens,
        finished=tuple(name for name, _ in finished),
        kept_files=tuple(name for name, _ in kept),
        why_kept=tuple(why for _, why in kept),
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


def _fingerprints(store: Store, names: Sequence[str]) -> set[str] | None:
    """Return the fingerprints of the data of studies; None where one cannot be read."""
    try:
        return {store.study(name).facts.data.fingerprint for name in names}
    except LoratuneError:
        return None


def _drop_tokens(store: Store, used: set[str]) -> int:
    """Delete tokenized data that no study has any more; return the bytes freed.

    All databases in a folder share them, so that they stay where another lies beside, or where a study may
    use them whose row cannot be read.
    """
    left = _fingerprints(store, tuple(store.deletions.parents()))
    if left is None or not used - left or store.deletions.shares_its_folder():
        return 0
    unused = used - left
    return token_cache.remove(store.artifacts / CACHE, lambda summary: summary["fingerprint"] in unused)
