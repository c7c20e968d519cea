"""The presets: spaces to start from, each with a default configuration known to be good, and its source.

Knows nothing of how a space is written down or measured.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ..errors import SpaceError, nearest, shown
from .choices import Choices
from .params import LoraParams
from .range import Range
from .space import SearchSpace

TINY_BELOW = 50_000_000
"""Models with fewer weights than this take the preset ``tiny``."""

LARGE_FROM = 10_000_000_000
"""Models with at least so many weights take the preset ``large``."""

_MEASURED = (
    "on 23 open models such rates end nearer to each model's best than 1e-4 at rank 8 does, whether or not "
    "the best rate falls with the batch size (benchmarks/priors.py)"
)
_LLAMA_FACTORY = (
    "LLaMA-Factory, examples/train_lora/llama3_lora_sft.yaml: rank 8, alpha 16, learning rate 1e-4, cosine, "
    "warm-up 0.1, effective batch 8, all linear layers"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preset:
    """A named space with its default configuration."""

    name: str
    """What ``--space`` calls it."""
    words: str
    """What it is for, in one line."""
    space: SearchSpace
    """What is searched."""
    default: LoraParams
    """Trial 0 of every study; lies in the space."""
    default_source: str
    """Where the default comes from."""


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="default",
            words="models of 50M to 10B weights",
            space=SearchSpace(
                dimensions=(
                    Range(name="learning_rate", low=2e-5, high=2e-3, log=True),
                    Choices(name="batch_size", choices=(4, 8, 16, 32)),
                    Choices(name="lora_rank", choices=(4, 8, 16, 32, 64)),
                    Range(name="lora_alpha_ratio", low=0.5, high=4.0),
                    Range(name="warmup_ratio", low=0.0, high=0.1),
                )
            ),
            default=LoraParams(
                learning_rate=2e-4, batch_size=8, lora_rank=16, lora_alpha=32.0, warmup_ratio=0.1
            ),
            default_source=(
                "learning rate 2e-4, rank 16, alpha twice the rank: what Unsloth's guide starts from, and "
                f"QLoRA's rate for 7B; {_MEASURED}"
            ),
        ),
        Preset(
            name="large",
            words="models of 10B weights and more, which want lower learning rates",
            space=SearchSpace(
                dimensions=(
                    Range(name="learning_rate", low=1e-5, high=1e-3, log=True),
                    Choices(name="batch_size", choices=(4, 8, 16, 32)),
                    Choices(name="lora_rank", choices=(4, 8, 16, 32, 64)),
                    Range(name="lora_alpha_ratio", low=0.5, high=4.0),
                    Range(name="warmup_ratio", low=0.0, high=0.1),
                )
            ),
            default=LoraParams(
                learning_rate=1e-4, batch_size=8, lora_rank=16, lora_alpha=32.0, warmup_ratio=0.1
            ),
            default_source=(
                "learning rate 1e-4, rank 16, alpha twice the rank: QLoRA's rate for 33B and 65B, half of "
                f"that for 7B; {_MEASURED}"
            ),
        ),
        Preset(
            name="tiny",
            words="models under 50M weights, which want far higher learning rates",
            space=SearchSpace(
                dimensions=(
                    Range(name="learning_rate", low=3e-4, high=1e-1, log=True),
                    Choices(name="batch_size", choices=(4, 8, 16, 32)),
                    Choices(name="lora_rank", choices=(2, 4, 8, 16)),
                    Range(name="lora_alpha_ratio", low=0.5, high=4.0),
                    Range(name="warmup_ratio", low=0.0, high=0.1),
                )
            ),
            default=LoraParams(
                learning_rate=1e-2, batch_size=8, lora_rank=16, lora_alpha=32.0, warmup_ratio=0.1
            ),
            default_source=(
                "the best of a measured grid on stories260K (PEFT, all-linear, alpha = 2r, batch 8, cosine, "
                "10 of 100 steps of warm-up)"
            ),
        ),
        Preset(
            name="quickllm",
            words="the ranges of the QuickLLM article; alpha is twice the rank",
            space=SearchSpace(
                dimensions=(
                    Range(name="learning_rate", low=1e-6, high=1e-4, log=True),
                    Choices(name="batch_size", choices=(2, 4, 8, 16)),
                    Choices(name="lora_rank", choices=(8, 16, 32, 64, 128)),
                    Choices(name="lora_alpha_ratio", choices=(2.0,)),
                    Range(name="warmup_ratio", low=0.01, high=0.2),
                )
            ),
            default=LoraParams(
                learning_rate=1e-4, batch_size=8, lora_rank=8, lora_alpha=16.0, warmup_ratio=0.1
            ),
            default_source=_LLAMA_FACTORY,
        ),
    )
}
"""All presets by name."""


BY_SIZE = ("tiny", "default", "large")
"""The presets that a model's size chooses among."""


def preset(name: str) -> Preset:
    """Return the preset of that name; raises ``SpaceError`` with the nearest one."""
    if name not in PRESETS:
        where = "" if Path(str(name)).is_absolute() else f" in {Path.cwd()}"
        raise SpaceError(
            f"space: {shown(name)} is neither a preset ({', '.join(PRESETS)}) nor a YAML file{where}"
            + nearest(str(name), PRESETS)
        )
    return PRESETS[name]


def preset_for(parameters: int) -> Preset:
    """Return the preset for a model of that many weights."""
    if parameters < TINY_BELOW:
        return PRESETS["tiny"]
    return PRESETS["large" if parameters >= LARGE_FROM else "default"]
