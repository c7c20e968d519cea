"""What is wrong with model, data and budget, as far as it can be told in a second, before a worker starts.

Reads files and JSON, loads nothing, writes nothing; the Hub is asked once, for a model that is not here.
Every complaint is made by the function that makes it in the worker; what takes a tokenizer or the weights is
left to that. Knows nothing of what comes after.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..study.config import ObjectiveConfig
from ..study.facts import BadRecord
from .data.columns import Reading, Survey
from .data.formats import RecordError, key_of
from .data.left_out import Log
from .data.sources import (
    Source,
    check_alike,
    check_distinct,
    check_options,
    check_usable,
    choose_reading,
    open_files,
    split_keys,
)
from .data.split import PARTS, distinct
from .data.survey import survey
from .folder import check_folder, check_tokenizer, local_folder
from .hub import check_hub
from .quantization import check_quantization
from .training.named_layers import check_targets
from .training.trial_budget import budget_of

SECONDS = 1.0
"""How long the records are looked at; a file that takes longer is left to the worker from there on."""

_CLOCK = 256

_MANY = 10**9


def precheck(config: ObjectiveConfig, *, seconds: float = SECONDS, sized: bool = True) -> None:
    """Say what is wrong, as the worker would.

    Args:
        config: what a worker would be given.
        seconds: how long the records may be looked at.
        sized: whether the batch sizes are final; False where they depend on a model not looked at yet.

    Raises:
        ModelError, DataError, BudgetError: as the worker.
    """
    folder = local_folder(config.model.name_or_path)
    check_quantization(config.model, folder)
    if folder is not None:
        check_tokenizer(config.model.name_or_path, folder)
        check_folder(config.model.name_or_path, folder)
    check_options(config.data)
    until = time.monotonic() + seconds
    sources = open_files(config.data)
    surveys = [survey(one.file, seconds=max(0.0, until - time.monotonic())) for one in sources]
    chosen = [
        (one, choose_reading(one, found))
        for one, found in zip(sources, surveys, strict=True)
        # The rows of a table all have its columns; other records vote, and not all were heard.
        if found.whole or (one.file.columnar and found.filled)
    ]
    check_alike(chosen)
    if folder is not None:
        check_targets(folder, config.lora_targets)
    counted = _examples(config, chosen, until) if all(found.whole for found in surveys) else None
    if sized:
        _check_budget(config, counted, surveys)
    if folder is None:
        check_hub(config.model)


def _examples(
    config: ObjectiveConfig, sources: Sequence[tuple[Source, Reading]], until: float
) -> tuple[int, int, list[Log]] | None:
    """Return the most training and validation examples there can be, and what was left out.

    None where counting takes too long.
    """
    keys: dict[str, list[bytes]] = {part: [] for part in PARTS}
    logs = []
    for source, reading in sources:
        log = Log(source.file.name, source.file.place)
        usable: list[bytes] = []
        for line, record in source.file.read():
            if (len(usable) + log.count) % _CLOCK == _CLOCK - 1 and time.monotonic() > until:
                return None
            try:
                if isinstance(record, str):
                    raise RecordError(record)
                usable.append(key_of(reading.parse(record)))
            except RecordError as error:
                log.leave_out(line, str(error))
        check_usable(len(usable), log)
        keys[source.part] += usable
        logs.append(log)
    kept = dict(zip(PARTS, distinct([keys[part] for part in PARTS]), strict=True))
    check_distinct(kept, [source for source, _ in sources])
    chosen = split_keys(
        {part: [keys[part][at] for at in kept[part]] for part in PARTS},
        {source.part for source, _ in sources},
        config.data,
        logs,
    )
    return len(chosen["train"][1]), len(chosen["validation"][1]), logs


def _check_budget(
    config: ObjectiveConfig, counted: tuple[int, int, list[Log]] | None, surveys: Sequence[Survey]
) -> None:
    train, validation, logs = counted or (_MANY, _MANY, [])
    bad: list[BadRecord] = [record for log in logs for record in log.bad[:1]]
    budget_of(
        config,
        train=train,
        validation=validation,
        records=sum(found.records for found in surveys),
        bad=sum(log.count for log in logs),
        first=bad[0] if bad else None,
    )
