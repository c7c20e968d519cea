"""A metric whose library is missing is refused in one line, before anything has begun."""

from __future__ import annotations

import importlib.util

import pytest
from loratune.errors import UsageError
from loratune.metrics import installed
from loratune.study.metric import METRICS


@pytest.mark.parametrize("name", METRICS)
def test_a_missing_library_is_named_with_what_to_do(name, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    if name not in installed.LIBRARIES:
        installed.check_installed(name)
        return
    with pytest.raises(UsageError, match=r"not installed; pip install 'loratune\[metrics\]'") as caught:
        installed.check_installed(name)
    assert "\n" not in str(caught.value)
    assert installed.LIBRARIES[name][1] in str(caught.value)
