"""What is measured beside the losses when a trial is evaluated for the last time, or on the test set.

And of the base model, once, when a study is made. One trial after the other, so that the shapes, and with
them the numbers, do not depend on its neighbours.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ...metrics.writing import marks
from ...study.config import ObjectiveConfig
from ...study.facts import Answers, Facts
from ...study.metric import METRICS, examples_measured
from ..base import Evaluated, Measures, Part, Sample
from ..data.answers import Labels, decoded, find_labels, places_of, prompt_and_answer, texts_of
from ..data.dataset import Split, TokenizedData
from .answering import most_tokens, writing
from .evaluation import EvalSet, Passes, finished
from .label_losses import LabelSet
from .model import BaseModel, load_tokenizer
from .pack import Pack


class Beside:
    """What a study measures; nothing is made before it is asked for.

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
        self._label_sets: dict[Part, LabelSet | None] = {}

    def measuring(
        self, pack: Pack, row: int, correct: torch.Tensor, part: Part = "validation"
    ) -> Passes[Measures]:
        """Measure the trial in a row; ``correct`` is what the evaluation itself has counted.

        Of validation that is the final evaluation set, of the test set all of it.
        """
        if part not in self._label_sets:
            self._label_sets[part] = self._label_set(part)
        labels = self._label_sets[part]
        table = None if labels is None else (yield from labels.measuring(pack, row))
        marked = (yield from self._marks(pack, row, part)) if self._needs == "writing" else None
        return Measures(
            correct=tuple(correct.tolist()),
            label_losses=None if table is None else tuple(tuple(own) for own in table.tolist()),
            marks=marked,
        )

    def evaluated(self, pack: Pack, row: int, examples: EvalSet, *, adapter: Path, part: Part) -> Evaluated:
        """Measure an adapter in a row on a part; of the test set also what the study selects by."""
        measures, rows = None, slice(row, row + 1)
        if METRICS[self._config.metric].is_loss or part != "test":
            (losses,) = examples.losses(pack, rows)
        else:
            (losses,), (correct,) = examples.losses_and_correct(pack, rows)
            measures = finished(self.measuring(pack, row, correct, part))
        return Evaluated(
            adapter=adapter,
            part=part,
            losses=tuple(losses.tolist()),
            tokens=examples.target_tokens,
            measures=measures,
            right=() if measures is None else self._right(part),
        )

    def _right(self, part: Part) -> tuple[int, ...]:
        """Return each example's answer, as its place among the labels; empty where none were asked for."""
        if self._needs != "labels" or self._labels is None:
            return ()
        return places_of(self._labels, *self._examples(part))

    def base(self, pack: Pack) -> Answers:
        """Return what is known of the answers, with what the base model makes of them.

        An empty pack's first row computes as the base model does.
        """
        answers = self._facts.answers
        found = finished(self.measuring(pack, 0, torch.tensor(answers.base_correct)))
        return dataclasses.replace(
            answers, base_label_losses=found.label_losses or (), base_marks=found.marks or ()
        )

    def samples(self, pack: Pack, row: int, *, count: int, most: int) -> tuple[Sample, ...]:
        """Return what the trial in a row answers to the first validation prompts, in ``most`` tokens each."""
        count = min(count, len(self._data.validation))
        prompts = [prompt_and_answer(self._data.validation, index)[0] for index in range(count)]
        room = room_of(self._base)
        limits = [most if room is None else min(most, room - len(prompt)) for prompt in prompts]
        rows, stops = self._facts.geometry.eval_rows, stops_of(self._facts)
        written = finished(writing(pack, row, prompts, limits, stops, rows=rows, room=None))
        # One that stops by itself is shorter than it might have been.
        cut = [len(own) >= limit for own, limit in zip(written, limits, strict=True)]
        texts = decoded(written, self._tokenizer)
        shown = texts_of(self._data.validation, count, self._tokenizer)
        return tuple(
            Sample(prompt=prompt, right=right, written=f"{text.strip()} …".lstrip() if ends else text.strip())
            for (prompt, right), text, ends in zip(shown, texts, cut, strict=True)
        )

    @functools.cached_property
    def _labels(self) -> Labels | None:
        return find_labels(self._data, self._size) if self._facts.answers.labels else None

    def _examples(self, part: Part) -> tuple[Split, int]:
        """Return a split, and of how many of its examples, from the first, more than the loss is measured."""
        if part == "test":
            return self._data.test, len(self._data.test)
        return self._data.validation, self._size

    def _label_set(self, part: Part) -> LabelSet | None:
        split, size = self._examples(part)
        names = self._facts.answers.labels
        count = examples_measured(size, len(names), asked=self._needs == "labels") if names else 0
        if not count or self._labels is None:
            return None
        return LabelSet(
            split,
            self._labels,
            count,
            self._facts.geometry.eval_rows,
            self._facts.data.cutoff_len,
            self._base.device,
        )

    @functools.cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self._config.model)

    def _marks(self, pack: Pack, row: int, part: Part) -> Passes[tuple[float, ...]]:
        split, size = self._examples(part)
        pairs = [prompt_and_answer(split, index) for index in range(size)]
        written = yield from writing(
            pack,
            row,
            [prompt for prompt, _ in pairs],
            [most_tokens(len(answer)) for _, answer in pairs],
            stops_of(self._facts),
            rows=self._facts.geometry.eval_rows,
            room=room_of(self._base),
        )
        right = [answer.tolist() for _, answer in pairs]
        return marks(self._config.metric, self._texts(written), self._texts(right))

    def _texts(self, answers: Sequence[Sequence[int]]) -> list[str]:
        return [str(self._tokenizer.decode(list(one), skip_special_tokens=True)) for one in answers]


def stops_of(facts: Facts) -> frozenset[int]:
    """Return the tokens at which an answer ends: the training examples' and the model's own."""
    return frozenset((*facts.data.endings.ids, *facts.data.endings.model_ids))


def room_of(base: BaseModel) -> int | None:
    """Return how many tokens the model can read, None where its configuration does not say."""
    return getattr(base.model.config.get_text_config(), "max_position_embeddings", None)
