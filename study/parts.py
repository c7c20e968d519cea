"""Short names for what a study's record holds, for the values that are about one study."""

from __future__ import annotations

from .budget import Budget
from .config import ObjectiveConfig
from .facts import DataSummary, Geometry, ModelSummary
from .records import StudyRecord


class StudyParts:
    """What is asked of a study most, for whoever has one in ``study``."""

    study: StudyRecord

    @property
    def objective(self) -> ObjectiveConfig:
        """Model and data as the user asked for them."""
        return self.study.config.objective

    @property
    def budget(self) -> Budget:
        """What every trial was given."""
        return self.study.facts.budget

    @property
    def data(self) -> DataSummary:
        """What became of the data."""
        return self.study.facts.data

    @property
    def model(self) -> ModelSummary:
        """What the base model is."""
        return self.study.facts.model

    @property
    def geometry(self) -> Geometry:
        """How the base model was held: its number type, the layers that could carry an adapter."""
        return self.study.facts.geometry

    @property
    def base_loss(self) -> float:
        """The base model's loss on the final evaluation set."""
        return self.study.facts.base_loss
