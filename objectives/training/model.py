"""The frozen base model and its tokenizer: a folder or a Hub id, safetensors only, refused in one line.

Does not know about adapters (pack.py), what a trial is, or which layers are wrapped (targets.py).
"""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
import transformers
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from transformers.utils import logging as transformers_logging

from ...errors import ModelError
from ...study.config import ModelConfig
from ...study.facts import ModelSummary
from ..folder import check_folder, check_tokenizer, local_folder
from ..hub import advice_of, causes, not_cached
from ..quantization import quantized_already
from .device import device_name, find_device, find_dtype
from .fitting import card_bytes, check_fits
from .norms import fuse_norms
from .quantized import check_quantized, check_trainable, hold_for_training, settings_for


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaseModel:
    """A loaded base model: frozen, in eval mode, on its device."""

    model: Any
    """The ``PreTrainedModel``; no parameter of it asks for a gradient."""
    device: torch.device
    """Where it lies."""
    dtype: torch.dtype
    """Its number type."""
    summary: ModelSummary
    """What it is, in words and numbers."""


def load_tokenizer(config: ModelConfig) -> Any:
    """Return the tokenizer that belongs to the model; raises ``ModelError``."""
    place, revision = _locate(config)
    if isinstance(place, Path):
        check_tokenizer(config.name_or_path, place)
    with quiet(), _one_line(config, "the tokenizer"):
        return transformers.AutoTokenizer.from_pretrained(
            str(place), revision=revision, trust_remote_code=config.trust_remote_code
        )


def load_model(config: ModelConfig) -> BaseModel:
    """Load the base model, freeze it and put it on its device.

    Only safetensors weights are read. A Hub id is pinned to the commit that its revision means
    now, which the summary tells. Raises ``ModelError`` with what to do: a missing or gated
    model, a folder without weights, weights that do not fit the architecture, a model that is
    no causal language model, a device or dtype that is not there.
    """
    device = find_device(config.device)
    dtype = find_dtype(config.dtype, device)
    place, revision = _locate(config)
    if isinstance(place, Path):
        check_folder(config.name_or_path, place)
    with quiet(), _one_line(config, "the model"):
        shape = transformers.AutoConfig.from_pretrained(
            str(place), revision=revision, trust_remote_code=config.trust_remote_code
        )
        _check_causal(config, shape)
        if config.quantization_bit is not None and getattr(shape, "quantization_config", None) is not None:
            raise quantized_already(config)
        check_quantized(config.name_or_path, shape)
        settings = settings_for(config.quantization_bit, dtype)
        check_fits(
            config,
            dtype,
            card_bytes(device),
            card_name=device_name(device),
            quantized=getattr(shape, "quantization_config", None) is not None,
        )
        causal: Any = transformers.AutoModelForCausalLM  # its annotations leave the loading info out
        model, info = causal.from_pretrained(
            str(place),
            config=shape,
            revision=revision,
            trust_remote_code=config.trust_remote_code,
            use_safetensors=True,
            dtype=dtype,
            attn_implementation=config.attn_implementation,
            device_map=None if device.type == "cpu" and settings is None else {"": str(device)},
            quantization_config=settings,
            ignore_mismatched_sizes=True,  # told, and refused below by name
            output_loading_info=True,
        )
    _check_weights(config, model, info)
    check_trainable(config.name_or_path, model)
    if device.type == "cuda":
        fuse_norms(model)
    return hold(model, device, dtype, name_or_path=config.name_or_path, revision=revision)


def load_stored(config: ModelConfig) -> Any:
    """Load the model on the CPU in the dtype of its files, to be written again; raises ``ModelError``."""
    place, revision = _locate(config)
    if isinstance(place, Path):
        check_folder(config.name_or_path, place)
    with quiet(), _one_line(config, "the model"):
        shape = transformers.AutoConfig.from_pretrained(
            str(place), revision=revision, trust_remote_code=config.trust_remote_code
        )
        if getattr(shape, "quantization_config", None) is not None:
            raise ModelError(
                f"{config.name_or_path}: is quantized, and what is folded into rounded weights is lost in "
                "their rounding; take --format peft, which leaves the base as it is"
            )
        causal: Any = transformers.AutoModelForCausalLM
        return causal.from_pretrained(
            str(place),
            revision=revision,
            trust_remote_code=config.trust_remote_code,
            use_safetensors=True,
            dtype="auto",
        )


def folder_of(config: ModelConfig, revision: str | None) -> Path:
    """Return where the files of a loaded model lie: its folder, or its snapshot in the cache."""
    folder = Path(config.name_or_path).expanduser()
    if folder.is_dir():
        return folder
    with _one_line(config, "the model"):
        file = huggingface_hub.hf_hub_download(
            config.name_or_path, "config.json", revision=revision, local_files_only=True
        )
    return Path(file).parent


