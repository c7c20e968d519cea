"""What a training state's file and a kept adapter's hold, and what the first is called; both are safetensors.

``params/<layer>.lora_A`` is ``[r, in]`` and ``params/<layer>.lora_B`` is ``[out, r]``; ``exp_avg/`` and
``exp_avg_sq/`` hold Adam's moments alike, which an adapter has none of. A trial of full length also carries
the weights of its best round so far, under ``kept/``. ``digest.py`` seals the file.
"""

from __future__ import annotations

import json

from .. import digest
from ..spaces.params import LoraParams

GROUPS = ("params", "exp_avg", "exp_avg_sq")
"""What there is of each matrix: its numbers, then Adam's first and second moments."""

PARAMS = "params/"
"""Where the names of an adapter's tensors begin."""

KEPT = "kept/"
"""Where the names of the tensors begin that a trial of full length would keep if it ended now."""

LOSSES = "eval_losses"
"""Metadata with the eval losses of such a trial so far, one a round, as JSON."""

PARAMS_KEY = "params"
"""Metadata with the hyperparameters that it was trained with, as ``spelled`` has them."""

MOMENTS = tuple(f"{group}/" for group in GROUPS[1:])
"""Where the names of the optimizer's tensors begin."""

FORMATS = (digest.FORMAT, digest.UNSEALED)
"""Metadata ``format`` of the files that can be read."""


def spelled(params: LoraParams) -> str:
    """Return hyperparameters as a file's metadata have them."""
    return json.dumps(params.to_dict(), sort_keys=True)


def checkpoint_name(trial: int, round_number: int, attempt: int) -> str:
    """Return the name of the file that a trial's state after a round is written to; no two share one.

    Worker and search both go by it, so that neither has to tell the other.

    >>> checkpoint_name(3, 5, 1)
    'trial-00003-q5-a1.safetensors'
    """
    # q as in quantum, which a round was called when the first of these files were written.
    return f"trial-{trial:05d}-q{round_number}-a{attempt}.safetensors"
