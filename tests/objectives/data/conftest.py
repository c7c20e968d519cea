"""A tokenizer for all tests of a file."""

from __future__ import annotations

import pytest
from tokenized import MakeTokenizer
from transformers import PreTrainedTokenizerFast


@pytest.fixture(scope="module")
def tokenizer(make_tokenizer: MakeTokenizer) -> PreTrainedTokenizerFast:
    return make_tokenizer()