def hold(
    model: Any, device: torch.device, dtype: torch.dtype, *, name_or_path: str, revision: str | None = None
) -> BaseModel:
    """Freeze a model that is already in memory and describe it; it is changed in place."""
    model.requires_grad_(False)
    model.eval()  # also sets the base's own dropout to 0
    for config in (model.config, model.config.get_text_config()):
        config.use_cache = False
    return BaseModel(
        model=model,
        device=device,
        dtype=dtype,
        summary=ModelSummary(
            name_or_path=name_or_path,
            revision=revision,
            architecture=type(model).__name__,
            parameters=int(model.num_parameters()),
            vocab_size=int(model.get_input_embeddings().weight.shape[0]),
            device=str(device),
            device_name=device_name(device),
            bits=hold_for_training(model),
        ),
    )


def _locate(config: ModelConfig) -> tuple[Path | str, str | None]:
    """Return the folder and None, or the Hub id and the commit that its revision means now."""
    folder = local_folder(config.name_or_path)
    if folder is not None:
        return folder, None
    name = config.name_or_path
    with quiet(), _one_line(config, "the model"):
        # The path in the cache is …/snapshots/<commit>/config.json: what every later call is pinned to.
        file = huggingface_hub.hf_hub_download(name, "config.json", revision=config.revision)
    return name, Path(file).parent.name


def _check_causal(config: ModelConfig, shape: Any) -> None:
    """Refuse what is no causal language model, before its weights are read."""
    kind = getattr(shape, "model_type", "") or type(shape).__name__
    auto = getattr(shape, "auto_map", None) or {}
    known = type(shape) in transformers.AutoModelForCausalLM._model_mapping
    remote = config.trust_remote_code and "AutoModelForCausalLM" in auto
    masked = any(name.endswith("ForMaskedLM") for name in getattr(shape, "architectures", None) or ())
    if getattr(shape, "is_encoder_decoder", False):
        why = f"is an encoder-decoder ({kind})"
    elif masked or not (known or remote):
        why = f"is of type {kind}, which is not a causal language model in Transformers"
    else:
        return
    raise ModelError(
        f"{config.name_or_path}: {why}; choose a decoder-only model such as Llama, Qwen, Mistral or Gemma"
    )


def _check_weights(config: ModelConfig, model: Any, info: dict[str, Any]) -> None:
    """Refuse weights that left a part of the model at random values, and adapters that came along."""
    missing = sorted(str(key) for key in info.get("missing_keys", ()))
    wrong = sorted(str(key[0]) for key in info.get("mismatched_keys", ()))
    if missing or wrong:
        what = f"lack {missing[0]}" if missing else f"hold {wrong[0]} in another shape"
        more = len(missing) + len(wrong) - 1
        raise ModelError(
            f"{config.name_or_path}: the weights {what}{f' and {more} more' if more else ''} "
            f"of {type(model).__name__}; download the model again or check config.json"
        )
    if getattr(model, "_hf_peft_config_loaded", False):
        raise ModelError(f"{config.name_or_path}: is a LoRA adapter, not a base model; give its base model")


@contextlib.contextmanager
def _one_line(config: ModelConfig, what: str) -> Iterator[None]:
    """Turn whatever loading raises into a ``ModelError`` of one line that says what to do."""
    name = config.name_or_path
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        chain = list(causes(error))
        local = Path(name).expanduser().is_dir()
        text = " ".join(str(error).split())

        def met(*kinds: type[BaseException]) -> bool:
            return any(isinstance(one, kinds) for one in chain)

        told = advice_of(error, config)
        if told is not None:
            advice = told
        elif "trust_remote_code" in text or "custom code" in text:
            advice = "needs Python code of its own, which is not run; choose a model that Transformers knows"
        elif "does not recognize this architecture" in text:
            advice = (
                f"is of an architecture that Transformers {transformers.__version__} does not know; "
                "upgrade transformers or choose another model"
            )
        elif "does not support an attention implementation" in text:
            advice = f"has no {config.attn_implementation} attention in Transformers; choose another model"
        elif not local and "safetensors" in text and "does not appear to have" in text:
            advice = "has no safetensors weights on the Hub; choose a model or a revision that has"
        elif not local and met(LocalEntryNotFoundError, ConnectionError, TimeoutError):
            advice = not_cached(name)
        elif met(EntryNotFoundError):
            advice = "has no config.json on the Hub; choose a model in Transformers' format"
        elif met(torch.OutOfMemoryError, MemoryError):
            advice = (
                "does not fit into memory; choose a smaller model, a dtype of fewer bytes or another device"
            )
        else:
            advice = (
                f"{what} cannot be loaded ({type(error).__name__}: {text[:200]}); check or download it again"
            )
        raise ModelError(f"{name}: {advice}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the progress bars and warnings of Transformers and the Hub out of the way, then put them back."""
    ours: Any = transformers_logging
    hub: Any = huggingface_hub
    verbosity, hub_verbosity = ours.get_verbosity(), hub.logging.get_verbosity()
    bars, hub_bars = ours.is_progress_bar_enabled(), not hub.utils.are_progress_bars_disabled()
    ours.set_verbosity_error()
    ours.disable_progress_bar()
    hub.logging.set_verbosity_error()
    if hub_bars:
        hub.utils.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        ours.set_verbosity(verbosity)
        hub.logging.set_verbosity(hub_verbosity)
        if bars:
            ours.enable_progress_bar()
        if hub_bars:
            hub.utils.enable_progress_bars()
