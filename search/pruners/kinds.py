"""Every pruner by its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...study.pruners import Halving, Hyperband, Median, NoPruning, PrunerSettings
from .base import Pruner
from .halving import HalvingPruner
from .hyperband import HyperbandPruner
from .median import MedianPruner
from .none import NoPruner

_KINDS: Mapping[type[PrunerSettings], Callable[..., Pruner]] = {
    Halving: HalvingPruner,
    Median: MedianPruner,
    Hyperband: HyperbandPruner,
    NoPruning: NoPruner,
}


def pruner_of(settings: PrunerSettings) -> Pruner:
    """Return the pruner that goes by these settings."""
    return _KINDS[type(settings)](settings=settings)
