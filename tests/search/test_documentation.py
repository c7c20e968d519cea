"""docs/search.md says of every sampler and pruner what there is to set, and what that is by itself."""

import dataclasses
import re
from pathlib import Path

import pytest
from loratune.study.pruners import PRUNERS
from loratune.study.samplers import SAMPLERS

PAGE = (Path(__file__).parents[2] / "docs" / "search.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", [*SAMPLERS.kinds, *PRUNERS.kinds], ids=lambda kind: kind.name)
def test_each_has_a_row_with_every_setting_and_its_default(kind):
    rows = re.findall(rf"^\| `{kind.name}` \| (.+) \| ?(.*) ?\|$", PAGE, flags=re.MULTILINE)
    assert len(rows) == 1
    told = dict(re.findall(r"`(\w+)` (\d+)", rows[0][1]))
    assert told == {field.name: str(field.default) for field in dataclasses.fields(kind)}


def test_the_page_has_no_row_of_one_that_is_not_there():
    named = re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE)
    assert named == [*SAMPLERS.names, *PRUNERS.names]
