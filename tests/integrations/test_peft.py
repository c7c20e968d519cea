"""Adapters handed over are loaded by PEFT itself, and must compute B·A times alpha over r."""

import dataclasses
import json
import math
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.numpy
import yaml
from loratune.app.exporting import handover
from loratune.errors import ReportError
from loratune.integrations.peft import export
from loratune.spaces.dimensions import listed
from loratune.spaces.params import FIELDS, LoraParams
from loratune.spaces.presets import preset
from made_up_studies import with_facts

RANK = 4


def export_peft(view, number, adapter, folder, force=False):
    handed = dataclasses.replace(handover(view, number), adapter=adapter)
    return export(handed, folder, force).written[0]


def base_model(kind):
    import torch
    from transformers import AutoModelForCausalLM, Gemma3Config, GPT2Config, LlamaConfig

    torch.manual_seed(0)
    if kind == "llama":
        config = LlamaConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=12,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=64,
        )
    elif kind == "gemma3":
        text = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 64}
        text |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "initializer_range": 0.2}
        vision = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
        vision |= {"num_attention_heads": 2, "image_size": 28, "patch_size": 14}
        config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    else:
        config = GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=64, n_positions=32)
    return AutoModelForCausalLM.from_config(config).eval()


def layers_of(model, suffixes):
    import torch
    from transformers.pytorch_utils import Conv1D

    inside = set(model.get_decoder().modules())
    for name, module in model.named_modules():
        if module not in inside:
            continue
        if isinstance(module, torch.nn.Linear) and name.endswith(suffixes):
            yield name, module.in_features, module.out_features
        if isinstance(module, Conv1D) and name.endswith(suffixes):
            yield name, module.nx, module.nf


@pytest.fixture
def adapter(tmp_path):
    """A kept adapter file as a worker leaves it, and its tensors."""

    def make(layers, *, trial=0, rank=RANK, **metadata):
        rng = np.random.default_rng(0)
        tensors = {}
        for name, width, height in layers:
            tensors[f"params/{name}.lora_A"] = rng.normal(0, 0.2, (rank, width)).astype(np.float32)
            tensors[f"params/{name}.lora_B"] = rng.normal(0, 0.2, (height, rank)).astype(np.float32)
        path = tmp_path / "trial-00000.safetensors"
        safetensors.numpy.save_file(
            tensors, path, metadata={"format": "loratune-1", "trial": str(trial), **metadata}
        )
        return path, tensors

    return make


@pytest.fixture
def study(make_view):
    def make(architecture="LlamaForCausalLM", alpha=10.0, use_rslora=False, **more):
        params = LoraParams(
            learning_rate=0.002, batch_size=8, lora_rank=RANK, lora_alpha=alpha, use_rslora=use_rslora
        )
        space = preset("tiny").space.replace(listed("use_rslora", (False, True)))
        view = make_view(1, params={0: params}, space=space, **more)
        return with_facts(view, "model", architecture=architecture)

    return make


@pytest.mark.parametrize(
    ("kind", "architecture", "suffixes"),
    [
        ("llama", "LlamaForCausalLM", ("q_proj", "v_proj", "down_proj")),
        ("llama", "LlamaForCausalLM", ("layers.1.self_attn.q_proj", "layers.10.mlp.up_proj")),
        ("gpt2", "GPT2LMHeadModel", ("c_attn", "c_fc")),
        # Its vision tower has layers of the same last names, which must stay as they are.
        ("gemma3", "Gemma3ForConditionalGeneration", ("q_proj", "k_proj", "down_proj")),
        ("gemma3", "Gemma3ForConditionalGeneration", ("_proj",)),
    ],
)
@pytest.mark.parametrize(
    ("alpha", "use_rslora", "scale"),
    [(10.0, False, 10.0 / RANK), (7.3, False, 7.3 / RANK), (10.0, True, 10.0 / math.sqrt(RANK))],
)
def test_peft_loads_it_without_a_warning_and_computes_the_same(
    study, adapter, tmp_path, kind, architecture, suffixes, alpha, use_rslora, scale
):
    import torch
    from peft import PeftModel

    plain, wrapped = base_model(kind), base_model(kind)
    path, tensors = adapter(list(layers_of(plain, suffixes)))
    folder = export_peft(study(architecture, alpha, use_rslora), None, path, tmp_path / "best")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # PEFT reads a property of the base model that Transformers renamed; nothing of ours.
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*", FutureWarning)
        loaded = PeftModel.from_pretrained(wrapped, folder)
    live = [name for name, _ in loaded.named_parameters() if ".lora_A." in name]
    assert len(live) == len(tensors) // 2
    wrapped_layers = {f"params/{name.split('.', 2)[2].removesuffix('.default.weight')}" for name in live}
    assert wrapped_layers == {name for name in tensors if name.endswith(".lora_A")}
    with torch.no_grad():
        for name, module in plain.named_modules():
            if f"params/{name}.lora_A" in tensors:
                update = tensors[f"params/{name}.lora_B"] @ tensors[f"params/{name}.lora_A"] * scale
                module.weight += torch.from_numpy(update.T if kind == "gpt2" else update)
        tokens = torch.arange(12).reshape(2, 6)
        expected, found = plain(tokens).logits, loaded(tokens).logits
    assert not torch.allclose(base_model(kind)(tokens).logits, expected, atol=1e-2)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


