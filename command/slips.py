"""What a flag that there is not was meant to be: another flag, a hyperparameter, which ``--set`` takes, or
one of another trainer."""

from __future__ import annotations

import difflib

import click

from ..integrations.trainer_flags import said_of
from ..spaces.params import HYPERPARAMETERS

ALIKE = 0.7
"""How like a name must be to be proposed, from 0 to 1; below that words are alike by their endings alone."""


def no_such_flag(error: click.NoSuchOption) -> str:
    """Return what is said of a flag that there is not: its name, and what is nearest, or what it is here."""
    params = () if error.ctx is None else error.ctx.command.params
    flags = [flag for param in params if isinstance(param, click.Option) for flag in param.opts]
    known = {_plain(flag) for flag in flags}
    meant = _plain(error.option_name)
    said = "" if meant in known else said_of(meant, known, as_flag=True)
    if said:
        return f"no such option {error.option_name}; {said}"
    near = nearest_flag(error.option_name, flags)
    return f"no such option {error.option_name}" + (f" (did you mean {near}?)" if near else "")


def nearest_flag(name: str, flags: list[str]) -> str | None:
    """Return the flag, or the ``--set`` of a hyperparameter, that a name is most like; None where of none.

    >>> nearest_flag("--batch", ["--data", "--set"])
    '--set batch_size=…'
    >>> nearest_flag("--trails", ["--trials", "--set"])
    '--trials'
    """
    meant = _plain(name)
    candidates = {flag: _likeness(meant, (_plain(flag),)) for flag in flags if flag.startswith("--")}
    if "--set" in flags:
        for known, one in HYPERPARAMETERS.items():
            candidates[f"--set {known}=…"] = _likeness(meant, (known, one.heading))
    best = max(candidates, key=lambda known: candidates[known], default=None)
    return best if best is not None and candidates[best] >= ALIKE else None


def _likeness(meant: str, names: tuple[str, ...]) -> float:
    """Return how like the likeliest of some names one is; a whole word of it is nearly all of it."""
    found = [difflib.SequenceMatcher(None, meant, name).ratio() for name in names]
    return max(*found, *(0.95 for name in names if meant in name.split("_")), 0.0)


def _plain(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_").lower()
