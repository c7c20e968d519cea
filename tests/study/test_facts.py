"""What was found for a study is read as it was written, by whichever version."""

import copy
import json

import pytest
from loratune.errors import StorageError
from loratune.study.facts import Facts
from made_up_studies import make_facts


@pytest.fixture
def stored():
    return json.loads(json.dumps(make_facts().to_json()))


@pytest.fixture
def of_before(stored):
    """The same as a version wrote it that called rounds quanta and micro-steps ticks."""
    values = copy.deepcopy(stored)
    values["budget"]["quantum"] = values["budget"].pop("round_examples")
    values["geometry"]["tick_lengths"] = values["geometry"].pop("micro_step_lengths")
    return values


def test_facts_are_read_as_they_were_written(stored):
    assert Facts.from_json(stored) == make_facts()


def test_facts_of_before_are_read_under_the_names_that_they_had(of_before):
    assert Facts.from_json(of_before) == make_facts()
    assert "quantum" in of_before["budget"], "what was handed in is left as it was"


@pytest.mark.parametrize("part", ["budget", "geometry"])
@pytest.mark.parametrize("damaged", [None, 3, [], {}])
def test_damaged_facts_are_refused_in_one_line(stored, part, damaged):
    with pytest.raises(StorageError, match="the stored facts cannot be read"):
        Facts.from_json({**stored, part: damaged})
    with pytest.raises(StorageError, match="the stored facts cannot be read"):
        Facts.from_json(damaged)
