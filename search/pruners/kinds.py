"""Every pruner by its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...study.pruners import Halving, Hyperband, Median, NoPruning, Promote, PrunerSettings
from .base import Promoter, Pruner
from .halving import HalvingPruner
from .hyperband import HyperbandPruner
from .median import MedianPruner
from .none import NoPruner
from .promote import PromotePruner

_KINDS: Mapping[type[PrunerSettings], Callable[..., Pruner]] = {
    Halving: HalvingPruner,
    Promote: PromotePruner,
    Median: MedianPruner,
    Hyperband: HyperbandPruner,
    NoPruning: NoPruner,
}


def pruner_of(settings: PrunerSettings) -> Pruner:
    """Return the pruner that goes by these settings."""
    return _KINDS[type(settings)](settings=settings)


def promoter_of(settings: PrunerSettings) -> Promoter | None:
    """Return the pruner that goes by these settings where it lets trials wait, else None."""
    return PromotePruner(settings=settings) if isinstance(settings, Promote) else None
