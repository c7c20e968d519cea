"""An option is written once: flags, keys of a config file, defaults and the documentation agree with it."""

import dataclasses
import re
from pathlib import Path

import click
import pytest
from loratune.app.config_file import read_config
from loratune.app.options import RunOptions, SearchOptions, described, in_file
from loratune.cli import tune
from loratune.errors import UsageError
from loratune.objectives.data.formats import FORMATS
from loratune.spaces.presets import PRESETS
from loratune.study.config import DataConfig, ModelConfig, ObjectiveConfig
from loratune.study.pruners import Halving
from loratune.study.samplers import SAMPLERS, Tpe
from loratune.study.study_config import StudyConfig

PAGE = Path(__file__).parents[2] / "docs" / "options.md"
ALL = [*described(SearchOptions), *described(RunOptions)]
BY_NAME = {one.name: one for one in ALL}


def flags_of(command: str) -> dict[str, click.Option]:
    return {it.name: it for it in tune.commands[command].params if isinstance(it, click.Option)}


def test_a_search_takes_each_option_by_a_flag_of_its_name_with_its_help():
    found = flags_of("search")
    assert {name: found[name].help for name in BY_NAME} == {one.name: one.help for one in ALL}
    assert {one.name for one in ALL if one.flag not in found[one.name].opts} == set()


def test_a_resumed_study_takes_all_that_belongs_to_a_run():
    assert {one.name for one in described(RunOptions)} <= flags_of("resume").keys()


def test_what_the_user_did_not_give_is_none_so_that_the_file_may_speak():
    parsed = tune.commands["search"].make_context("search", []).params
    assert {name: parsed[name] for name in BY_NAME if parsed[name] not in (None, ())} == {}


def test_a_file_may_hold_every_option_but_those_of_one_run(tmp_path):
    path = tmp_path / "search.yaml"
    for one in ALL:
        value = {"several": "{}" if one.name == "set" else "[]", "either": "true", "switch": "true"}.get(
            one.kind
        )
        value = "[a.jsonl]" if one.name == "data" else value
        value = value or {"whole": "2", "count": "2", "real": "0.5", "choice": one.choices[:1]}.get(
            one.kind, "a"
        )
        path.write_text(f"{one.name}: {value[0] if one.kind == 'choice' else value}\n")
        if one.name in in_file():
            search, run, _ = read_config(path)
            assert search.model_fields_set | run.model_fields_set == {one.name}
        else:
            with pytest.raises(UsageError, match="belongs to one run"):
                read_config(path)
    assert set(BY_NAME) - in_file().keys() == {"deterministic", "take_over"}


@pytest.mark.parametrize("config", [ModelConfig, DataConfig, ObjectiveConfig, StudyConfig])
def test_a_default_is_that_of_the_value_that_is_made_of_it(config):
    # The split of the data has a seed of its own, and what a path or a space is made of has no default.
    shared = [
        field
        for field in dataclasses.fields(config)
        if field.name in SearchOptions.model_fields and field.default is not dataclasses.MISSING
    ]
    assert shared
    told = SearchOptions()
    assert {one.name: getattr(told, one.name) for one in shared} == {one.name: one.default for one in shared}


def test_the_choices_are_those_of_whoever_understands_them():
    assert set(BY_NAME["format"].choices) == {"auto", *FORMATS}
    assert [name for name in PRESETS if name not in BY_NAME["space"].help] == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"trials": 0}, "trials: 0 is less than 1"),
        ({"trials": True}, "trials: True is not a whole number"),
        ({"trails": 3}, "trails: is not known here (did you mean 'trials'?)"),
        (
            {"sampler": "tpee"},
            f"sampler: 'tpee' is not one of {', '.join(map(repr, SAMPLERS.names))} (did you mean 'tpe'?)",
        ),
        ({"max_grad_norm": 0.0}, "max_grad_norm: 0.0 is not above 0.0"),
        ({"seed": 2**31}, f"seed: {2**31} is more than {2**31 - 1}"),
        ({"data": ""}, "data: '' is empty"),
    ],
)
def test_a_program_hears_what_is_wrong_with_an_option(given, said):
    with pytest.raises(UsageError) as caught:
        SearchOptions(**given)
    assert str(caught.value) == said


def test_a_sampler_and_a_pruner_are_taken_as_text_or_as_they_are_and_given_back_as_text():
    options = SearchOptions(sampler="tpe:startup=20", pruner=Halving(factor=3))
    assert (options.sampler, options.pruner) == (Tpe(startup=20), Halving(factor=3))
    assert options.model_dump(include={"sampler", "pruner"}) == {
        "sampler": "tpe:startup=20",
        "pruner": "halving:factor=3",
    }


def test_a_path_is_taken_as_its_text_and_options_do_not_change():
    options = SearchOptions(model=Path("a") / "b", data=Path("c.jsonl"))
    assert (options.model, options.data) == ("a/b", "c.jsonl")
    with pytest.raises(ValueError, match="frozen"):
        options.trials = 3


def row_of(one) -> str:
    """Return the line of the page for an option."""
    value = {
        "choice": ", ".join(map(str, one.choices)),
        "count": "auto or N",
        "several": one.option.metavar,
    }.get(one.kind, one.option.metavar)
    if one.kind in ("switch", "either"):
        value = "true or false"
    flag = one.flag if one.kind != "either" else f"{one.flag}, --no-{one.flag[2:]}"
    kept = "" if one.option.in_file else " A flag alone."
    cells = (f"`{flag}`", value, one.default, one.option.help + kept)
    return f"| {' | '.join(cell.replace('|', ' or ') for cell in cells)} |"


def test_the_page_has_a_line_for_each_option():
    tables = re.findall(r"^\| `--.*\|$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert tables == [row_of(one) for one in ALL]
