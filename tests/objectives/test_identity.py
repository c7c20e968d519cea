"""A model is known by the bytes of its files, and read once."""

import json
import os
import shutil

import numpy as np
import pytest
from loratune.demo import model_path
from loratune.objectives import identity
from loratune.objectives.identity import digests, files, find_folder
from safetensors.numpy import load_file, save_file


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(model_path(), folder)
    return folder


def change_a_weight(file):
    weights = load_file(file)
    name = min(weights)
    changed = weights[name].copy()
    changed.flat[0] += np.asarray(0.05, changed.dtype)
    weights[name] = changed
    save_file(weights, file, metadata={"format": "pt"})


@pytest.mark.parametrize("cached", [True, False])
def test_one_changed_weight_is_found_and_its_file_named(model, tmp_path, cached):
    cache = tmp_path / "cache" if cached else None
    before = digests(model, cache)
    assert digests(model, cache) == before
    change_a_weight(model / "model.safetensors")
    after = digests(model, cache)
    assert {name for name in before if before[name] != after[name]} == {"model.safetensors"}


def test_configuration_and_tokenizer_are_part_of_it(model):
    before = digests(model)
    assert {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"} <= before.keys()
    for name in ("config.json", "tokenizer.json"):
        (model / name).write_text((model / name).read_text() + " ")
        assert digests(model)[name] != before[name]
    (model / "chat_template.jinja").write_text("{{ messages }}")
    assert "chat_template.jinja" in digests(model)
    (model / "notes.txt").write_text("nobody reads this")
    assert "notes.txt" not in digests(model)


def test_every_shard_that_the_index_names_is_part_of_it(model):
    weights = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    names = sorted(weights)
    shards = {"a-1.safetensors": names[::2], "a-2.safetensors": names[1::2]}
    for shard, kept in shards.items():
        save_file({name: weights[name] for name in kept}, model / shard, metadata={"format": "pt"})
    where = {name: shard for shard, kept in shards.items() for name in kept}
    (model / identity.WEIGHTS_INDEX).write_text(json.dumps({"weight_map": where}))
    save_file({"x": np.ones(1)}, model / "other.safetensors")
    assert {file.name for file in files(model)} >= {*shards, identity.WEIGHTS_INDEX}
    assert "other.safetensors" not in {file.name for file in files(model)}
    before = digests(model)
    change_a_weight(model / "a-2.safetensors")
    assert digests(model)["a-2.safetensors"] != before["a-2.safetensors"]


def test_an_index_leads_to_no_file_outside_of_the_model(model, tmp_path):
    elsewhere = tmp_path / "elsewhere.safetensors"
    elsewhere.write_bytes(b"not the model's")
    (model / "model.safetensors").unlink()
    (model / identity.WEIGHTS_INDEX).write_text(json.dumps({"weight_map": {"a": str(elsewhere)}}))
    assert "config.json" in digests(model)
    assert elsewhere not in files(model)


def test_a_model_is_read_once(model, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    found = digests(model, cache)

    def read(*_):
        raise AssertionError("read again")

    with monkeypatch.context() as patch:
        patch.setattr(identity.hashlib, "file_digest", read)
        assert digests(model, cache) == found
        # The size is the same and so is the name: what tells is the time.
        os.utime(model / "config.json", ns=(1, 1))
        with pytest.raises(AssertionError, match="read again"):
            digests(model, cache)
    for content in ("", "{", "[]", json.dumps({str(model / "config.json"): 3})):
        (cache / identity.CACHE).write_text(content)
        assert digests(model, cache) == found


def test_a_snapshot_in_the_local_cache_is_found_by_its_commit(model, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    snapshot = tmp_path / "hub" / "models--org--name" / "snapshots" / "abc"
    shutil.copytree(model, snapshot)
    assert find_folder("org/name", "abc") == snapshot
    assert digests(snapshot) == digests(model)
    assert find_folder("org/name", "def") is None
    assert find_folder(str(model), None) == model
