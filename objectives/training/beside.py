"""What is measured beside the losses when a trial is evaluated for the last time.

One trial after the other, so that the shapes, and with them the numbers, do not depend on its neighbours.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch

from ...metrics.writing import marks
from ...study.config import ObjectiveConfig
from ...study.facts import Facts
from ...study.metric import METRICS
from ..base import Measures, Sample
from ..data.answers import decoded, find_labels, prompt_and_answer, texts_of
from ..data.dataset import TokenizedData
from .answering import most_tokens, write
from .label_losses import LabelSet, examples_measured
from .model import BaseModel, load_tokenizer
from .pack import Pack


class Beside:
    """What a study measures; nothing is made before the first trial has come to its end.

    Args:
        config: what the study selects by.
        facts: what was found of its data.
        base: the base model.
        data: the data.
    """

    def __init__(self, config: ObjectiveConfig, facts: Facts, base: BaseModel, data: TokenizedData) -> None:
        self._config, self._facts, self._base, self._data = config, facts, base, data
        self._needs = METRICS[config.metric].needs
        self._size = facts.budget.final_eval_examples

    def measure(self, pack: Pack, row: int, correct: torch.Tensor) -> Measures:
        """Measure the trial in a row; ``correct`` is what the evaluation itself has counted."""
        labels = self._labels
        table = None if labels is None else labels.losses(pack, row)
        return Measures(
            correct=tuple(correct.tolist()),
            label_losses=None if table is None else tuple(tuple(own) for own in table.tolist()),
            marks=self._marks(pack, row) if self._needs == "writing" else None,
        )

    def samples(self, pack: Pack, row: int, *, count: int, most: int) -> tuple[Sample, ...]:
        """Return what the trial in a row answers to the first validation prompts, in ``most`` tokens each."""
        count = min(count, len(self._data.validation))
        prompts = [prompt_and_answer(self._data.validation, index)[0] for index in range(count)]
        room = room_of(self._base)
        limits = [most if room is None else min(most, room - len(prompt)) for prompt in prompts]
        rows, stops = self._facts.geometry.eval_rows, stops_of(self._facts)
        written = write(pack, row, prompts, limits, stops, rows=rows, room=None)
        # One that stops by itself is shorter than it might have been.
        cut = [len(own) >= limit for own, limit in zip(written, limits, strict=True)]
        texts = decoded(written, self._tokenizer)
        shown = texts_of(self._data.validation, count, self._tokenizer)
        return tuple(
            Sample(prompt=prompt, right=right, written=f"{text.strip()} …".lstrip() if ends else text.strip())
            for (prompt, right), text, ends in zip(shown, texts, cut, strict=True)
        )

    @functools.cached_property
    def _labels(self) -> LabelSet | None:
        names = self._facts.answers.labels
        if not names:
            return None
        count = examples_measured(self._size, len(names), asked=self._needs == "labels")
        found = find_labels(self._data, self._size) if count else None
        if found is None:
            return None
        return LabelSet(
            self._data.validation,
            found,
            count,
            self._facts.geometry.eval_rows,
            self._facts.data.cutoff_len,
            self._base.device,
        )

    @functools.cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self._config.model)

    @functools.cached_property
    def _pairs(self) -> list[tuple[Any, Any]]:
        return [prompt_and_answer(self._data.validation, index) for index in range(self._size)]

    def _marks(self, pack: Pack, row: int) -> tuple[float, ...]:
        written = write(
            pack,
            row,
            [prompt for prompt, _ in self._pairs],
            [most_tokens(len(answer)) for _, answer in self._pairs],
            stops_of(self._facts),
            rows=self._facts.geometry.eval_rows,
            room=room_of(self._base),
        )
        right = [answer.tolist() for _, answer in self._pairs]
        return marks(self._config.metric, self._texts(written), self._texts(right))

    def _texts(self, answers: Sequence[Sequence[int]]) -> list[str]:
        return [str(self._tokenizer.decode(list(one), skip_special_tokens=True)) for one in answers]


def stops_of(facts: Facts) -> frozenset[int]:
    """Return the tokens at which an answer ends: the training examples' and the model's own."""
    return frozenset((*facts.data.endings.ids, *facts.data.endings.model_ids))


def room_of(base: BaseModel) -> int | None:
    """Return how many tokens the model can read, None where its configuration does not say."""
    return getattr(base.model.config.get_text_config(), "max_position_embeddings", None)
