"""What of a search can be refused before a model is loaded: its database, its name, a search that runs.

Changes nothing: a file that is refused is as it was, and there is none where there was none.
"""

from __future__ import annotations

import dataclasses

from ..errors import BudgetError, SpaceError, StorageError, UsageError
from ..spaces.presets import BY_SIZE, preset
from ..storage import engine, foreign, rows
from ..storage.opening import check_path
from ..storage.store import Store
from ..study.records import StudyRecord
from .earlier import AUTO, check_given
from .first_trials import fit_to_budget
from .request import Request, choose_preset, in_examples, make_config


def look_first(request: Request) -> None:
    """Raise ``LoratuneError`` where a search cannot begin, as far as is known without a model."""
    address, name = engine.parse(request.storage), request.search.study
    if address.path is not None:
        check_path(address.path)
    if address.path is None or not address.path.exists():
        if name is not None:
            rows.check_name(name)
        if address.path is not None:
            _check_none_to_learn_from(request, address.shown)
        return
    found = foreign.look(address.path)
    foreign.check_may_hold_ours(address.path, found)
    if found.whose != "ours":
        _check_none_to_learn_from(request, address.shown)
        if name is not None:
            rows.check_name(name)
            foreign.check_name_is_free(address.path, found, name)
        foreign.check_writable(address.path)
        return
    with Store.open(request.storage, mode="read") as store:
        if name is not None and not store.holds(name):
            rows.check_name(name)
            foreign.check_name_is_free(address.path, found, name)
        check_given(store, request.search.learn_from)
        if not request.run.take_over:
            check_free(store, as_begun(request))
    foreign.check_writable(address.path)


def as_begun(request: Request) -> Request:
    """Return a request of examples or hours for everything as its study was made, where it was begun before.

    The same command is to go on with the same study. But a speed is never measured twice alike, and how
    examples are shared out and by which pruner such a search goes, where the user names none, has changed.
    """
    search, path = request.search, engine.parse(request.storage).path
    if not request.climbs or path is None or not path.exists() or foreign.look(path).whose != "ours":
        return request
    with Store.open(request.storage, mode="read") as store:
        for head in store.studies():
            if search.study not in (None, head.name):
                continue
            try:
                study = store.study(head.name)
            except StorageError:
                continue  # what this version cannot read is not of these choices
            ladder = study.config.ladder
            if ladder is None or ladder.hours != search.hours:
                continue
            asked = request if search.examples_in_all is not None else in_examples(request, ladder.examples)
            for one in (asked, dataclasses.replace(asked, as_before=True)):
                if _made_of(one, study):
                    return one
    return request


def _made_of(request: Request, study: StudyRecord) -> bool:
    """Return whether a study was made of a request, whatever it may have learned from others."""
    try:
        config = make_config(request, choose_preset(request) or preset(study.config.preset))
        fitted = fit_to_budget(config, study.facts)
    except (BudgetError, SpaceError):
        return False
    begun = study.config
    if request.search.learn_from is not None:
        begun = dataclasses.replace(begun, learned_from=None, first=begun.first[: len(fitted.first)])
    return not begun.differences(fitted)


def _check_none_to_learn_from(request: Request, shown: str) -> None:
    """Raise ``UsageError`` where a study to learn from is named and the database has none."""
    given = request.search.learn_from
    if given is not None and given != AUTO:
        raise UsageError(f"--learn-from {given}: there is no study in {shown}; name its database, --storage")


def check_free(store: Store, request: Request) -> None:
    """Raise ``StudyBusy`` where the study that a request means is being run, as far as that is known yet.

    Without a name that is a study of the same choices; its space may hang on the model's size, and on how
    many examples there are, which is taken from that study.
    """
    if request.search.study is not None:
        store.check_free(request.search.study)
        return
    chosen = choose_preset(request)
    presets = [chosen] if chosen is not None else [preset(name) for name in BY_SIZE]
    configs = [make_config(request, one) for one in presets]
    for study_id in store.study_ids():
        lease = store.lease(study_id)
        if lease is None or not lease.alive:
            continue
        try:
            study = store.study(store.head(study_id).name)
        except StorageError:
            continue  # what this version cannot read is not of these choices
        for config in configs:
            try:
                same = not study.config.differences(fit_to_budget(config, study.facts))
            except SpaceError:
                same = False  # it cannot have been made of these choices
            if same:
                store.check_free(study.name)
