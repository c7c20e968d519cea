"""A trial's configuration for LLaMA-Factory: a YAML for ``llamafactory-cli train``, and its data's entry.

LLaMA-Factory refuses keys that it does not know, so only keys of its own are written, in its own spelling;
it reads data only through an entry of ``dataset_info.json``, which is written beside.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from ..errors import ReportError
from ..spaces.arguments import lora_config
from ..spaces.params import FIELDS
from ..study.config import DataFile
from ..study.format import join
from ..study.full_run import FullRun
from ..study.handover import Handover, provenance
from ..study.records import TrialRecord
from ..whole_files import check_free, write_text
from .data_columns import columns_of, read_as
from .exporter import Export
from .llamafactory_data import REGISTRY
from .plain import comments, dump_yaml
from .trainer_keys import encoding_notes, notes, run_of_split, trainer_keys

TEMPLATES = {"default": "default", "alpaca": "alpaca", "chatml": "chatml", "plain": "empty"}
"""Our built-in templates → LLaMA-Factory's."""

COLUMNS = {
    "alpaca": {"prompt": "instruction", "query": "input", "response": "output", "history": "history"},
    "prompt_completion": {"prompt": "prompt", "response": "completion"},
    "messages": {"messages": "messages"},
    "sharegpt": {"messages": "conversations"},
    "text": {"prompt": "text"},
}
"""Our formats → LLaMA-Factory's names of columns → the data's; ``system`` and ``tools`` come on top."""

NEEDED = ("prompt", "response", "messages")
"""Columns that are listed even where the file could not be read; the others only if it has them."""

MESSAGE_TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "system_tag": "system",
    "observation_tag": "tool",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LlamaFactoryExport:
    """Both files, as values."""

    arguments: dict[str, Any]
    """Keys of the YAML in order."""
    notes: tuple[str, ...]
    """Sentences for its head."""
    datasets: dict[str, dict[str, Any]]
    """Name → entry of ``dataset_info.json``."""

    @property
    def text(self) -> str:
        """The YAML with its comments."""
        return comments(self.notes) + dump_yaml(self.arguments)


