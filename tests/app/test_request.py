"""From flags and a config file to a study's configuration, before anything is loaded."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from click.testing import CliRunner
from loratune import cli
from loratune.app.first_trials import fit_to_budget
from loratune.app.request import choose_preset, make_config, make_request, study_name
from loratune.demo import data_path, model_path
from loratune.errors import SpaceError, UsageError
from loratune.objectives.testing.fake import FakePlan, FakeWorker
from loratune.spaces.presets import preset
from loratune.study.pruners import Halving, NoPruning
from loratune.study.samplers import Gp, Grid, Tpe


def config_of(**flags):
    request = make_request(None, flags)
    return make_config(request, choose_preset(request) or preset("default"))


def model_of(folder: Path, weights: int) -> Path:
    """A model folder whose header promises so many weights."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [weights], "data_offsets": [0, 4]}}).encode()
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    return folder


def test_without_flags_it_is_the_demo_in_the_tiny_space():
    config = config_of()
    assert config.preset == "tiny"
    assert config.objective.model.name_or_path == str(model_path())
    assert config.objective.data.train == str(data_path())
    assert config.first == (preset("tiny").default,)
    assert "moved" not in config.default_source


def test_a_flag_goes_over_the_file_and_the_file_over_the_default(tmp_path):
    (tmp_path / "search.yaml").write_text("trials: 24\nseed: 5\npruner: none\nset: {lora_rank: [2, 4]}\n")
    request = make_request(tmp_path / "search.yaml", {"trials": 7, "seed": None, "set": ("lora_rank=8",)})
    config = make_config(request, preset("tiny"))
    assert request.search.trials == 7
    assert config.seed == config.objective.seed == 5
    assert config.pruner == NoPruning()
    assert config.sampler == Tpe()
    assert config.space.lora_ranks() == (8,)


def test_what_a_sampler_lacks_is_said_before_anything_begins(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    request = make_request(None, {"sampler": Gp()})
    with pytest.raises(UsageError, match="sampler gp: scipy is not installed"):
        make_config(request, preset("tiny"))


def test_settings_stand_in_a_file_as_on_the_command_line(tmp_path):
    (tmp_path / "search.yaml").write_text("sampler: grid:points=3\npruner: halving:factor=3,peers=6\n")
    config = make_config(make_request(tmp_path / "search.yaml", {}), preset("tiny"))
    assert config.sampler == Grid(points=3)
    assert config.pruner == Halving(factor=3, peers=6)


def test_a_database_is_named_by_flag_then_file_then_environment(tmp_path, monkeypatch):
    def storage_of(*words):
        flags = cli.tune.commands["search"].make_context("search", list(words)).params
        return make_request(flags.pop("config"), flags).storage

    file = tmp_path / "search.yaml"
    file.write_text("storage: of-file.db\n")
    monkeypatch.delenv("TUNE_STORAGE", raising=False)
    assert storage_of() == "tune.db"
    monkeypatch.setenv("TUNE_STORAGE", "of-environment.db")
    assert storage_of() == "of-environment.db"
    assert storage_of(f"--config={file}") == "of-file.db"
    assert storage_of(f"--config={file}", "--storage=of-flag.db") == "of-flag.db"


@pytest.mark.parametrize("name", ["list", "show", "report", "export", "resume"])
def test_a_command_without_a_config_file_hears_of_the_database_from_the_environment(name, tmp_path):
    place = tmp_path / "elsewhere.db"
    ended = CliRunner().invoke(cli.tune, [name], env={"TUNE_STORAGE": str(place)})
    assert str(place) in str(ended.exception)


def test_a_switch_that_is_turned_off_is_not_a_switch_left_out():
    off, out = config_of(gradient_checkpointing=False), config_of(gradient_checkpointing=None)
    assert off.objective.model.gradient_checkpointing is False
    assert out.objective.model.gradient_checkpointing is None


def test_the_machine_does_not_belong_to_the_study():
    request = make_request(None, {"slots": 3, "workers": "auto", "storage": "x.db", "timeout": 5.0})
    run = request.run
    assert (run.slots_wanted, run.workers_wanted, run.timeout, request.storage) == (3, None, 5.0, "x.db")
    assert make_config(request, preset("tiny")) == config_of()


def test_the_default_moves_into_a_space_that_it_lies_outside_of():
    config = config_of(set=("learning_rate=1e-4..1e-3:log",))
    assert config.first[0].learning_rate == 1e-3
    assert config.default_source.endswith("moved to the nearest point of the space")


def test_what_an_enqueued_configuration_leaves_out_is_as_in_trial_0():
    default = preset("tiny").default
    config = config_of(enqueue=("{learning_rate: 3e-3}", "{lora_rank: 4}", "{lora_rank: 4, lora_alpha: 4}"))
    _, rate, rank, alpha = config.first
    assert rate.learning_rate == 3e-3
    assert rate.lora_rank == default.lora_rank
    assert (rank.lora_rank, rank.lora_alpha) == (4, 4 * default.scaling)
    assert (alpha.lora_rank, alpha.lora_alpha) == (4, 4)


@pytest.mark.parametrize("number", [1e-05, 0.1234567890123456789, 3.0000000000000004e-4, 1e-4, 0.002])
def test_an_enqueued_number_written_by_a_program_comes_back_exactly(number):
    config = config_of(enqueue=(json.dumps({"learning_rate": number}),), set=("learning_rate=1e-6..0.5:log",))
    assert config.first[1].learning_rate == number


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[1, 2]", UsageError),
        ("{learning_rate: [1}", UsageError),
        ("{1: 2}", UsageError),
        ("!!python/object/apply:os.system [false]", UsageError),
        ("{lora_rank: 0}", UsageError),
        ("{lora_rnk: 8}", UsageError),
        ("{learning_rate: 5.0}", SpaceError),
    ],
)
def test_an_enqueued_configuration_that_cannot_be_tried_is_refused(text, error):
    with pytest.raises(error):
        config_of(enqueue=(text,))


