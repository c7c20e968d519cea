"""What another worker of this run found, as far as it holds for this one, so that nothing is measured twice.

Data, budget, the base model's losses and the speed follow from the same files on the same build and the same
kind of device. The files' digests are compared by whoever is told what was found. Does not know who hands
it on.
"""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path

import torch

from ... import __version__
from ...study.config import ObjectiveConfig
from ...study.facts import Facts
from ..data.dataset import TokenizedData, load_again
from ..quantization import LIBRARY
from .device import device_name


def found_before(config: ObjectiveConfig, device: torch.device) -> Facts | None:
    """Return what another worker found, None where there is none or it was on another build or device."""
    found = config.found
    if found is None or config.geometry != found.geometry or found.model.device_name != device_name(device):
        return None
    there = found.environment
    here = environment(quantized=LIBRARY in there)
    # A worker of its own sees one GPU, whatever the machine has.
    same = all(here.get(name) == there.get(name) for name in (here | there) if name != "gpus")
    return found if same else None


def tokens_of(found: Facts, config: ObjectiveConfig) -> TokenizedData | None:
    """Return the tokens that the other worker made, mapped from the cache; None where they are not in it."""
    cache = None if config.cache_dir is None else Path(config.cache_dir)
    return load_again(found.data.fingerprint, cache_dir=cache)


def environment(*, quantized: bool = False) -> dict[str, str]:
    """Return what the numbers depend on beside the study: versions and the processor's instruction set.

    ``quantized``: bitsandbytes computes with the base.
    """
    packages = ["torch", "transformers", "peft", "accelerate", "tokenizers", "numpy"]
    packages += [LIBRARY] * quantized
    return {
        "loratune": __version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "platform": platform.platform(),
        **({"gpus": str(torch.cuda.device_count())} if torch.cuda.is_available() else {}),
    }