def test_the_config_says_what_peft_and_the_hub_need(study, adapter, tmp_path):
    path, _ = adapter([("model.layers.0.q_proj", 8, 8)])
    view = study(model={"name_or_path": "org/model", "revision": "main"})
    view = with_facts(view, "model", revision="abc123")
    folder = export_peft(view, 0, path, tmp_path / "best")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "org/model"
    assert config["revision"] == "abc123"
    assert (config["r"], config["lora_alpha"]) == (4, 10)
    assert config["target_modules"] == ["model.layers.0.q_proj"]
    assert config["fan_in_fan_out"] is False
    assert sorted(file.name for file in folder.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    front = (folder / "README.md").read_text(encoding="utf-8").split("---")[1]
    assert yaml.safe_load(front)["base_model"] == "org/model"


def test_its_card_says_at_what_share_of_a_full_run_it_was_selected(study, adapter, tmp_path):
    path, _ = adapter([("q_proj", 8, 8)])
    card = (export_peft(study(), 0, path, tmp_path / "best") / "README.md").read_text(encoding="utf-8")
    assert "18\u00a0% of a run of 3 epochs of 2,800 examples." in card
    assert "below" not in card
    assert "test set was not looked at" in card


@pytest.mark.parametrize("bits", [None, 4, 8])
def test_its_card_loads_the_base_as_it_was_trained_on(study, adapter, tmp_path, bits):
    path, _ = adapter([("q_proj", 8, 8)])
    folder = export_peft(study(model={"quantization_bit": bits}), 0, path, tmp_path / "best")
    card = (folder / "README.md").read_text(encoding="utf-8")
    code = card.split("```python\n")[1].split("```")[0]
    names: dict[str, object] = {}
    calls = []
    stand_in = SimpleNamespace(from_pretrained=lambda *_, **given: calls.append(given))
    modules = {
        "peft": SimpleNamespace(AutoPeftModelForCausalLM=stand_in),
        "transformers": SimpleNamespace(
            AutoTokenizer=stand_in, GenerationConfig=stand_in, BitsAndBytesConfig=dict
        ),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, module in modules.items():
            patch.setitem(sys.modules, name, module)
        exec(code, names)
    wanted = {
        None: {},
        4: {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
        8: {"load_in_8bit": True, "llm_int8_threshold": 0.0},
    }
    assert calls[0].get("quantization_config", {}) == wanted[bits]


def test_every_field_of_the_config_is_one_that_peft_has(study, adapter, tmp_path):
    from peft import LoraConfig

    path, _ = adapter([("model.layers.0.q_proj", 8, 8)])
    config = json.loads((export_peft(study(), 0, path, tmp_path / "a") / "adapter_config.json").read_text())
    assert set(config) <= {field.name for field in dataclasses.fields(LoraConfig)}


def test_a_folder_with_other_things_is_not_written_into(study, adapter, tmp_path):
    path, _ = adapter([("q_proj", 8, 8)])
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.txt").write_text("words")
    with pytest.raises(ReportError, match="is not empty and holds no adapter"):
        export_peft(study(), 0, path, folder)
    assert [file.name for file in folder.iterdir()] == ["chapter.txt"]
    export_peft(study(), 0, path, folder, force=True)
    assert (folder / "chapter.txt").read_text() == "words"
    assert (folder / "adapter_config.json").exists()


def test_an_earlier_adapter_is_replaced(study, adapter, tmp_path):
    path, _ = adapter([("q_proj", 8, 8)])
    folder = export_peft(study(), 0, path, tmp_path / "best")
    path, tensors = adapter([("k_proj", 8, 8)])
    export_peft(study(), 0, path, folder)
    stored = safetensors.numpy.load_file(folder / "adapter_model.safetensors")
    assert set(stored) == {"base_model.model.k_proj.lora_A.weight", "base_model.model.k_proj.lora_B.weight"}
    assert np.array_equal(stored["base_model.model.k_proj.lora_B.weight"], tensors["params/k_proj.lora_B"])


def test_an_adapter_of_another_study_is_replaced_by_force_alone(study, adapter, tmp_path):
    path, _ = adapter([("q_proj", 8, 8)])
    folder = export_peft(study(), 0, path, tmp_path / "best")
    view = study()
    other = dataclasses.replace(view, study=dataclasses.replace(view.study, name="other"))
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(ReportError, match="not of study other; name another folder, or --force"):
        export_peft(other, 0, path, folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    export_peft(other, 0, path, folder, force=True)
    export_peft(other, 0, path, folder)


def test_an_adapter_that_was_trained_elsewhere_is_not_replaced(study, adapter, tmp_path):
    path, _ = adapter([("q_proj", 8, 8)])
    folder = tmp_path / "best"
    folder.mkdir()
    for content in (
        safetensors.numpy.save({"x": np.zeros(1, np.float32)}, metadata={"format": "pt"}),
        b"torn",
    ):
        (folder / "adapter_model.safetensors").write_bytes(content)
        with pytest.raises(ReportError, match="not of study"):
            export_peft(study(), 0, path, folder)
        assert (folder / "adapter_model.safetensors").read_bytes() == content


def test_moments_of_a_checkpoint_are_left_behind(study, adapter, tmp_path):
    path, tensors = adapter([("q_proj", 8, 8)])
    moments = {key.replace("params/", "exp_avg/"): value for key, value in tensors.items()}
    safetensors.numpy.save_file({**tensors, **moments}, path, metadata={"format": "loratune-1"})
    folder = export_peft(study(), 0, path, tmp_path / "best")
    assert len(safetensors.numpy.load_file(folder / "adapter_model.safetensors")) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"trial": 3}, "holds trial 3, not trial 0"),
        ({"format": "pt"}, "is not an adapter of loratune"),
        ({"rank": 2}, "does not hold matrices of rank 4"),
    ],
)
def test_another_trials_file_is_refused(study, adapter, tmp_path, change, words):
    path, _ = adapter([("q_proj", 8, 8)], **change)
    with pytest.raises(ReportError, match=words):
        export_peft(study(), 0, path, tmp_path / "best")
    assert not (tmp_path / "best").exists()


def test_a_torn_file_is_one_line(study, adapter, tmp_path):
    path, _ = adapter([("q_proj", 8, 8)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ReportError, match="cannot be read as an adapter"):
        export_peft(study(), 0, path, tmp_path / "best")
    with pytest.raises(ReportError, match="cannot be read as an adapter"):
        export_peft(study(), 0, tmp_path / "gone.safetensors", tmp_path / "best")


def test_a_file_in_the_place_of_the_folder_is_refused(study, adapter, tmp_path):
    path, _ = adapter([("q_proj", 8, 8)])
    (tmp_path / "best").write_text("x")
    with pytest.raises(ReportError, match="is a file; name a folder"):
        export_peft(study(), 0, path, tmp_path / "best")


def test_what_a_hyperparameter_is_to_others_is_an_argument_that_they_have():
    import peft
    import transformers

    for library, said in (
        (peft.LoraConfig, {one.peft for one in FIELDS.values()}),
        (transformers.TrainingArguments, {one.trainer for one in FIELDS.values()}),
    ):
        assert said - {None} <= {field.name for field in dataclasses.fields(library)}
