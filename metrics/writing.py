"""What a written answer is worth beside the right one: the same text or not, and how much of it is there.

ROUGE-L is that of the ``rouge-score`` package (the F-measure of the longest common subsequence), over words
in lower case; Chinese, Japanese and Korean, which put no spaces between words, go by characters.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

from ..study.metric import MetricName

_CJK = (
    "\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
_PARTS = re.compile(f"[{_CJK}]|(?:(?![{_CJK}_])\\w)+")


def parts(text: str) -> list[str]:
    """Return the words of a text in lower case, characters where words are not set apart.

    >>> parts("The cat's 貓兒 sat.")
    ['the', 'cat', 's', '貓', '兒', 'sat']
    """
    return _PARTS.findall(text.lower())


def exact_match(written: str, right: str) -> float:
    """Return 1 for the same text, however its words are spaced, else 0."""
    return float(written.split() == right.split())


def rouge_l(written: str, right: str) -> float:
    """Return the F-measure of the longest common subsequence of their words, 0 to 1."""
    return float(_scorer().score(right, written)["rougeL"].fmeasure)


MARKS: dict[MetricName, Callable[[str, str], float]] = {"exact_match": exact_match, "rouge_l": rouge_l}
"""By metric: from what was written and the right answer to a mark."""


def marks(name: MetricName, written: Sequence[str], right: Sequence[str]) -> tuple[float, ...]:
    """Return the mark of each answer."""
    return tuple(MARKS[name](one, other) for one, other in zip(written, right, strict=True))


class _Parts:
    """``parts``, as the library asks for it."""

    def tokenize(self, text: str) -> list[str]:
        return parts(text)


@functools.cache
def _scorer() -> Any:
    from rouge_score import rouge_scorer

    return rouge_scorer.RougeScorer(["rougeL"], tokenizer=_Parts())
