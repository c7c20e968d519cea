"""What a setting of another trainer is called here, for whoever types flags of LLaMA-Factory or Transformers.

Keys are theirs (https://llamafactory.readthedocs.io, ``TrainingArguments``, TRL's ``SFTConfig``), in
underscores. Hyperparameters are known to the register, with the names that Transformers and PEFT have for
them. Parses nothing: what a whole file of theirs comes to is llamafactory_config.py's matter.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from ..spaces.params import FIELDS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Meaning:
    """What a setting of theirs comes to here."""

    option: str
    """The option that it is, as a field of ours."""
    value: str
    """What is given to it."""
    more: str = ""
    """What is to be known of it beside."""


SET = "set"
"""The option that hyperparameters are given by, ``NAME=VALUE``."""

_LENGTH = (
    Meaning(option="epochs", value="E"),
    Meaning(option="examples", value="N", more="the training examples of a trial"),
)
_DATA = (Meaning(option="data", value="FILE"),)
_CUTOFF = (Meaning(option="cutoff_len", value="TOKENS"),)
_HELD_OUT = (Meaning(option="validation", value="FILE", more="without it 15 % of the data is held out"),)
_WRITTEN = (
    Meaning(option="output", value="PATH"),
    Meaning(option="storage", value="FILE", more="adapters lie beside it"),
)

_OPTIONS: dict[str, tuple[Meaning, ...]] = {
    "model_name_or_path": (Meaning(option="model", value="ID"),),
    "model_revision": (Meaning(option="revision", value="REV"),),
    "dataset": _DATA,
    "dataset_dir": _DATA,
    "dataset_name": _DATA,
    "train_file": _DATA,
    "eval_dataset": _HELD_OUT,
    "val_size": _HELD_OUT,
    "max_length": _CUTOFF,
    "max_seq_length": _CUTOFF,
    "model_max_length": _CUTOFF,
    "max_samples": (Meaning(option="examples", value="N", more="what a trial trains on of the data"),),
    "num_train_epochs": _LENGTH,
    "num_epochs": _LENGTH,
    "epochs": _LENGTH,
    "max_steps": _LENGTH,
    "early_stopping_steps": (Meaning(option="patience", value="P"),),
    "bf16": (Meaning(option="dtype", value="bfloat16"),),
    "pure_bf16": (Meaning(option="dtype", value="bfloat16"),),
    "fp16": (Meaning(option="dtype", value="float16"),),
    "load_in_4bit": (Meaning(option="quantization_bit", value="4"),),
    "load_in_8bit": (Meaning(option="quantization_bit", value="8"),),
    "flash_attn": (Meaning(option="attn_implementation", value="sdpa"),),
    "output_dir": _WRITTEN,
    "data_seed": (Meaning(option="seed", value="N"),),
}
"""Their settings that are options here, the likeliest first where several commands have one."""

_FIXED = "leave it out, all is SFT of LoRA adapters by AdamW"
_ROUNDS = "leave it out, trials are recorded, evaluated and saved at the ends of their rounds"
_NOT_NEEDED = "leave it out, nothing here needs it"

_LEFT_OUT = {
    **dict.fromkeys(("stage", "do_train", "do_eval", "finetuning_type", "use_peft", "optim"), _FIXED),
    **dict.fromkeys(
        (
            "logging_steps",
            "logging_strategy",
            "save_steps",
            "save_strategy",
            "save_total_limit",
            "eval_steps",
            "eval_strategy",
            "evaluation_strategy",
            "load_best_model_at_end",
            "plot_loss",
        ),
        _ROUNDS,
    ),
    **dict.fromkeys(
        (
            "overwrite_output_dir",
            "overwrite_cache",
            "preprocessing_num_workers",
            "dataloader_num_workers",
            "per_device_eval_batch_size",
            "ddp_timeout",
            "report_to",
        ),
        _NOT_NEEDED,
    ),
    "resume_from_checkpoint": "leave it out, tune resume goes on with a study",
}
"""Their settings that have no counterpart, and why none is needed."""

_RUN = (
    "bf16",
    "cache_dir",
    "compute_dtype",
    "data_seed",
    "data_shared_file_system",
    "dataloader_",
    "ddp_",
    "deepspeed",
    "disable_gradient_checkpointing",
    "disable_tqdm",
    "do_",
    "enable_liger_kernel",
    "enable_torch_profiler",
    "flash_attn",
    "fp16",
    "fsdp",
    "gradient_checkpointing",
    "hub_",
    "include_",
    "log_",
    "logging_",
    "low_cpu_mem_usage",
    "media_dir",
    "model_max_length",
    "output_dir",
    "preprocessing_",
    "print_param_status",
    "push_to_hub",
    "quantization_device_map",
    "ray_",
    "run_name",
    "save_",
    "swanlab_",
    "tf32",
    "upcast_",
    "use_fast_tokenizer",
    "use_reentrant_gc",
    "use_swanlab",
    "use_unsloth",
    "use_v1_kernels",
)
"""Settings of how a run is made, kept and told of, or beginnings of their names: none is a hyperparameter."""

_USUAL = {
    "optim": ("adamw_torch", "adamw_torch_fused", "adamw_hf"),
    "quantization_type": ("nf4",),
    "quantization_method": ("bnb", "bitsandbytes"),
    "double_quantization": ("True",),
    "enable_thinking": ("True",),
    "ignore_pad_token_for_loss": ("True",),
    "packing": ("False",),
}
"""Settings that say what is done here in any case, and their values that do."""


def without_meaning(name: str, value: object) -> bool:
    """Return whether a setting of a file changes nothing of what a trial learns here.

    >>> without_meaning("logging_steps", 10), without_meaning("packing", True)
    (True, False)
    """
    if name in _USUAL:
        return str(value) in _USUAL[name]
    if name.endswith(("_token", "_api_key")):
        return True  # nobody else's business
    # What is off is as if it were not there.
    return value in (False, None, "", 0) or name in _LEFT_OUT or name.startswith(_RUN)


_ALIASES = {
    alias: name
    for name, one in FIELDS.items()
    for alias in (one.trainer, one.peft)
    if alias not in (None, name)
}
_ALIASES |= {
    "gradient_accumulation_steps": _ALIASES["per_device_train_batch_size"],
    "lora_r": _ALIASES["r"],
    "lora_target_modules": _ALIASES["target_modules"],
}
"""Their names of hyperparameters → ours."""


def said_of(name: str, known: Collection[str], *, as_flag: bool) -> str:
    """Return what a setting of another trainer comes to, as the end of a sentence; empty where it is none.

    Args:
        name: the setting, in underscores.
        known: the options that there are, as fields of ours.
        as_flag: whether it is to be typed, and not written into a file.

    >>> said_of("val_size", {"validation"}, as_flag=True)
    'here it is --validation FILE, without it 15 % of the data is held out'
    >>> said_of("max_length", {"cutoff_len"}, as_flag=False)
    'here it is cutoff_len: TOKENS'
    >>> said_of("val_size", {"storage"}, as_flag=True)
    ''
    """
    if name in _ALIASES and SET in known:
        ours = _ALIASES[name]
        written = f"--{SET} {ours}=…" if as_flag else f"{SET}: {{{ours}: …}}"
        return f"here it is {written}, {FIELDS[ours].meaning.partition(';')[0]}"
    for one in _OPTIONS.get(name, ()):
        if one.option in known:
            flag = "--" + one.option.replace("_", "-")
            written = f"{flag} {one.value}" if as_flag else f"{one.option}: {one.value}"
            return f"here it is {written}" + (f", {one.more}" if one.more else "")
    return _LEFT_OUT.get(name, "")
