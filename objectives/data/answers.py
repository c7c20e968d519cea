"""What the final evaluation set's examples ask and should be answered: labels, and the beginning of texts.

Answers are labels where they are a closed set of few that repeat. Everything is read off the tokens, so
that whatever the format and the template were, a label is what the model is trained to write. Knows nothing
of the model's weights or of trials.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from ...study.facts import Answers
from .dataset import Split, TokenizedData

LABELS_MOST = 20
"""Answers of more kinds than this are no labels."""
REPEATS = 5
"""So often a label occurs at least, on average."""
LOOKED_AT = 5_000
"""Training examples that labels are looked for in."""
PROMPT_SHOWN, ANSWER_SHOWN = 400, 200
"""Characters of a prompt's end and of an answer's beginning that are kept to be shown."""
TEXTS_MOST = 1_000
"""Examples whose texts are kept at most: they are stored with the study."""

Tokens = npt.NDArray[np.int32]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Labels:
    """A closed set of answers, and which of them each example of the final evaluation set has."""

    tokens: tuple[tuple[int, ...], ...]
    """What is predicted of each label, its stop token included; the most frequent label first."""
    of_examples: tuple[int, ...]
    """``[size]`` the place of each example's answer in ``tokens``."""


def prompt_and_answer(split: Split, index: int) -> tuple[Tokens, Tokens]:
    """Return the tokens before an example's last answer, and those of the answer, as far as predicted."""
    tokens, target = split.example(index)
    start = len(target) - int(np.argmin(target[::-1]))
    return tokens[:start], tokens[start:]


def find_labels(data: TokenizedData, size: int) -> Labels | None:
    """Return the labels of the data, by its training examples and the first ``size`` of validation.

    None where answers are of many kinds, hardly repeat, or are several in an example.
    """
    counts: Counter[tuple[int, ...]] = Counter()
    found: list[tuple[int, ...]] = []
    for split, number in ((data.validation, size), (data.train, min(LOOKED_AT, len(data.train)))):
        for index in range(number):
            tokens, target = split.example(index)
            # One answer, at the end: an example ends with its last predicted token.
            answer = tokens[target]
            if target[: len(target) - len(answer)].any():
                return None
            one = tuple(answer.tolist())
            counts[one] += 1
            if len(counts) > LABELS_MOST:
                return None
            if split is data.validation:
                found.append(one)
    if len(counts) < 2 or sum(counts.values()) < REPEATS * len(counts):
        return None
    ordered = sorted(counts, key=lambda one: (-counts[one], one))
    places = {one: place for place, one in enumerate(ordered)}
    return Labels(tokens=tuple(ordered), of_examples=tuple(places[one] for one in found))


def places_of(labels: Labels, split: Split, size: int) -> tuple[int, ...]:
    """Return each example's answer, as its place among the labels; one past the last where it is none."""
    places = {one: place for place, one in enumerate(labels.tokens)}
    answers = (tuple(prompt_and_answer(split, index)[1].tolist()) for index in range(size))
    return tuple(places.get(answer, len(places)) for answer in answers)


def answers_of(
    data: TokenizedData, size: int, tokenizer: Any, *, base_correct: tuple[int, ...] = ()
) -> Answers:
    """Return what is known of the first ``size`` validation examples, as it is stored with a study."""
    labels = find_labels(data, size)
    names: tuple[str, ...] = ()
    if labels is not None:
        names = tuple(text.strip() for text in decoded(labels.tokens, tokenizer))
        if len(set(names)) < len(names) or not all(names):
            labels, names = None, ()  # the same answer in other tokens, or none at all
    return Answers(
        base_correct=base_correct,
        labels=names,
        of_examples=() if labels is None else labels.of_examples,
        texts=texts_of(data.validation, min(size, TEXTS_MOST), tokenizer),
    )


def texts_of(split: Split, size: int, tokenizer: Any) -> tuple[tuple[str, str], ...]:
    """Return the end of the prompt and the beginning of the right answer of a split's first examples."""
    pairs = [prompt_and_answer(split, index) for index in range(size)]
    prompts = decoded([prompt.tolist() for prompt, _ in pairs], tokenizer)
    answers = decoded([answer.tolist() for _, answer in pairs], tokenizer)
    return tuple(
        (_end(prompt.strip()), _beginning(answer.strip()))
        for prompt, answer in zip(prompts, answers, strict=True)
    )


def decoded(tokens: Any, tokenizer: Any) -> list[str]:
    """Return several answers or prompts as text, without the special tokens."""
    return [
        str(tokenizer.decode(list(one), skip_special_tokens=True, clean_up_tokenization_spaces=False))
        for one in tokens
    ]


def _end(text: str) -> str:
    return text if len(text) <= PROMPT_SHOWN else "… " + text[-PROMPT_SHOWN:]


def _beginning(text: str) -> str:
    return text if len(text) <= ANSWER_SHOWN else text[:ANSWER_SHOWN] + " …"
