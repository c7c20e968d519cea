"""The data files of a study: how each is read, and which of its examples go where.

Knows nothing of templates, tokenizers or tokens, so that a mistake is found before any of them is loaded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence, Sized

from ...errors import DataError
from ...study.config import DataConfig
from .columns import Reading, Survey, check_columns, choose
from .formats import check_format
from .left_out import Log, first_left_out, first_of
from .readers import RecordFile, open_records
from .split import PARTS, check_shares, shuffled, take_shares
from .templates import check_template


def check_options(config: DataConfig) -> None:
    """Raise ``DataError`` where an option is not valid, whatever the files hold."""
    check_format(config.format)
    check_template(config.template)
    check_shares(config.split)
    if config.columns is not None:
        check_columns(config.columns, config.format)
    if config.cutoff_len < 2:
        raise DataError(
            f"cutoff_len is {config.cutoff_len}, but an example needs at least 2 tokens: raise it"
        )


def open_files(config: DataConfig) -> dict[str, RecordFile]:
    """Return the files by the part that they are for; raises ``DataError``."""
    paths = {"train": config.train, "validation": config.validation, "test": config.test}
    return {
        part: open_records(path, encoding=config.encoding, rules=config.rules)
        for part, path in paths.items()
        if path is not None
    }


def choose_reading(file: RecordFile, found: Survey, config: DataConfig) -> Reading:
    """Return how a file's records are read; raises ``DataError``."""
    if not found.filled and config.format == "auto":
        log = Log(file.name, file.place)
        for line, reason in file.read():
            log.leave_out(line, str(reason))
        check_usable(0, log)
    return choose(file.name, found, config)


def check_usable(usable: int, log: Log) -> None:
    """Raise ``DataError`` where no record of a file is usable."""
    if not usable:
        raise DataError(f"{log.file} has no usable record among {log.count}; {first_of(log.bad)}")


def check_distinct(distinct: Mapping[str, Sized], files: Mapping[str, RecordFile]) -> None:
    """Raise ``DataError`` where nothing is left of a file once what another holds is left out."""
    for part, file in files.items():
        if not len(distinct[part]):
            raise DataError(f"every record of {file.name} is also in another file: give records that differ")


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
