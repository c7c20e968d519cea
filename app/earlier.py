"""What earlier studies of the same database could teach a new one: which are like it, and their best trials.

Nothing is taken over unless the user said so; without a word a study is offered in one sentence. What is
taken over is stored with the study, so that the same command goes on with it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from ..errors import StorageError, UsageError
from ..spaces.params import LoraParams
from ..storage.store import Store
from ..study.facts import Facts, ModelSummary
from ..study.format import counted
from ..study.ranking import ranked
from ..study.records import StudyRecord, TrialRecord
from ..study.study_config import StudyConfig

AUTO = "auto"
"""What stands for the study that is most like the new one."""

TAKEN = 3
"""So many of an earlier study's best trials are tried after those that are listed anyway."""

LIKE = 2.0
"""Models of one architecture are alike up to this ratio of their sizes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learned:
    """What a new study takes over, or could."""

    config: StudyConfig
    """The new study, with what was taken over."""
    words: str | None
    """What was taken over or what could be, in a sentence; None where there is nothing to say."""


def same_model(one: ModelSummary, other: ModelSummary) -> bool:
    """Return whether two studies train the same model: the same files, or the same commit of the Hub."""
    if one.files and other.files:
        return one.files == other.files
    return (one.name_or_path, one.revision) == (other.name_or_path, other.revision)


def alike(one: ModelSummary, other: ModelSummary) -> bool:
    """Return whether two models are of one architecture and of about one size."""
    sizes = sorted((one.parameters, other.parameters))
    return one.architecture == other.architecture and sizes[1] <= LIKE * sizes[0]


def likeness(one: Facts, other: Facts) -> tuple[int, str] | None:
    """Return how like two studies are, 0 for the most, and in words; None for models too unlike."""
    data = one.data.fingerprint == other.data.fingerprint
    if same_model(one.model, other.model):
        return (0, "the same model and data") if data else (1, "the same model")
    if alike(one.model, other.model):
        return (2, "a model like it and the same data") if data else (3, "a model like it")
    return None


def check_given(store: Store, given: str | None) -> None:
    """Raise ``LoratuneError`` where a study that was named is not there or has nothing to teach."""
    if given is not None and given != AUTO:
        _best(store, store.study(given))


def learn(
    store: Store, given: str | None, config: StudyConfig, facts: Facts, *, name: str | None = None
) -> Learned:
    """Take over the best trials of an earlier study, or say that it could be done.

    Args:
        store: the database, with or without the new study in it.
        given: the earlier study's name, ``auto``, or None: then nothing is taken over.
        config: the new study.
        facts: what was found for it.
        name: the new study's, where the user gave one.

    Raises:
        LoratuneError: the study that was named is not there or has no complete trial.
    """
    studies = tuple(_searches(store))
    if given is None:
        if any(not study.config.differences(config) for study in studies):
            return Learned(config=config, words=None)  # the same study goes on
        found = _most_like(store, facts, studies, config)
        return Learned(config=config, words=None if found is None else _offer(*found))
    if given == AUTO and any(
        name in (None, study.name) and not study.config.differences(config) for study in studies
    ):
        return Learned(config=config, words=None)  # it found nothing to learn, and goes on without
    before = _learned_before(given, config, facts, studies)
    if before is not None:
        return Learned(config=before, words=None)
    if given != AUTO:
        study = store.study(given)
        best, like = _best(store, study), likeness(facts, study.facts)
        words = "another model" if like is None else like[1]
    else:
        found = _most_like(store, facts, studies, config)
        if found is None:
            none = (
                "no earlier study of this model or one like it has a trial that did better than trial 0: "
                "nothing is taken over"
            )
            return Learned(config=config, words=none)
        study, best, words = found
    taken = _new(config, best)
    if not taken:
        nothing = f"study {study.name} ({words}) has nothing to teach: what it holds is tried anyway"
        return Learned(config=config, words=nothing)
    count = counted(len(taken), "trial")
    return Learned(
        config=dataclasses.replace(config, first=(*config.first, *taken), learned_from=study.name),
        words=f"the best {count} of study {study.name} ({words}), moved into this space, come after trial 0",
    )


def _offer(study: StudyRecord, best: tuple[TrialRecord, ...], words: str) -> str:
    count = counted(min(TAKEN, len(best)), "trial")
    return f"study {study.name} has {words}; to try its best {count} first, add --learn-from {study.name}"


def _searches(store: Store) -> Iterator[StudyRecord]:
    """Yield every search of the database that this version can read, the latest first."""
    for study_id in reversed(store.study_ids()):
        try:
            study = store.study(store.head(study_id).name)
        except StorageError:
            continue  # who looks for a likeness has no need to know of it; tune db check says more
        if study.config.stage is None:
            yield study


def _new(config: StudyConfig, best: tuple[TrialRecord, ...]) -> tuple[LoraParams, ...]:
    """Return what of an earlier study's trials is not tried anyway, each once, moved into the new space."""
    moved = dict.fromkeys(config.space.closest(trial.params) for trial in best)
    return tuple(params for params in moved if params not in config.first)[:TAKEN]


def _teaches(config: StudyConfig, best: tuple[TrialRecord, ...]) -> bool:
    """Return whether an earlier study found anything better than the new one's trial 0."""
    if not best or config.space.closest(best[0].params) == config.first[0]:
        return False
    return bool(_new(config, best))


def _most_like(
    store: Store, facts: Facts, studies: tuple[StudyRecord, ...], config: StudyConfig
) -> tuple[StudyRecord, tuple[TrialRecord, ...], str] | None:
    """Return the study most like the new one that has something to teach, the latest of equals.

    With it come its trials, the best first, and the likeness.
    """
    placed = [(like, study) for study in studies if (like := likeness(facts, study.facts)) is not None]
    for (_, words), study in sorted(placed, key=lambda pair: pair[0][0]):
        best = ranked(store.trials(study.id))
        if _teaches(config, best):
            return study, best, words
    return None


def _best(store: Store, study: StudyRecord) -> tuple[TrialRecord, ...]:
    best = ranked(store.trials(study.id))
    if not best:
        raise UsageError(
            f"--learn-from {study.name}: it has no complete trial to learn from; go on with it first, with "
            f"tune resume {study.name}"
        )
    return best


def _learned_before(
    given: str, config: StudyConfig, facts: Facts, studies: tuple[StudyRecord, ...]
) -> StudyConfig | None:
    """Return the configuration of the study that the same command made before; None where it made none."""
    for study in studies:
        known = study.config
        if known.learned_from is None or given not in (AUTO, known.learned_from):
            continue
        if (
            known.first[: len(config.first)] != config.first
            or study.facts.data.fingerprint != facts.data.fingerprint
        ):
            continue
        again = dataclasses.replace(config, first=known.first, learned_from=known.learned_from)
        if not known.differences(again):
            return again
    return None
