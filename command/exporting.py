"""``tune export``: a trial leaves for another program."""

from __future__ import annotations

from typing import Any

import click
from rich.text import Text

from . import showing
from .console import ERR, emit, say, say_wrote
from .options import export_options, storage_option, study_argument


@click.command(short_help="Export the best configuration for your trainer.")
@study_argument
@export_options
@storage_option
def export(study: str | None, **options: Any) -> None:
    """Export the best configuration of STUDY, or --trial N, for the trainer that you use.

    \b
    Examples:
      tune export
      tune export --format peft -o best/
      tune export --format llamafactory -o best.yaml
    """
    from ..app import exporting
    from . import signals

    done = exporting.export(study, **options, tell=showing.tell_of_export, training=signals.training)
    if done.text is not None:
        emit(done.text)
    for one in done.written:
        say_wrote(one.path, replaced=one.replaced)
    for sentence in done.notes:
        say(ERR, Text(sentence, style="dim"), indent=2)