def export(handed: Handover, path: Path, force: bool = False) -> Export:
    """Write the YAML to ``path`` and the data's entry into ``dataset_info.json`` beside it.

    Entries of others in that file are kept. Raises ``ReportError``.
    """
    if path.suffix not in (".yaml", ".yml"):
        raise ReportError(f"{path}: llamafactory-cli reads a .yaml file; name one, such as train.yaml")
    made = llamafactory(handed, path.parent)
    check_free(path, made.text, force=force)
    registry = path.parent / REGISTRY
    entries: Any = {}
    if registry.exists():
        try:
            entries = json.loads(registry.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ReportError(f"{registry}: is not readable JSON ({error}); mend or move it") from error
        if not isinstance(entries, dict):
            raise ReportError(f"{registry}: is not a registry of data sets; mend or move it")
    write_text(registry, json.dumps({**entries, **made.datasets}, indent=2, ensure_ascii=False) + "\n")
    write_text(path, made.text)
    if not entries:
        return Export(written=(path, registry))
    added = f"{join(list(made.datasets))} added to {registry}"
    return Export(written=(path,), notes=(f"{added}; what else it holds was kept.",))


def llamafactory(handed: Handover, folder: Path) -> LlamaFactoryExport:
    """Return both files for a trial, meant to lie in ``folder``."""
    trial = handed.trial
    data = handed.objective.data
    plain = handed.data.format == "text"
    name = f"loratune_{handed.study.name}"
    files = tuple(zip(data.train_files, handed.formats, strict=True))
    trained = [name, *(f"{name}+{place}" for place in range(2, len(files) + 1))]
    datasets = {
        called: _entry(handed, file, kind) for called, (file, kind) in zip(trained, files, strict=True)
    }
    run, share = run_of_split(handed)
    if data.validation:
        held = dict(data.files)["validation"]
        datasets[f"{name}_validation"] = _entry(handed, held, handed.formats[0])
        held_out: dict[str, Any] = {"eval_dataset": f"{name}_validation"}
    else:
        held_out = {"val_size": share}
    sentences = [*provenance(handed, run), *_notes(handed, plain)]
    return LlamaFactoryExport(
        arguments={
            **_model(handed),
            "stage": "pt" if plain else "sft",
            "do_train": True,
            "finetuning_type": "lora",
            **_lora(trial),
            "dataset": ",".join(trained),
            "dataset_dir": str(folder.resolve()),
            **_template(handed, plain),
            "cutoff_len": handed.data.cutoff_len,
            **held_out,
            **({"packing": False} if plain else {}),
            "output_dir": f"saves/{handed.study.name}-trial-{trial.number}",
            **_training(handed, run),
        },
        notes=tuple(sentences),
        datasets=datasets,
    )


def _model(handed: Handover) -> dict[str, Any]:
    found: dict[str, Any] = {"model_name_or_path": handed.model_name}
    if handed.revision:
        found["model_revision"] = handed.revision
    if handed.objective.model.trust_remote_code:
        found["trust_remote_code"] = True
    bits = handed.objective.model.quantization_bit
    if bits is not None:
        # Its quantization_method is bitsandbytes by default, under a name that has changed.
        found["quantization_bit"] = bits
        if bits == 4:
            found |= {"quantization_type": "nf4", "double_quantization": True}
    return found


def _lora(trial: TrialRecord) -> dict[str, Any]:
    """Return what PEFT knows, which LLaMA-Factory calls as we do, and what it has beyond PEFT and Trainer."""
    params = trial.params
    arguments = lora_config(params)
    found = {name: arguments[one.peft] for name, one in FIELDS.items() if one.peft is not None}
    found["lora_target"] = params.lora_target
    for name, one in FIELDS.items():
        value = getattr(params, name)
        if one.peft is None and one.trainer is None and not one.kind.same(value, one.default):
            found[name] = one.kind.plain(value)
    return found


def _template(handed: Handover, plain: bool) -> dict[str, Any]:
    name = TEMPLATES.get(handed.data.template)
    return {"template": name} if name is not None and not plain else {}


def _training(handed: Handover, run: FullRun) -> dict[str, Any]:
    precision = {"bfloat16": "bf16", "float16": "fp16"}.get(handed.geometry.dtype)
    return trainer_keys(handed, run) | ({} if precision is None else {precision: True})


def _notes(handed: Handover, plain: bool) -> list[str]:
    found = notes(handed, "LLaMA-Factory")
    if plain:
        found.append("The data is plain text, so the stage is pt, one example to a sequence.")
    else:
        found += _template_notes(TEMPLATES.get(handed.data.template))
        ending = _ending_note(handed)
        if ending is not None:
            found.append(ending)
    return found + encoding_notes(handed)


def _template_notes(named: str | None) -> list[str]:
    """Return what LLaMA-Factory reads otherwise with the template of that name, or the model's own."""
    loss = (
        "LLaMA-Factory takes the loss also on what its template writes after an answer's end, such as a "
        "line break, so its eval_loss is not the study's."
    )
    if named is None:
        return [
            "The study used the model's own chat template. With no template named, LLaMA-Factory takes it "
            "from the tokenizer; where it knows the model by name (qwen3, llama3), name that instead.",
            loss,
        ]
    begins = (
        f"Its template {named} puts no beginning of a sequence first, where the study put the tokenizer's, "
        "if it has one, such as <s>."
    )
    return [begins] if named == "empty" else [loss, begins]


def _ending_note(handed: Handover) -> str | None:
    """Return a sentence where LLaMA-Factory would end an answer otherwise than the study did."""
    endings, template = handed.data.endings, handed.data.template
    if template == "plain":
        end = endings.tokens[0] if endings.tokens else "the tokenizer's end of a sequence"
        return (
            f"LLaMA-Factory's template empty ends no answer, where the study ended each with {end}: write it "
            "at the end of the data's answers, or the model does not learn to stop."
        )
    if template == "chatml" and endings.tokens and endings.tokens != ("<|im_end|>",):
        return (
            "LLaMA-Factory's template chatml adds <|im_end|> to the tokenizer as a new token (set "
            f"resize_vocab: true), where the study ended each answer with {endings.tokens[0]}."
        )
    if template not in TEMPLATES and (endings.added or len(endings.tokens) > 1):
        ends = " or ".join(endings.tokens)
        return (
            "The model's chat template does not end every answer by itself, and the study put an end there "
            f"({ends}); LLaMA-Factory takes the template as it is: write the end into the data's answers."
        )
    return None


def _entry(handed: Handover, given: DataFile, kind: str) -> dict[str, Any]:
    """Return the entry of one data file: every column that it has, since others would be errors."""
    file = given.path
    path = Path(file).expanduser()
    present = columns_of(path, handed.objective.data.encoding)
    wanted = COLUMNS.get(kind)
    if wanted is None:
        raise ReportError(f"data format {kind!r} cannot be handed to LLaMA-Factory; use --format yaml")
    named = read_as(tuple(wanted.values()), given.columns, handed.used_columns(file))
    prompts = named.get("prompt", ("prompt",))
    if kind == "prompt_completion" and any(isinstance(present.get(column), list) for column in prompts):
        raise ReportError(
            f"{file}: prompts that are lists of messages cannot be read by LLaMA-Factory; "
            "convert them to 'messages', or use --format yaml"
        )
    if kind != "text":
        wanted = wanted | {"system": "system", "tools": "tools"}
    if named:
        columns = {
            ours: _one_of_text(file, field, named[field], present)
            for ours, field in wanted.items()
            if field in named
        }
    else:
        columns = {
            ours: column
            for ours, column in wanted.items()
            if column in present or (not present and ours in NEEDED)
        }
    entry: dict[str, Any] = {"file_name": str(path.resolve())}
    if kind in ("messages", "sharegpt"):
        entry["formatting"] = "sharegpt"
    entry["columns"] = columns
    if kind == "messages":
        entry["tags"] = dict(MESSAGE_TAGS)
    return entry


def _one_of_text(file: str, field: str, columns: tuple[str, ...], present: dict[str, Any]) -> str:
    """Return the column that a field was read from.

    Raises ``ReportError`` where LLaMA-Factory would read it otherwise.
    """
    if len(columns) > 1:
        raise ReportError(
            f"{file}: the study joined {', '.join(map(repr, columns))} as {field}, which LLaMA-Factory "
            "cannot; write them into one column, or use --format yaml"
        )
    (column,) = columns
    if isinstance(present.get(column), bool | int | float):
        raise ReportError(
            f"{file}: the column {column!r} holds numbers, which LLaMA-Factory leaves out without a word; "
            "write them as text, or use --format yaml"
        )
    return column