@pytest.mark.parametrize(
    "flags",
    [{"model": "m"}, {"data": "d.jsonl"}, {"model": "m", "data": "d.jsonl", "test": "t.jsonl"}],
)
def test_half_of_a_pair_is_wrong_usage(flags):
    with pytest.raises(UsageError, match="--"):
        config_of(**flags)


def test_files_are_stored_with_their_whole_paths(tmp_path, monkeypatch):
    model_of(tmp_path / "m", 10)
    monkeypatch.chdir(tmp_path)
    objective = config_of(model="m", data="d.jsonl").objective
    assert objective.model.name_or_path == str(tmp_path / "m")
    assert objective.data.train == str(tmp_path / "d.jsonl")
    assert config_of(model="org/name", data="d.jsonl").objective.model.name_or_path == "org/name"


@pytest.mark.parametrize(("weights", "name"), [(49_000_000, "tiny"), (51_000_000, "default")])
def test_the_space_is_chosen_by_the_size_of_the_model(tmp_path, weights, name):
    request = make_request(None, {"model": str(model_of(tmp_path / "m", weights)), "data": "d.jsonl"})
    assert choose_preset(request).name == name


def test_a_model_of_unknown_size_leaves_the_choice_open(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    request = make_request(None, {"model": "org/nowhere", "data": "d.jsonl"})
    assert choose_preset(request) is None
    assert choose_preset(make_request(None, {"space": "quickllm"})).name == "quickllm"


def test_a_space_of_a_file_is_read(tmp_path):
    (tmp_path / "space.yaml").write_text("learning_rate: 1e-4..1e-3:log\nlora_rank: [2, 4]\n")
    space = config_of(space=str(tmp_path / "space.yaml")).space
    assert space.lora_ranks() == (2, 4)


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ({}, "demo"),
        ({"model": "Qwen/Qwen3-0.6B", "data": "a/train.jsonl"}, "Qwen3-0.6B-train"),
        ({"model": "org/m", "data": ("a/train.jsonl", "b.csv")}, "m-train-b"),
        ({"model": "m o", "data": "grüße.jsonl"}, "m-o-gr-e"),
        ({"model": "/", "data": "/"}, "study"),
        ({"model": "m" * 80, "data": "d.json"}, "m" * 56),
    ],
)
def test_a_study_without_a_name_is_called_after_model_and_data(flags, name):
    assert study_name(make_request(None, flags)) == name


def test_batch_sizes_that_the_data_is_too_small_for_leave_the_space():
    config = config_of()
    facts = FakeWorker(plan=FakePlan(train_examples=300, validation_examples=60)).prepare(config.objective)
    largest = max(facts.budget.batch_sizes)
    assert largest < 32
    fitted = fit_to_budget(config, facts)
    assert max(fitted.space.batch_sizes()) == largest
    assert fitted.first == (config.space.without_batch_sizes_above(largest).closest(config.first[0]),)
    with pytest.raises(SpaceError, match=f"batch_size 32 does not fit the data; at most {largest} does"):
        fit_to_budget(config_of(enqueue=("{batch_size: 32}",)), facts)


def test_a_space_that_the_data_is_large_enough_for_stays():
    config = config_of()
    assert fit_to_budget(config, FakeWorker().prepare(config.objective)) is config
