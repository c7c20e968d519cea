"""A model's size is read from the headers of its files, whatever they hold."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from loratune.demo import model_path
from loratune.objectives.size import count_parameters


def write(path, header, *, length=None):
    body = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(body) if length is None else length) + body)


def tensor(*shape):
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [0, 0]}


def test_the_demo_has_as_many_weights_as_its_own_library_counts():
    import safetensors.numpy

    tensors = safetensors.numpy.load_file(model_path() / "model.safetensors")
    assert count_parameters(str(model_path())) == sum(each.size for each in tensors.values())


def test_the_files_of_one_model_are_added_up(tmp_path):
    write(tmp_path / "model-00001.safetensors", {"a": tensor(3, 4), "__metadata__": {"format": "pt"}})
    write(tmp_path / "model-00002.safetensors", {"b": tensor(5), "c": tensor()})
    assert count_parameters(str(tmp_path)) == 12 + 5 + 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\x01\x02"),
        lambda path: write(path, b"{", length=1),
        lambda path: write(path, b"[]"),
        lambda path: write(path, b"\xff\xfe"),
        lambda path: write(path, {"a": {"dtype": "F32"}}),
        lambda path: write(path, {"a": "b"}),
        lambda path: write(path, {}, length=2**63),
    ],
    ids=["empty", "short", "cut", "list", "no text", "no shape", "no tensor", "too long"],
)
def test_a_file_without_a_readable_header_leaves_the_size_unknown(tmp_path, spoil):
    write(tmp_path / "a.safetensors", {"a": tensor(3)})
    spoil(tmp_path / "b.safetensors")
    assert count_parameters(str(tmp_path)) is None


def test_a_folder_without_weights_leaves_the_size_unknown(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"never opened")
    assert count_parameters(str(tmp_path)) is None
    assert count_parameters(str(tmp_path / "nowhere")) is None


@pytest.mark.parametrize(
    ("variable", "below"),
    [("HF_HOME", "hub"), ("HF_HUB_CACHE", ""), ("XDG_CACHE_HOME", "huggingface/hub")],
)
def test_the_cache_is_where_the_library_has_it(tmp_path, variable, below):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    kept.pop("XDG_CACHE_HOME", None)
    code = "from loratune.objectives.size import hub_folder; print(hub_folder('org/name'))"
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**kept, variable: str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert Path(told.strip()) == tmp_path / below / "models--org--name"


def test_a_model_of_the_hub_is_found_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    snapshots = tmp_path / "models--org--name" / "snapshots"
    write(snapshots / "old" / "model.safetensors", {"a": tensor(3)})
    write(snapshots / "new" / "model.safetensors", {"a": tensor(7)})
    os.utime(snapshots / "old", (1, 1))
    assert count_parameters("org/name") == 7
    assert count_parameters("org/other") is None
