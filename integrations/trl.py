"""A trial's configuration for TRL: a YAML for ``trl sft --config``.

TRL reads messages, pairs of prompt and completion, and plain text, by the names of their columns; it puts
strings side by side without a template. What it would read otherwise than the study is refused or said.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import ReportError
from ..spaces.arguments import lora_config
from ..spaces.params import FIELDS
from ..study.config import DataFile
from ..study.handover import Handover, provenance
from ..whole_files import check_free, write_text
from .data_columns import columns_of, read_as
from .exporter import Export
from .plain import comments, dump_yaml
from .trainer_keys import encoding_notes, notes, run_of_split, trainer_keys

FIELDS_OF = {
    "messages": ("messages",),
    "prompt_completion": ("prompt", "completion"),
    "text": ("text",),
}
"""Our formats that TRL reads too → the columns that it looks for."""

BUILDERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
"""Endings of data files → what the library ``datasets`` reads them with."""

QUANTIZED: dict[int | None, dict[str, Any]] = {
    4: {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "use_bnb_nested_quant": True},
    8: {"load_in_8bit": True},
}
"""Bits of the base → how TRL is told of them."""


def export(handed: Handover, path: Path, force: bool = False) -> Export:
    """Write the YAML to ``path``; raises ``ReportError``, also for data that TRL does not read."""
    if path.suffix not in (".yaml", ".yml"):
        raise ReportError(f"{path}: trl reads a .yaml file; name one, such as sft.yaml")
    text = trl(handed)
    check_free(path, text, force=force)
    write_text(path, text)
    return Export(written=(path,))


def trl(handed: Handover) -> str:
    """Return the YAML of a trial with its comments."""
    run, share = run_of_split(handed)
    data, chat = _data(handed)
    arguments: dict[str, Any] = {
        "model_name_or_path": handed.model_name,
        **({"model_revision": handed.revision} if handed.revision else {}),
        **({"trust_remote_code": True} if handed.objective.model.trust_remote_code else {}),
        "dtype": handed.geometry.dtype,
        **QUANTIZED.get(handed.objective.model.quantization_bit, {}),
        "use_peft": True,
        **_lora(handed),
        **data,
        **({} if share is None else {"test_split_size": share}),
        "max_length": handed.data.cutoff_len,
        "packing": False,
        "output_dir": f"saves/{handed.study.name}-trial-{handed.trial.number}",
        **trainer_keys(handed, run),
        # TRL trains in bfloat16 where nothing is said.
        "bf16": handed.geometry.dtype == "bfloat16",
        "fp16": handed.geometry.dtype == "float16",
    }
    if share is None:
        arguments["eval_strategy"] = "no"
    sentences = (*provenance(handed, run), *_notes(handed, chat=chat))
    return comments(sentences) + dump_yaml(arguments)


def _lora(handed: Handover) -> dict[str, Any]:
    """Return PEFT's arguments as TRL calls them."""
    found = lora_config(handed.trial.params)
    modules = found["target_modules"]
    return {
        "lora_r": found["r"],
        "lora_alpha": found["lora_alpha"],
        "lora_dropout": found["lora_dropout"],
        # TRL declares a list, and takes a list of one for the name itself.
        "lora_target_modules": [modules] if isinstance(modules, str) else modules,
        **({"use_rslora": True} if found["use_rslora"] else {}),
    }


