"""What a worker must know before it can measure a trial: model, data, budget; chosen by the user.

Does not know what a worker found (facts.py), nor the search (study_config.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from .facts import Facts, Geometry
from .metric import MetricName
from .offered import Bits
from .plain_method import PlainMethod
from .stopping import Stopping

RULES = 3
"""The rules by which records become examples, counted on where the same file would give other tokens.

1: a conversation without an answer at its end is left out, roles are spelled in one way alone, nulls inside
the objects of a Parquet file are read as values, and what ends an answer is the template's text, a token or
not. 2: the last turns are cut off, roles are read in any case, such nulls are absent fields, and each answer
ends with a stop token; a likely label or context is not left unused without a word. 3: where a chat template
writes a question otherwise once more of them follow, as Mistral's do with tools, an answer that calls one is
found, and an answer begins where the model is asked.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which frozen base model, and how it is held."""

    name_or_path: str
    """A folder, or a Hub id such as ``Qwen/Qwen3-0.6B``."""
    revision: str | None = None
    """The Hub's branch, tag or commit; the commit that it meant is stored with the study."""
    dtype: str = "auto"
    """``float32``, ``bfloat16``, ``float16`` or ``auto``: on a GPU bfloat16, or float16 where it has none of
    its own, and float32 on a CPU."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    attn_implementation: str = "sdpa"
    """The attention of Transformers: ``sdpa`` or ``eager``."""
    gradient_checkpointing: bool | None = None
    """Recompute activations in the backward pass; None decides by memory."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model."""
    quantization_bit: Bits | None = None
    """Bits of the base's linear layers, quantized while they are loaded; None leaves them as they are."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataFile:
    """A file to train on, and how its records are read."""

    path: str
    """Where it lies."""
    format: str = "auto"
    """As that of ``DataConfig``."""
    columns: tuple[str, ...] | None = None
    """As those of ``DataConfig``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which records, and how they become tokens."""

    train: str
    """A file (JSON, JSONL, CSV, Parquet); split in three unless the next two are given."""
    more: tuple[DataFile, ...] = ()
    """Further files to train on, whose records follow those of the first; ``format`` and ``columns`` are the
    first one's, and those of the files for validation and test."""
    validation: str | None = None
    """A file for validation."""
    test: str | None = None
    """A file for the test set."""
    format: str = "auto"
    """``auto``, ``alpaca``, ``sharegpt``, ``messages``, ``prompt_completion`` or ``text``."""
    template: str = "auto"
    """``auto`` (the model's own chat template, else the default), or the name of a built-in template."""
    cutoff_len: int = 1024
    """Longest example in tokens; longer ones are cut, prompt and answer in proportion."""
    encoding: str = "utf-8"
    """Encoding of text files; a byte-order mark is skipped."""
    split: tuple[float, float, float] = (0.70, 0.15, 0.15)
    """Shares of train, validation and test where the user gives no files for them."""
    seed: int = 0
    """Seed of the split."""
    columns: tuple[str, ...] | None = None
    """Each ``role=column``, such as ``prompt=question``; None where columns have a format's own names."""
    rules: int = RULES
    """Version of the rules by which records become examples; a study keeps those that it was made with."""

    @property
    def train_files(self) -> tuple[DataFile, ...]:
        """All files to train on, in the order in which their records are joined."""
        return (DataFile(path=self.train, format=self.format, columns=self.columns), *self.more)

    @property
    def files(self) -> tuple[tuple[str, DataFile], ...]:
        """Every file with what it is for: ``train``, then ``validation`` and ``test``, read as the first."""
        trained = self.train_files
        held_out = (("validation", self.validation), ("test", self.test))
        return (
            *(("train", one) for one in trained),
            *(
                (part, dataclasses.replace(trained[0], path=path))
                for part, path in held_out
                if path is not None
            ),
        )

    @property
    def names(self) -> dict[str, str]:
        """What each file is called in a message, by its path: with folders only where names are alike."""
        paths = [one.path for _, one in self.files]
        if not self.more:
            return {path: Path(path).name for path in paths}
        return {path: _told_apart(path, paths) for path in paths}


def _told_apart(path: str, others: Sequence[str]) -> str:
    """Return the shortest end of a path that is no other's.

    >>> _told_apart("/sets/a/train.json", ["/sets/a/train.json", "/sets/b/train.json"])
    'a/train.json'
    """
    parts = Path(path).parts
    alike = [Path(other).parts for other in others if other != path]
    for count in range(1, len(parts)):
        if all(other[-count:] != parts[-count:] for other in alike):
            return "/".join(parts[-count:])
    return path


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """Everything a worker must know before it can measure a trial."""

    model: ModelConfig
    """The base model."""
    data: DataConfig
    """The data."""
    batch_sizes: tuple[int, ...]
    """Every batch size that may be tried."""
    lora_ranks: tuple[int, ...]
    """Every rank that may be tried, or the least and the greatest."""
    lora_targets: tuple[str, ...]
    """Every ``lora_target`` that may be tried, as the space spells it."""
    examples: int | None = None
    """Training examples of a whole trial; None takes the default of ``plan_budget``."""
    eval_examples: int | None = None
    """Validation examples of the final evaluation; None takes the default of ``plan_budget``."""
    max_grad_norm: float = 1.0
    """Gradients of a trial are clipped to this norm (Trainer's default)."""
    seed: int = 0
    """Seed of the data order, the adapters' initial values and dropout."""
    stopping: Stopping | None = None
    """How a trial of full length ends, which is then evaluated after each round; None for all others."""
    metric: MetricName = "loss"
    """What the best trial is selected by; what it takes is measured of trials that complete."""
    even_lengths: bool = True
    """As of ``Budget``; a study keeps what it was made with."""
    plain: PlainMethod | None = None
    """Train plainly and without adapters, to be measured against; None: in a pack, as the study does."""
    geometry: Geometry | None = None
    """The study's geometry; None while it is being made, then ``prepare`` finds it."""
    found: Facts | None = None
    """What another worker of this run found, which is not measured again; None: nothing is known."""
    cache_dir: str | None = None
    """Folder for tokenized data, shared by all workers; None tokenizes in memory."""
    slots: int | None = None
    """K, how many trials a worker holds and trains; None lets memory decide."""
    pass_tokens: int | None = None
    """Tokens that go through the base model at once, as of ``Facts``; None while a study is being made."""
    dropout: bool = True
    """Whether a trial may use dropout, which takes memory."""
    deterministic: bool = False
    """On a GPU, let every sum end in the same order each time, which is slower."""
