"""What is handed over is what was measured: a stranger to the search gets the stored loss out of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.numpy
import yaml
from loratune.demo import data_path, model_path
from loratune.storage.store import Store
from loratune.study.records import TrialRecord

LOSS_BY_PEFT = """
import json, sys
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
from loratune.objectives.data.dataset import load_data
from loratune.objectives.training.model import load_tokenizer
from loratune.storage.store import Store

with Store.open("tune.db", mode="read") as store:
    study = store.study("done")
objective, facts = study.config.objective, study.facts
data = load_data(objective.data, load_tokenizer(objective.model), cache_dir=None)
if sys.argv[2:] == ["merged"]:
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1]).eval()
else:
    model = AutoModelForCausalLM.from_pretrained(objective.model.name_or_path, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, sys.argv[1]).eval()
loss, count = 0.0, 0
with torch.no_grad():
    for index in range(facts.budget.final_eval_examples):
        tokens, target = data.validation.example(index)
        tokens = torch.tensor(tokens.astype("int64"))
        target = torch.tensor(target[1:].copy())
        logits = model(input_ids=tokens[None]).logits[0, :-1][target]
        loss += torch.nn.functional.cross_entropy(logits.double(), tokens[1:][target], reduction="sum").item()
        count += int(target.sum())
print(json.dumps([loss / count, count]))
"""


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished study, for a test that changes it."""
    folder = tmp_path / "study"
    shutil.copytree(finished, folder)
    return folder


def complete_trials(folder: Path) -> list[TrialRecord]:
    """Return the complete trials, best first."""
    with Store.open(str(folder / "tune.db"), mode="read") as store:
        found = [trial for trial in store.trials(store.study("done").id) if trial.value is not None]
    return sorted(found, key=lambda trial: trial.value)


