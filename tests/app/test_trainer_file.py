"""A search that is given a file for LLaMA-Factory has that file's own run for its trial 0."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from loratune.app.first_trials import fit_to_budget
from loratune.app.request import choose_preset, make_config, make_request
from loratune.app.trainer_file import read_trainer_file
from loratune.demo import model_path
from loratune.errors import SpaceError, UsageError
from loratune.objectives.testing.fake import FakePlan, FakeWorker
from loratune.spaces.presets import preset

TRAIN = {
    "model_name_or_path": str(model_path()),
    "dataset": "mine",
    "dataset_dir": "absent",
    "template": "default",
    "learning_rate": 1e-5,
    "lora_rank": 64,
    "lora_target": "q_proj,v_proj",
    "lora_dropout": 0.05,
    "per_device_train_batch_size": 64,
    "lr_scheduler_type": "linear",
}


@pytest.fixture
def config(tmp_path):
    """Make a study of a file for LLaMA-Factory, with 110 records beside it."""
    record = json.dumps({"instruction": "a", "output": "b"})
    (tmp_path / "mine.jsonl").write_text(f"{record}\n" * 110)
    (tmp_path / "dataset_info.json").write_text('{"mine": {"file_name": "mine.jsonl"}}')

    def made(flags=None, **changes):
        file = tmp_path / "train.yaml"
        file.write_text(yaml.safe_dump({**TRAIN, **changes}))
        request = make_request(file, flags or {})
        return make_config(request, choose_preset(request) or preset("default"))

    return made


def test_its_run_is_trial_0_and_the_known_good_configuration_trial_1(config):
    found = config()
    own, known = found.first
    assert (own.learning_rate, own.lora_rank, own.lora_alpha, own.batch_size) == (1e-5, 64, 128, 64)
    assert (own.lora_target, own.lora_dropout, own.lr_scheduler_type) == ("q_proj,v_proj", 0.05, "linear")
    assert known == preset("tiny").default
    assert found.default_name == "train.yaml"
    assert found.default_source == "train.yaml, a file for LLaMA-Factory"


def test_the_space_is_widened_to_hold_it_and_keeps_all_that_it_had(config):
    space = config().space
    assert space["learning_rate"].bounds == (1e-5, 0.1)
    assert space.batch_sizes() == (4, 8, 16, 32, 64)
    assert space.lora_ranks() == (2, 4, 8, 16, 64)
    assert space.lora_targets() == ("all", "q_proj,v_proj")
    assert space["lora_dropout"].values == (0.0, 0.05)
    assert space["lr_scheduler_type"].values == ("cosine", "linear")
    assert space["warmup_ratio"] == preset("tiny").space["warmup_ratio"]


def test_what_the_user_says_of_the_space_is_not_widened(config):
    assert config({"set": ("lora_rank=64",)}).space.lora_ranks() == (64,)
    with pytest.raises(SpaceError, match=r"1e-05 lies outside 0\.001 to 0\.01; train\.yaml trains with it"):
        config({"set": ("learning_rate=1e-3..1e-2",)})


def test_a_flag_goes_over_the_file(config, tmp_path):
    other = tmp_path / "other.jsonl"
    other.write_text((tmp_path / "mine.jsonl").read_text())
    found = config({"data": str(other), "cutoff_len": 99, "trials": 7}, dataset="unknown")
    assert found.objective.data.train == str(other)
    assert found.objective.data.cutoff_len == 99


@pytest.mark.parametrize(
    ("said", "ratio"),
    [
        ({"warmup_steps": 3, "max_steps": 30}, 0.1),
        # 110 records less 11 in batches of 64, three times.
        ({"warmup_steps": 3, "val_size": 0.1}, 3 / 6),
        ({"warmup_steps": 3, "val_size": 46, "num_train_epochs": 5}, 3 / 5),
        ({"warmup_steps": 1, "max_samples": 64}, 1 / 3),
        ({"warmup_ratio": 0.25}, 0.25),
    ],
)
def test_a_warm_up_in_steps_is_the_share_of_its_run(config, said, ratio):
    assert config(**said).first[0].warmup_ratio == ratio


def test_a_warm_up_is_counted_in_the_steps_of_all_data_sets(config, tmp_path):
    (tmp_path / "second.jsonl").write_text((tmp_path / "mine.jsonl").read_text() * 2)
    registry = {name: {"file_name": f"{name}.jsonl"} for name in ("mine", "second")}
    (tmp_path / "dataset_info.json").write_text(json.dumps(registry))
    # 100 of each, less 20, in batches of 64, three times.
    found = config(dataset="mine,second", max_samples=100, val_size=0.1, warmup_steps=3)
    assert found.first[0].warmup_ratio == 3 / 9
    assert [Path(one.path).name for one in found.objective.data.train_files] == ["mine.jsonl", "second.jsonl"]
    of_flag = config({"format": "text"}, dataset="mine,second")
    assert {one.format for one in of_flag.objective.data.train_files} == {"text"}


def test_a_warm_up_in_steps_is_asked_for_as_a_share_where_data_sets_are_mixed(config, tmp_path):
    (tmp_path / "second.jsonl").write_text((tmp_path / "mine.jsonl").read_text())
    registry = {name: {"file_name": f"{name}.jsonl"} for name in ("mine", "second")}
    (tmp_path / "dataset_info.json").write_text(json.dumps(registry))
    mixed = {"dataset": "mine,second", "mix_strategy": "interleave_under"}
    with pytest.raises(UsageError, match="not known where data sets are mixed; give warmup_ratio"):
        config(**mixed, warmup_steps=3)
    assert config(**mixed, warmup_ratio=0.25).first[0].warmup_ratio == 0.25


def test_a_warm_up_longer_than_the_run_is_refused(config):
    with pytest.raises(UsageError, match=r"train\.yaml: warmup_steps: 30 are not fewer than the 6 steps"):
        config(warmup_steps=30)


@pytest.mark.parametrize("said", [{"lora_rank": 2.5}, {"quantization_bit": 3}, {"learning_rate": -1.0}])
def test_a_value_that_cannot_be_is_told_with_file_and_key(config, said):
    (key,) = said
    with pytest.raises(UsageError, match=rf"train\.yaml: {key}"):
        config(**said)


def test_in_a_search_that_climbs_it_has_the_schedule_that_can_go_on_and_says_so(config, tmp_path):
    found = config({"examples_in_all": 50_000})
    own, known, half = found.first
    assert {one.lr_scheduler_type for one in found.first} == {"warmup_stable_decay"}
    assert (own.learning_rate, half.learning_rate) == (1e-5, known.learning_rate / 2)
    request = make_request(tmp_path / "train.yaml", {"examples_in_all": 50_000})
    assert "trial 0 has the schedule warmup_stable_decay instead of linear" in request.own_run.notes[-1]


def test_a_batch_that_the_data_is_too_small_for_is_refused_and_the_known_good_one_moved(config):
    found = config()
    facts = FakeWorker(plan=FakePlan(train_examples=300, validation_examples=60)).prepare(found.objective)
    with pytest.raises(SpaceError, match=r"train\.yaml: batch_size 64 does not fit the data; at most "):
        fit_to_budget(found, facts)
    small = config(per_device_train_batch_size=4)
    facts = FakeWorker(plan=FakePlan(train_examples=70, validation_examples=60)).prepare(small.objective)
    largest = max(facts.budget.batch_sizes)
    assert largest == 4
    assert [one.batch_size for one in fit_to_budget(small, facts).first] == [4, 4]
    # The same as the known-good one, it is still the user's own, which nothing may change.
    same = preset("tiny").default
    like = config(
        learning_rate=same.learning_rate,
        lora_rank=same.lora_rank,
        lora_target="all",
        lora_dropout=0.0,
        per_device_train_batch_size=same.batch_size,
        lr_scheduler_type=same.lr_scheduler_type,
        warmup_ratio=same.warmup_ratio,
    )
    assert like.first == (same,)
    with pytest.raises(SpaceError, match=r"train\.yaml: batch_size 8 does not fit the data"):
        fit_to_budget(like, facts)


def test_a_warm_up_of_packed_records_is_refused(config):
    with pytest.raises(UsageError, match="of how many steps 3 are is not known where records are packed"):
        config(warmup_steps=3, packing=True)


def test_a_file_that_is_called_default_is_told_apart_from_the_known_good_configuration(config, tmp_path):
    config()
    (tmp_path / "train.yaml").rename(tmp_path / "default")
    made = make_config(make_request(tmp_path / "default", {}), preset("tiny"))
    assert made.default_name == "the file default"


def test_what_is_otherwise_stays_with_the_study(config):
    assert config(packing=True).default_source == (
        "train.yaml, a file for LLaMA-Factory; not taken over: packing True"
    )


def test_a_study_of_it_says_so_when_it_is_read_again_and_another_name_makes_no_other_study(config):
    found = config()
    again = type(found).from_json(json.loads(json.dumps(found.to_json())))
    assert again == found
    assert "default_name" not in make_config(make_request(None, {}), preset("tiny")).to_json()
    assert not found.differences(type(found).from_json({**found.to_json(), "default_name": "b.yaml"}))


def test_a_file_of_our_own_is_none_of_a_trainer(tmp_path):
    (tmp_path / "search.yaml").write_text("trials: 3\n")
    assert read_trainer_file(tmp_path / "search.yaml") is None
