"""Studies that follow from another one, found by their names: a first, a second, up to a free one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from ..study.records import StudyRecord
from .store import Store


def numbered(store: Store, name_of: Callable[[int], str]) -> Iterator[tuple[str, StudyRecord | None]]:
    """Yield each name from the first on with the study that has it, and at last a free name with None.

    The user may have a study of such a name, and so may another one whose long name begins alike: who asks
    looks at what the study is. A name that only Optuna's own tables have is passed over.
    """
    for number in itertools.count(1):
        name = name_of(number)
        if store.is_free(name):
            yield name, None
            return
        if store.holds(name):
            yield name, store.study(name)
