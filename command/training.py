"""``tune train``: the chosen configuration at full length, parsed, run once and told."""

from __future__ import annotations

from typing import Any

import click

from .. import bounds
from ..app.default_storage import default_storage
from ..study.plain_method import PLAIN_NAMES
from ..study.stopping import KEEPS
from . import plain_training
from .options import (
    Real,
    WholeNumber,
    at_storage,
    json_lines_option,
    machine_options,
    storage_option,
    study_argument,
    take_over_option,
)


@click.command(short_help="Train the best configuration at full length.")
@study_argument
@click.option(
    "--trial", type=WholeNumber(bounds.NUMBER), metavar="N", help="A trial; confirmed or best by default."
)
@click.option("--epochs", type=Real(bounds.EPOCHS), metavar="E", help="Its length in epochs; 3 by default.")
@click.option(
    "--examples", type=WholeNumber(bounds.EXAMPLES), metavar="N", help="Its length in training examples."
)
@click.option("--beside", type=click.Choice(["default"]), help="Train the default too, to be compared with.")
@click.option(
    "--patience",
    type=WholeNumber(bounds.PATIENCE),
    metavar="P",
    help="End after so many of its 8 rounds without a lower loss; never by default.",
)
@click.option(
    "--keep", type=click.Choice(KEEPS), default="best", show_default=True, help="Which round's weights."
)
@click.option("--seed", type=WholeNumber(bounds.SEED), metavar="N", help="Another seed than the trial's own.")
@click.option(
    "--method",
    type=click.Choice(("lora", *PLAIN_NAMES)),
    default="lora",
    show_default=True,
    help="full or freeze: the same without adapters, to be measured against.",
)
@click.option(
    "--freeze-layers",
    type=WholeNumber(bounds.LAYERS),
    metavar="N",
    help="The last layers that freeze trains; 2 by default.",
)
@click.option(
    "--learning-rate",
    type=Real(bounds.LEARNING_RATE),
    metavar="X",
    help="Of full or freeze; a tenth of the trial's by default.",
)
@machine_options
@storage_option
@take_over_option
@json_lines_option
def train(study: str | None, storage: str | None, as_json: bool, **flags: Any) -> None:
    """Train the best configuration of STUDY, or the latest, at full length; what it keeps is exported.

    \b
    It is a study of its own, STUDY.train: killed, tune resume goes on with it.
    Examples:
      tune train
      tune train --epochs 3 --patience 2 --beside default
      tune export --format merged -o model/
      tune train --method full
    """
    from ..app import training
    from ..app.options import RunOptions
    from ..search.interrupt import StopSignal
    from ..storage import engine
    from . import signals, watching

    stop, where = StopSignal(), storage or default_storage()
    plain_training.check_flags(click.get_current_context(), flags["method"])
    if flags["method"] != "lora":
        with signals.training():
            plain_training.run(study, flags, storage=where, as_json=as_json)
        return
    del flags["method"]
    given = {name: value for name, value in flags.items() if value is not None}
    run = RunOptions(**{name: given.pop(name) for name in RunOptions.model_fields if name in given})
    with watching.resumable(study, at_storage(engine.parse(where).shown)), signals.training():
        done = training.train(
            study, run, **given, storage=where, stop=stop, watch=watching.watch(stop, as_json=as_json)
        )
        watching.say_ended(done, where, as_json=as_json)
