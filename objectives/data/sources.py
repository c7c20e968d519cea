"""The data files of a study: how each is read, and which of its examples go where.

Knows nothing of templates, tokenizers or tokens, so that a mistake is found before any of them is loaded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence, Sized
from typing import Any

from ...errors import DataError
from ...study.config import DataConfig
from .columns import Reading, Survey, check_columns, choose
from .formats import check_format
from .left_out import Log, first_left_out, first_of
from .readers import RecordFile, open_records
from .split import PARTS, check_shares, shuffled, take_shares
from .survey import survey
from .templates import check_template


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """One data file of a study."""

    part: str
    """What it is for: ``train``, where there may be several, ``validation`` or ``test``."""
    file: RecordFile
    """The file."""
    config: DataConfig
    """The study's, with the format and the columns of this file."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Looked:
    """A data file that was looked through."""

    source: Source
    """The file."""
    survey: Survey
    """What its fields are."""
    reading: Reading
    """How it is read."""


def check_options(config: DataConfig) -> None:
    """Raise ``DataError`` where an option is not valid, whatever the files hold."""
    check_template(config.template)
    check_shares(config.split)
    for one in config.train_files:
        check_format(one.format)
        if one.columns is not None:
            check_columns(one.columns, one.format)
    if config.cutoff_len < 2:
        raise DataError(
            f"cutoff_len is {config.cutoff_len}, but an example needs at least 2 tokens: raise it"
        )


def open_files(config: DataConfig) -> list[Source]:
    """Return the files in the order of ``PARTS``, those to train on in theirs; raises ``DataError``."""
    names = config.names
    return [
        Source(
            part=part,
            file=open_records(one.path, encoding=config.encoding, rules=config.rules, called=names[one.path]),
            config=dataclasses.replace(config, format=one.format, columns=one.columns),
        )
        for part, one in config.files
    ]


def choose_reading(source: Source, found: Survey) -> Reading:
    """Return how a file's records are read; raises ``DataError``."""
    file = source.file
    if not found.filled and source.config.format == "auto":
        log = Log(file.name, file.place)
        for line, reason in file.read():
            log.leave_out(line, str(reason))
        check_usable(0, log)
    try:
        return choose(file.name, found, source.config)
    except DataError as error:
        if source.part != "train" or not source.config.more:
            raise
        raise DataError(f"{error}; {_of_one_alone(file)}") from None


def look(config: DataConfig) -> list[Looked]:
    """Return the files in the order of ``open_files``, each looked through; raises ``DataError``."""
    looked = []
    for source in open_files(config):
        found = survey(source.file)
        looked.append(Looked(source=source, survey=found, reading=choose_reading(source, found)))
    check_alike((one.source, one.reading) for one in looked)
    return looked


def check_alike(chosen: Iterable[tuple[Source, Reading]]) -> None:
    """Raise ``DataError`` where texts and prompts with answers are to be trained on together."""
    trained = [(source.file, how) for source, how in chosen if source.part == "train"]
    texts = [file for file, how in trained if how.format == "text"]
    others = [file for file, how in trained if how.format != "text"]
    if texts and others:
        raise DataError(
            f"{texts[0].name} is plain text, all of which is learned, and {others[0].name} has prompts with "
            "answers: search on each by itself, or say which of its columns are which; "
            f"{_of_one_alone(texts[0])}"
        )


def _of_one_alone(file: RecordFile) -> str:
    """Return how one of several files is said to be read, in words."""
    return (
        "flags hold for all files, and a --config says it of one alone: "
        f"data: [{{path: {file.path}, columns: …}}, …]"
    )


def told_by(looked: Iterable[Looked]) -> dict[str, Any]:
    """Return what tells these files from others, as JSON values: one of each part, and what follows it."""
    found: dict[str, Any] = {"files": {}}
    for one in looked:
        part, file = one.source.part, one.source.file
        words = [file.name, file.digest, one.reading.format, one.reading.columns]
        if part in found["files"]:
            found.setdefault("more", []).append(words)
        else:
            found["files"][part] = words
    return found


def check_usable(usable: int, log: Log) -> None:
    """Raise ``DataError`` where no record of a file is usable."""
    if not usable:
        raise DataError(f"{log.file} has no usable record among {log.count}; {first_of(log.bad)}")


def check_distinct(distinct: Mapping[str, Sized], sources: Iterable[Source]) -> None:
    """Raise ``DataError`` where nothing is left of a part once what another holds is left out."""
    for source in sources:
        if not len(distinct[source.part]):
            raise DataError(
                f"every record of {source.file.name} is also in another file: give records that differ"
            )


def split_keys(
    keys: Mapping[str, Sequence[bytes]], given: Collection[str], config: DataConfig, logs: Iterable[Log]
) -> dict[str, tuple[str, list[int]]]:
    """Return for each part the part whose file its examples come from, and their positions among its keys.

    ``given`` are the parts with a file of their own; the others are taken out of the training file.
    ``logs`` say what was left out before.

    Raises:
        DataError: there are too few for one example in each; where records were left out, it says why the
            first was.
    """
    try:
        positions = take_shares(
            keys["train"],
            config.split,
            config.seed,
            validation="validation" not in given,
            test="test" not in given,
        )
    except DataError as error:
        raise DataError(f"{error}{first_left_out(tuple(logs))}") from None
    chosen = {part: ("train", taken) for part, taken in zip(PARTS, positions, strict=True)}
    for part in PARTS:
        if part in given and part != "train":
            chosen[part] = (part, shuffled(keys[part], config.seed))
    return chosen
