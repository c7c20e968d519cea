"""A sampler or a pruner by its name, with the numbers that it goes by."""

from __future__ import annotations

import dataclasses
import re

import pytest
from loratune.errors import StorageError, UsageError
from loratune.search.pruners.kinds import pruner_of
from loratune.search.samplers.kinds import sampler_of
from loratune.study.pruners import PRUNERS, Halving, Median, NoPruning
from loratune.study.samplers import SAMPLERS, Grid, Random, Tpe
from loratune.study.settings import Registry, Settings
from loratune.study.study_config import StudyConfig

BOTH = pytest.mark.parametrize("registry", [SAMPLERS, PRUNERS])


@BOTH
def test_every_kind_is_understood_as_it_is_spelled_and_stored(registry: Registry[Settings]) -> None:
    for kind in registry.kinds:
        usual = kind()
        assert usual.spelled == kind.name
        for settings in (usual, *_changed(usual)):
            assert registry.parse(settings.spelled) == settings
            assert registry.from_json(settings.to_json()) == settings
        assert {one.spelled for one in _changed(usual)} != {kind.name} or not dataclasses.fields(kind)


def _changed(settings: Settings) -> list[Settings]:
    found = []
    for field in dataclasses.fields(settings):
        allowed = field.metadata["allowed"]
        found.append(dataclasses.replace(settings, **{field.name: allowed[-1]}))
    return found


def test_every_kind_that_may_be_chosen_is_there_to_be_made() -> None:
    assert [sampler_of(kind()).settings.name for kind in SAMPLERS.kinds] == list(SAMPLERS.names)
    assert [pruner_of(kind()).settings.name for kind in PRUNERS.kinds] == list(PRUNERS.names)


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("halving", Halving()),
        ("halving:factor=3", Halving(factor=3)),
        ("halving: factor = 3, first=1", Halving(factor=3, first=1)),
        ("median:complete=9", Median(complete=9)),
        ("none", NoPruning()),
        (Halving(peers=9), Halving(peers=9)),
    ],
)
def test_settings_stand_behind_a_colon(text: object, settings: Settings) -> None:
    assert PRUNERS.parse(text) == settings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "hlaving",
            "is not one of 'halving', 'promote', 'median', 'hyperband', 'none' (did you mean 'halving'?)",
        ),
        (
            "asha",
            "is not one of 'halving', 'promote', 'median', 'hyperband', 'none' (asha is called halving now)",
        ),
        ("", "is not one of"),
        (5, "is not one of"),
        (Random(), "is not one of"),
        ("halving:facter=3", "has 'facter', which is no setting of halving (did you mean 'factor'?); write"),
        (
            "halving:",
            "has '', which is no setting of halving; write halving:factor=N, of factor, first, peers",
        ),
        ("halving:factor", "sets factor to '', which is not a whole number from 2 to 64"),
        ("halving:factor=1", "sets factor to '1', which is not a whole number from 2 to 64"),
        ("halving:factor=2.5", "sets factor to '2.5', which is not a whole number"),
        ("halving:factor=²", "sets factor to '²', which is not a whole number"),
        ("halving:first=3", "sets first to '3', which is not one of 1, 2, 4"),
        ("halving:factor=2,factor=3", "sets factor twice"),
        ("none:factor=3", "has settings after the colon, and none has none"),
    ],
)
def test_what_is_no_setting_is_said_in_one_clause(text: object, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(words)}") as caught:
        PRUNERS.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "value"), [("factor", 1), ("factor", 2.0), ("factor", True), ("first", 8)])
def test_a_program_hears_what_is_wrong_too(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"halving: {name}: "):
        Halving(**{name: value})  # type: ignore[arg-type]


def test_a_study_of_before_they_were_stored_goes_by_what_they_were(study_config: StudyConfig) -> None:
    stored = study_config.to_json()
    stored |= {"sampler": "tpe", "pruner": "asha"}
    found = StudyConfig.from_json(stored)
    assert found.sampler == Tpe(startup=10, finished=4, remembered=500, candidates=24)
    assert found.pruner == Halving(factor=2, first=2, peers=4)
    stored |= {"sampler": "random", "pruner": "none"}
    found = StudyConfig.from_json(stored)
    assert (found.sampler, found.pruner) == (Random(), NoPruning())


def test_they_are_stored_with_every_number_and_compared(study_config: StudyConfig) -> None:
    other = dataclasses.replace(study_config, sampler=Grid(points=3), pruner=Halving(factor=3))
    assert other.to_json()["sampler"] == {"name": "grid", "points": 3}
    assert other.to_json()["pruner"] == {"name": "halving", "factor": 3, "first": 2, "peers": 4}
    assert StudyConfig.from_json(other.to_json()) == other
    assert study_config.differences(other) == (
        "sampler is 'tpe', not 'grid:points=3'",
        "pruner is 'halving', not 'halving:factor=3'",
    )


@pytest.mark.parametrize(
    "stored",
    ["oracle", {"name": "oracle"}, {"name": "tpe", "luck": 3}, {"name": "tpe", "startup": -1}, {}, 3],
)
def test_a_stored_sampler_that_is_none_is_one_line(study_config: StudyConfig, stored: object) -> None:
    with pytest.raises(StorageError, match="the stored configuration cannot be read"):
        StudyConfig.from_json({**study_config.to_json(), "sampler": stored})


@pytest.fixture(name="study_config")
def _study_config() -> StudyConfig:
    from loratune.spaces.presets import preset
    from loratune.study.config import DataConfig, ModelConfig, ObjectiveConfig

    tiny = preset("tiny")
    return StudyConfig(
        space=tiny.space,
        preset="tiny",
        default_source="measured",
        objective=ObjectiveConfig(
            model=ModelConfig(name_or_path="model"),
            data=DataConfig(train="data.jsonl"),
            batch_sizes=tiny.space.batch_sizes(),
            lora_ranks=tiny.space.lora_ranks(),
            lora_targets=tiny.space.lora_targets(),
        ),
        first=(tiny.default,),
    )
