"""The application: ``plan``, ``start``, ``train`` and so on, for the command, a notebook or a service.

    from loratune import app

    app.start(app.SearchOptions(trials=20), app.RunOptions(workers=1))

docs/python.md says more. What is named here is loaded when it is first used: help and lists must be quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .confirming import Confirmed, ConfirmPlan, confirm
    from .exporting import Exported, export
    from .options import RunOptions, SearchOptions
    from .plain_training import PlainlyTrained, train_plainly
    from .planning import Plan
    from .searching import plan, resume, start
    from .trainer_file import OwnRun, read_trainer_file
    from .training import train
    from .watched import Begun, Finished

__all__ = [
    "Begun",
    "ConfirmPlan",
    "Confirmed",
    "Exported",
    "Finished",
    "OwnRun",
    "PlainlyTrained",
    "Plan",
    "RunOptions",
    "SearchOptions",
    "confirm",
    "export",
    "plan",
    "read_trainer_file",
    "resume",
    "start",
    "train",
    "train_plainly",
]


def __getattr__(name: str) -> Any:
    if name in ("RunOptions", "SearchOptions"):
        from . import options as module
    elif name in ("Exported", "export"):
        from . import exporting as module  # type: ignore[no-redef]
    elif name in ("OwnRun", "read_trainer_file"):
        from . import trainer_file as module  # type: ignore[no-redef]
    elif name == "train":
        from . import training as module  # type: ignore[no-redef]
    elif name in ("PlainlyTrained", "train_plainly"):
        from . import plain_training as module  # type: ignore[no-redef]
    elif name in ("Begun", "Finished"):
        from . import watched as module  # type: ignore[no-redef]
    elif name in ("ConfirmPlan", "Confirmed", "confirm"):
        from . import confirming as module  # type: ignore[no-redef]
    elif name in __all__:
        from . import searching as module  # type: ignore[no-redef]
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(module, name)
