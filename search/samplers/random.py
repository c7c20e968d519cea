"""Points drawn uniformly, each by itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from ...study.samplers import Random
from .base import Ask, Past
from .points import drawn


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomSampler:
    """See ``base.Sampler``."""

    settings: Random
    """It goes by nothing."""

    def suggest(self, ask: Ask, _history: Sequence[Past]) -> tuple[dict[str, Any], str]:
        """Return a point drawn uniformly."""
        return drawn(ask), self.settings.name
