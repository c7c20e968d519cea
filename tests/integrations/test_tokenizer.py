"""Beside an adapter lies what it is asked and stopped with, as training did and not as its base has it."""

import json

import pytest
from loratune.errors import ReportError
from loratune.integrations.tokenizer import beside_adapter, notes
from loratune.study.facts import Endings

TRAINED = Endings(
    tokens=("<|im_end|>",),
    ids=(7,),
    model_tokens=("</s>",),
    model_ids=(2,),
    tokenizer_token="</s>",
    tokenizer_class="PreTrainedTokenizerFast",
)


@pytest.fixture
def base(tmp_path):
    """The base model's folder, with tokenizer, template, generation config, and weights that stay there."""
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "LlamaTokenizer", "eos_token": "</s>"}'
    )
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "generation_config.json").write_text(
        '{"_from_model_config": true, "eos_token_id": [2, 1], "temperature": 0.6, "do_sample": true}'
    )
    (folder / "config.json").write_text('{"eos_token_id": 2, "bos_token_id": 1}')
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "tokenization_own.py").write_text("code")
    return folder


def test_the_tokenizer_comes_along_byte_for_byte(base):
    files = beside_adapter(TRAINED, base)
    assert set(files) == {
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "generation_config.json",
    }
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert files[name] == (base / name).read_bytes()


def test_generation_stops_where_training_did_and_where_the_base_model_does(base):
    config = json.loads(beside_adapter(TRAINED, base)["generation_config.json"])
    assert config == {"eos_token_id": [7, 2, 1], "temperature": 0.6, "do_sample": True}
    (base / "generation_config.json").unlink()
    config = json.loads(beside_adapter(TRAINED, base)["generation_config.json"])
    assert config == {"eos_token_id": [7, 2], "bos_token_id": 1}


@pytest.mark.parametrize(("own", "written"), [(7, 7), ([7], 7), (2, [7, 2]), (None, 7)])
def test_one_stop_is_a_number_and_several_are_a_list(base, own, written):
    (base / "generation_config.json").write_text(json.dumps({"eos_token_id": own, "max_length": 9}))
    config = json.loads(beside_adapter(TRAINED, base)["generation_config.json"])
    assert config["eos_token_id"] == written


def test_a_template_of_ours_takes_the_place_of_the_base_model_s(base):
    import dataclasses

    (base / "additional_chat_templates").mkdir()
    (base / "additional_chat_templates" / "rag.jinja").write_text("x")
    own = beside_adapter(TRAINED, base)
    assert own["additional_chat_templates/rag.jinja"] == b"x"
    files = beside_adapter(dataclasses.replace(TRAINED, chat_template="{{ 'é' }}"), base)
    assert "additional_chat_templates/rag.jinja" not in files
    assert files["chat_template.jinja"] == "{{ 'é' }}".encode()
    config = json.loads(files["tokenizer_config.json"])
    assert config == {"tokenizer_class": "LlamaTokenizer", "eos_token": "</s>", "chat_template": "{{ 'é' }}"}


def test_a_tokenizer_that_does_not_say_what_it_is_is_told_from_the_one_that_trained(base):
    (base / "tokenizer_config.json").unlink()
    config = json.loads(beside_adapter(TRAINED, base)["tokenizer_config.json"])
    assert config == {"tokenizer_class": "PreTrainedTokenizerFast"}


def test_code_comes_along_only_where_the_tokenizer_is_made_of_it(base):
    assert "tokenization_own.py" not in beside_adapter(TRAINED, base)
    config = {"auto_map": {"AutoTokenizer": ["tokenization_own.Own", None]}}
    (base / "tokenizer_config.json").write_text(json.dumps(config))
    assert beside_adapter(TRAINED, base)["tokenization_own.py"] == b"code"


def test_without_the_base_model_the_stops_are_written_all_the_same():
    files = beside_adapter(TRAINED, None)
    assert {name: json.loads(content) for name, content in files.items()} == {
        "generation_config.json": {"eos_token_id": [7, 2]}
    }
    assert beside_adapter(Endings(), None) == {}
    assert "holds no tokenizer" in notes(TRAINED, None)[-1]


def test_a_study_from_before_gives_the_base_model_s_files_as_they_are(base):
    config = json.loads(beside_adapter(Endings(), base)["generation_config.json"])
    assert config["eos_token_id"] == [2, 1]
    assert notes(Endings(), base) == ()


@pytest.mark.parametrize("name", ["tokenizer_config.json", "generation_config.json"])
@pytest.mark.parametrize("content", ["{", "[]", "\udcff"])
def test_a_torn_file_of_the_base_model_is_one_line(base, name, content):
    (base / name).write_text(content, errors="surrogateescape")
    with pytest.raises(ReportError, match=f"{name}: "):
        beside_adapter(TRAINED, base)
