"""Every trial runs to its end."""

from __future__ import annotations

import dataclasses

from ...study.pruners import NoPruning
from .base import Arrivals, Decision


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoPruner:
    """See ``base.Pruner``."""

    settings: NoPruning
    """It goes by nothing."""

    def decide(self, _arrivals: Arrivals) -> Decision:
        """Stop nobody."""
        return Decision()
