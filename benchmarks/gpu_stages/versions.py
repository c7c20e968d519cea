"""What is here: the card, its driver, the libraries."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess

import torch
from gpu_stages.stage import Stage

PACKAGES = (
    *("torch", "triton", "transformers", "peft", "accelerate", "tokenizers", "safetensors", "numpy"),
    *("optuna", "sqlalchemy", "pydantic", "liger-kernel", "bitsandbytes", "plotly"),
)


def run(stage: Stage) -> None:
    """Tell versions and the card."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "none"
    stage.tell("libraries", **found)
    if stage.device.type != "cuda":
        stage.tell("device", name=platform.processor() or platform.machine(), threads=torch.get_num_threads())
        return
    card = torch.cuda.get_device_properties(0)
    free, whole = torch.cuda.mem_get_info(0)
    stage.tell(
        "device",
        name=card.name,
        capability=f"{card.major}.{card.minor}",
        multiprocessors=card.multi_processor_count,
        memory_gib=whole / 2**30,
        free_gib=free / 2**30,
        cuda=torch.version.cuda,
        driver=_driver(),
        bf16=torch.cuda.is_bf16_supported(including_emulation=False),
    )


def _driver() -> str:
    """Return the driver's version."""
    if shutil.which("nvidia-smi") is None:
        return "unknown: there is no nvidia-smi"
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    said = subprocess.run(query, capture_output=True, text=True, check=False)
    return (said.stdout or said.stderr).strip().splitlines()[0]