def _data(handed: Handover) -> tuple[dict[str, Any], bool]:
    """Return how TRL reads the files to train on, and whether it reads them as conversations."""
    given, kind = handed.objective.data, handed.data.format
    fields = FIELDS_OF.get(kind)
    if len(set(handed.formats)) > 1:
        raise ReportError(
            f"the study reads files of the formats {kind}, and TRL joins files of one alone; convert them to "
            "'messages', or use --format llamafactory"
        )
    if fields is None:
        raise ReportError(
            f"data format {kind!r} cannot be read by TRL; convert it to 'messages', or to 'prompt' and "
            "'completion', or use --format llamafactory"
        )
    read = [_fields(handed, one, fields, kind) for one in given.train_files]
    fields = read[0]
    if len(set(read)) > 1:
        other = next(one for one, own in zip(given.train_files, read, strict=True) if own != fields)
        raise ReportError(
            f"{other.path}: TRL joins files whose columns have the same names, here "
            f"{' and '.join(repr(name) for (name,) in dict.fromkeys(read))}; rename them, or use "
            "--format llamafactory"
        )
    files = [Path(one.path).expanduser() for one in given.train_files]
    seen = [columns_of(path, given.encoding) for path in files]
    # Of several files those columns alone, since they are joined only where all have the same.
    columns = (*fields, *_tools(files, seen, kind))
    found: dict[str, Any] = {
        "datasets": [
            {
                "path": BUILDERS[path.suffix],
                "data_files": str(path.resolve()),
                **({"columns": list(columns)} if given.more else {}),
            }
            for path in files
        ]
    }
    if kind == "text":
        found["dataset_text_field"] = fields[0]
    elif kind == "messages":
        found["assistant_only_loss"] = True
    else:
        found["completion_only_loss"] = True
    return found, kind == "messages" or _turns(files, seen)


def _tools(files: list[Path], seen: list[dict[str, Any]], kind: str) -> list[str]:
    """Return the column of tools where the files have one; raises ``ReportError`` where only some do."""
    without = [path for path, columns in zip(files, seen, strict=True) if "tools" not in columns]
    if kind == "text" or len(without) == len(files):
        return []
    if without:
        raise ReportError(
            f"{without[0]}: has no column 'tools', which another file has, and TRL joins files of the same "
            "columns alone; add it, or use --format llamafactory"
        )
    return ["tools"]


def _turns(files: list[Path], seen: list[dict[str, Any]]) -> bool:
    """Return whether prompts are lists of turns; raises ``ReportError`` where only some files have such."""
    known = {
        path: isinstance(columns["prompt"], list)
        for path, columns in zip(files, seen, strict=True)
        if columns.get("prompt") is not None
    }
    if len(set(known.values())) > 1:
        one = next(path for path, turns in known.items() if turns)
        raise ReportError(
            f"{one}: its prompts are lists of turns and those of another file are texts, which TRL does not "
            "join; write all one way, or use --format llamafactory"
        )
    return True in known.values()


def _fields(handed: Handover, file: DataFile, fields: tuple[str, ...], kind: str) -> tuple[str, ...]:
    """Return the columns that TRL looks for in a file; raises ``ReportError`` where it would find others."""
    if Path(file.path).suffix not in BUILDERS:
        raise ReportError(f"{file.path}: TRL reads {', '.join(BUILDERS)}; convert it, or use --format yaml")
    for field, names in read_as(fields, file.columns, handed.used_columns(file.path)).items():
        if kind == "text" and len(names) == 1:
            return names
        if names != (field,):
            raise ReportError(
                f"{file.path}: the study read {' and '.join(map(repr, names))} as {field}, and TRL reads "
                f"{' and '.join(map(repr, fields))} alone; rename them, or use --format llamafactory"
            )
    return fields


def _notes(handed: Handover, *, chat: bool) -> list[str]:
    found = notes(handed, "TRL")
    template, params = handed.data.template, handed.trial.params
    if handed.objective.data.validation:
        found.append(
            "TRL reads what is trained on alone here: the study's validation file is not given to it, and "
            "nothing is evaluated."
        )
    if chat and template != "model's own":
        found.append(
            f"The study used the template {template}, and TRL the tokenizer's own: give one that writes the "
            "same as chat_template_path."
        )
    elif not chat and handed.data.format != "text" and template != "plain":
        found.append(
            f"The study put prompts into the template {template}, and TRL puts prompt and completion side by "
            "side as they are: write the template into the data."
        )
    if handed.data.format == "messages":
        found.append(
            "With assistant_only_loss TRL needs a chat template that marks what the assistant says; it has "
            "such ones for models that it knows, and says so where it has none."
        )
    ratio = params.loraplus_lr_ratio
    if not FIELDS["loraplus_lr_ratio"].kind.same(ratio, 1.0):
        found.append(
            f"The study trained B at {ratio:g} times the learning rate of A (LoRA+), for which trl sft has "
            "no option: without it the configuration is another one."
        )
    return found + encoding_notes(handed)
