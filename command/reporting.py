"""``tune report``: one page on a study, and what its models write where that is asked for."""

from __future__ import annotations

from pathlib import Path

import click

from .. import bounds
from ..app.default_storage import default_storage
from ..errors import UsageError
from ..storage.store import Store
from .console import ERR, say, say_wrote
from .options import WholeNumber, at_storage, output_option, storage_option, study_argument


@click.command(short_help="Write the report: one page, the verdict first.")
@study_argument
@output_option("The page.", Path("report.html"))
@click.option(
    "--samples",
    type=WholeNumber(bounds.SAMPLES),
    default=0,
    show_default=True,
    metavar="N",
    help="Let base, default and best answer N validation prompts; it loads the model.",
)
@click.option("--retrain", is_flag=True, help="For --samples: train one again that has no adapter.")
@storage_option
def report(study: str | None, output: Path, samples: int, retrain: bool, storage: str | None) -> None:
    """Write the report of STUDY, or the latest: one page, the verdict first, that opens offline.

    \b
    Examples:
      tune report -o report.html
      tune report --samples 5
    """
    if retrain and not samples:
        raise UsageError("--retrain is for the trials that --samples N lets write; name N too")
    from ..reports.load import load_view
    from ..reports.page import check_place, write_report
    from ..storage import engine

    where = storage or default_storage()
    with Store.open(where, mode="read") as store:
        view = load_view(store, study)
    there = check_place(output)  # before a model is loaded
    written = None
    if samples:
        from ..app import sampling
        from . import signals

        written = sampling.samples(
            view,
            samples,
            retrain=retrain,
            storage=where,
            tell=lambda words: say(ERR, words),
            training=signals.training,
        )
    at = at_storage(engine.parse(where).shown)
    write_report(view, output, at=at, samples=written)
    say_wrote(output, replaced=there)