def loss_by_peft(adapter: Path, cwd: Path, *how: str) -> float:
    """Return the loss on the final evaluation's examples, one by one, in a process that knows no pack."""
    done = subprocess.run(
        [sys.executable, "-c", LOSS_BY_PEFT, str(adapter), *how],
        cwd=cwd,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loss, count = json.loads(done.stdout)
    assert count > 16
    return float(loss)


def test_an_exported_adapter_has_the_stored_loss_in_peft(tune, finished, tmp_path):
    best = complete_trials(finished)[0]
    assert best.adapter is not None
    ended = tune("export", "--format=peft", "-o", str(tmp_path / "best"), cwd=finished)
    assert ended.code == 0, ended.err
    assert "wrote" in ended.err
    assert "training it again" not in ended.err
    assert "Selected after 64 training examples" in ended.err
    assert loss_by_peft(tmp_path / "best", finished) == pytest.approx(best.value, rel=1e-4)


def run_card(folder: Path) -> None:
    """Run the lines of a folder's card that load it."""
    lines = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert lines is not None
    code = lines[1].replace("path/to/this/folder", str(folder))
    code += "ids = tokenizer('Hello', return_tensors='pt')\nprint(model(**ids).logits.shape)\n"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("torch.Size([1, ")


def test_a_merged_model_has_the_stored_loss_by_itself(tune, finished, tmp_path):
    best = complete_trials(finished)[0]
    ended = tune("export", "--format=merged", "-o", str(tmp_path / "model"), cwd=finished)
    assert ended.code == 0, ended.err
    assert "%|" not in ended.err
    assert loss_by_peft(tmp_path / "model", finished, "merged") == pytest.approx(best.value, rel=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    modes = {path.stat().st_mode for path in (tmp_path / "model").iterdir()}
    assert len(modes) == 1
    again = tune("export", "--format=merged", "-o", str(tmp_path / "model"), cwd=finished)
    assert again.code == 0, again.err
    assert "replaced" in again.err


@pytest.mark.parametrize("kind", ["peft", "merged"])
def test_the_card_says_what_it_is_and_its_lines_run(tune, finished, tmp_path, kind):
    best = complete_trials(finished)[0]
    assert tune("export", f"--format={kind}", "-o", str(tmp_path / "out"), cwd=finished).code == 0
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    with Store.open(str(finished / "tune.db"), mode="read") as store:
        facts = store.study("done").facts
    assert f"`{facts.data.fingerprint}`" in card
    assert f"| this one | {best.value:.4f} |" in card
    assert re.search(rf"\| the base model \| {facts.base_loss:.4f} \| \d\.\d{{4}} ", card)
    assert f"| learning_rate | {best.params.learning_rate:.3g}" in card
    assert "chosen as the best of 6 trials" in card
    run_card(tmp_path / "out")


def test_a_folder_with_other_things_is_refused_before_anything_is_trained_or_folded(tune, study, tmp_path):
    for path in (study / "tune-artifacts" / "1" / "adapters").iterdir():
        path.unlink()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("words")
    for kind in ("peft", "merged"):
        ended = tune("export", f"--format={kind}", "-o", str(tmp_path / "thesis"), cwd=study)
        assert ended.code == 1
        assert "is not empty and holds no" in ended.complaint


def test_a_trial_without_its_adapter_is_trained_again_to_the_same_numbers(tune, study, tmp_path):
    best = complete_trials(study)[0]
    words = ("export", "--format=peft", f"--trial={best.number}", "-o")
    assert tune(*words, str(tmp_path / "kept"), cwd=study).code == 0
    with sqlite3.connect(study / "tune.db") as database:
        database.execute("UPDATE tune_trials SET adapter = NULL, seal = NULL")
    database.close()
    for file in (study / "tune-artifacts" / "1").rglob("*.safetensors"):
        file.unlink()
    before = {path for path in study.rglob("*") if "logs" not in path.parts and "cache" not in path.parts}

    ended = tune(*words, str(tmp_path / "again"), cwd=study)
    assert ended.code == 0, ended.err
    assert f"the adapter of trial {best.number} was not kept; training it again" in ended.err
    kept, again = (
        safetensors.numpy.load_file(tmp_path / name / "adapter_model.safetensors")
        for name in ("kept", "again")
    )
    assert kept.keys() == again.keys()
    assert {name: tensor.tobytes() for name, tensor in kept.items()} == {
        name: tensor.tobytes() for name, tensor in again.items()
    }
    after = {path for path in study.rglob("*") if "logs" not in path.parts and "cache" not in path.parts}
    assert after == before


@pytest.mark.parametrize("fault", ["missing", "one bit", "fifty weights", "a weight that is no number"])
def test_a_kept_adapter_that_is_missing_or_damaged_is_trained_again(tune, study, tmp_path, fault):
    best = complete_trials(study)[0]
    words = ("export", "--format=peft", f"--trial={best.number}", "-o")
    assert tune(*words, str(tmp_path / "kept"), cwd=study).code == 0
    adapter = study / "tune-artifacts" / "1" / best.adapter
    content = bytearray(adapter.read_bytes())
    if fault == "missing":
        adapter.unlink()
    elif fault == "one bit":
        content[len(content) // 2] ^= 1
        adapter.write_bytes(content)
    elif fault == "fifty weights":
        content[-200:] = b"\x7e" * 200  # 8e37, each of them a number
        adapter.write_bytes(content)
    else:
        # As an older loratune kept it, without a digest.
        tensors = safetensors.numpy.load_file(adapter)
        min(tensors.items())[1].flat[0] = float("nan")
        safetensors.numpy.save_file(tensors, adapter, metadata={"format": "loratune-1"})
    ended = tune(*words, str(tmp_path / "again"), cwd=study)
    assert ended.code == 0, ended.err
    why = "is missing" if fault == "missing" else "cannot be used"
    assert f"the adapter of trial {best.number} {why}" in ended.err
    assert "training it again" in ended.err
    kept, again = (
        safetensors.numpy.load_file(tmp_path / name / "adapter_model.safetensors")
        for name in ("kept", "again")
    )
    assert {name: tensor.tobytes() for name, tensor in kept.items()} == {
        name: tensor.tobytes() for name, tensor in again.items()
    }
    assert f"it is kept again as {best.adapter}" in ended.err
    once_more = tune(*words, str(tmp_path / "once-more"), cwd=study)
    assert once_more.code == 0
    assert "again" not in once_more.err.replace(str(tmp_path), "")


def test_one_changed_weight_of_the_base_model_is_refused_by_resume_and_export(tune, small, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(model_path(), model)
    made = tune("search", f"--model={model}", f"--data={data_path()}", "--trials=2", *small)
    assert made.code == 0, made.err
    weights = safetensors.numpy.load_file(model / "model.safetensors")
    name = min(weights)
    weights[name] = weights[name].copy()
    weights[name].flat[0] += 0.05
    safetensors.numpy.save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    for words in (("resume", "--trials=3"), ("export", "--format=peft", "-o", str(tmp_path / "out"))):
        ended = tune(*words)
        assert ended.code == 1
        line = next(line for line in ended.err.splitlines() if line.startswith("tune: "))
        assert f"{model}: model.safetensors is not the file that the study was made with" in line
    assert not (tmp_path / "out").exists()


def test_a_stopped_trial_has_an_adapter_after_being_trained_again_as_far_as_it_was(tune, finished, tmp_path):
    with Store.open(str(finished / "tune.db"), mode="read") as store:
        trials = store.trials(store.study("done").id)
    pruned = next(trial for trial in trials if trial.state == "pruned")
    ended = tune(
        "export", "--format=peft", f"--trial={pruned.number}", "-o", str(tmp_path / "x"), cwd=finished
    )
    assert ended.code == 0, ended.err
    assert "training it again, as far as it was" in ended.err
    assert (tmp_path / "x" / "adapter_config.json").exists()


def test_a_folder_with_other_things_is_not_written_into(refused, finished, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    ended = refused("export", "--format=peft", "-o", str(tmp_path / "mine"), cwd=finished)
    assert ended.code == 1
    assert "--force" in ended.complaint
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_yaml_goes_to_the_terminal_and_says_how_the_config_was_selected(tune, finished):
    ended = tune("export", cwd=finished)
    assert ended.code == 0, ended.err
    values = yaml.safe_load(ended.out)
    best = complete_trials(finished)[0]
    assert values["hyperparameters"]["learning_rate"] == best.params.learning_rate
    assert values["trial"] == best.number
    assert values["eval_loss"] == best.value
    assert "# Selected after 64 training examples" in ended.out
    assert ended.err == ""


def test_json_holds_the_parameters_of_the_trial_asked_for(tune, finished):
    last = complete_trials(finished)[-1]
    values = tune("export", "--format=json", f"--trial={last.number}", cwd=finished).json
    text = json.dumps(values)
    for value in (last.params.learning_rate, last.params.lora_rank, last.params.batch_size):
        assert json.dumps(value) in text


def test_the_file_for_llamafactory_loads_and_names_its_data(tune, finished, tmp_path):
    ended = tune("export", "--format=llamafactory", "-o", str(tmp_path / "train.yaml"), cwd=finished)
    assert ended.code == 0, ended.err
    values = yaml.safe_load((tmp_path / "train.yaml").read_text(encoding="utf-8"))
    best = complete_trials(finished)[0].params
    assert values["stage"] == "sft"
    assert values["finetuning_type"] == "lora"
    assert values["learning_rate"] == best.learning_rate
    assert values["lora_rank"] == best.lora_rank
    assert values["lora_alpha"] == pytest.approx(best.lora_alpha, abs=0.5)
    steps = values["per_device_train_batch_size"] * values["gradient_accumulation_steps"]
    assert steps == best.batch_size
    entry = json.loads((tmp_path / "dataset_info.json").read_text(encoding="utf-8"))
    assert values["dataset"] in entry
    assert (tmp_path / entry[values["dataset"]]["file_name"]).exists()


@pytest.mark.parametrize("kind", ["peft", "llamafactory"])
def test_a_format_of_files_asks_where_to(refused, finished, kind):
    ended = refused("export", f"--format={kind}", cwd=finished)
    assert ended.code == 2
    assert "-o" in ended.complaint


ASKED_AND_STOPPED = """
import json, sys
import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from loratune.demo import data_path
from loratune.objectives.data.chat_template import ChatTemplate
from loratune.objectives.data.encode import encode
from loratune.objectives.data.formats import parse_record
from loratune.objectives.data.templates import BuiltInTemplate

folder, base, name = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
stops = GenerationConfig.from_pretrained(folder)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder).eval()
theirs = AutoTokenizer.from_pretrained(base)
template = ChatTemplate(theirs) if name == "auto" else BuiltInTemplate(name, theirs)
same = ended = 0
records = [json.loads(line) for line in open(data_path(), encoding="utf-8")][:8]
for record in records:
    conversation = parse_record(record, "alpaca")
    ((ids, target),) = encode([template.render(conversation)], theirs)
    messages = [{"role": turn.role, "content": turn.content} for turn in conversation.turns[:-1]]
    prompt = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=False
    )
    same += prompt == ids[: int(np.flatnonzero(target)[0])].tolist()
    written = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        generation_config=stops,
        do_sample=False,
        max_new_tokens=80,
    )[0, len(prompt) :].tolist()
    ended += written[-1] == int(ids[target][-1]) and len(written) < 80
print(json.dumps([len(records), same, ended, stops.eos_token_id]))
"""


@pytest.mark.parametrize("template", ["auto", "alpaca"])
def test_an_exported_folder_asks_as_training_did_and_stops_where_it_ended(tune, tmp_path, template):
    trained = tune(
        "search",
        "--trials=1",
        "--workers=1",
        "--slots=1",
        f"--template={template}",
        "--eval-examples=64",
        "--examples=1536",
    )
    assert trained.code == 0, trained.err
    assert "an answer ends with <|end|> in training, where the model stops by itself" in " ".join(
        trained.err.split()
    )
    ended = tune("export", "--format=peft", "-o", "best")
    assert ended.code == 0, ended.err
    done = subprocess.run(
        [sys.executable, "-c", ASKED_AND_STOPPED, "best", str(model_path()), template],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    records, same, stopped, eos = json.loads(done.stdout)
    assert same == records
    assert stopped == records
    assert eos == 2
