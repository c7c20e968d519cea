"""The seam between the search and the training: what is asked of a worker, and what it answers.

Everything here is a plain value that can cross a process boundary; nothing here imports torch.
``fake.py`` beside it answers in the same terms without training, ``process.py`` starts the real one.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Protocol

from ..spaces.budget import Budget
from ..spaces.params import LoraParams
from .endings import Endings

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
    """``auto`` (bfloat16 on a GPU with its own, else float32), ``float32``, ``bfloat16`` or ``float16``."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    attn_implementation: str = "sdpa"
    """The attention of Transformers: ``sdpa`` or ``eager``."""
    gradient_checkpointing: bool | None = None
    """Recompute activations in the backward pass; None decides by memory."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which records, and how they become tokens."""

    train: str
    """A file (JSON, JSONL, CSV, Parquet); split in three unless the next two are given."""
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Geometry:
    """The shapes of every computation of a study; fixed when it is made, never dependent on K.

    The same geometry on the same build and instruction set gives bit-for-bit the same losses.
    """

    rank_max: int
    """Rank of the packed adapters: the largest of the space, rounded up to a multiple of 8."""
    tick_lengths: tuple[int, ...]
    """``[ticks]`` padded length in tokens of each tick of a quantum, in the order they are visited."""
    eval_rows: int
    """Validation examples per slot in one forward pass."""
    targets: tuple[str, ...]
    """Full names of the wrapped linear layers, in the model's order."""
    dtype: str
    """The base model's number type, such as ``float32``."""
    attn_implementation: str
    """``sdpa`` or ``eager``."""
    gradient_checkpointing: bool
    """Whether activations are recomputed in the backward pass."""


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
    geometry: Geometry | None = None
    """The study's geometry; None while it is being made, then ``prepare`` finds it."""
    cache_dir: str | None = None
    """Folder for tokenized data, shared by all workers; None tokenizes in memory."""
    slots: int | None = None
    """K, how many trials train at once in one worker; None lets memory decide."""
    deterministic: bool = False
    """On a GPU, let every sum end in the same order each time, which is slower."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BadRecord:
    """A record that was left out."""

    file: str
    """The file's name."""
    line: int
    """Its line, or its position from 1 in a file that is not read line by line."""
    reason: str
    """What is wrong with it."""
    place: str = "line"
    """What ``line`` counts: ``line`` or ``record``."""

    @property
    def where(self) -> str:
        """File and place in words: ``data.jsonl:17`` or ``data.json: record 17``."""
        at = f":{self.line}" if self.place == "line" else f": {self.place} {self.line}"
        return self.file + at


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Why some records were left out, or changed."""

    reason: str
    """What is wrong with them; a number that differs from record to record is written ``N``."""
    count: int
    """How many."""
    places: tuple[str, ...]
    """Where the first of them are, as ``BadRecord.where`` says it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColumnUse:
    """What a column of a data file is used for."""

    file: str
    """The file's name."""
    name: str
    """The column's."""
    used_as: str
    """Such as ``prompt`` or ``answer``; empty where it is not used."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSummary:
    """What became of the data."""

    format: str
    """The format that was read."""
    template: str
    """The template that was applied: ``model's own`` or a built-in name."""
    fingerprint: str
    """Hash of records, template, tokenizer, cutoff and split; equal means the same tokens."""
    train: int
    """Training examples."""
    validation: int
    """Validation examples."""
    test: int
    """Test examples."""
    records: int
    """Records read, bad ones included."""
    bad: int
    """Records left out."""
    bad_records: tuple[BadRecord, ...]
    """The first of them, ``dataset.BAD_RECORDS_KEPT`` at most."""
    duplicates: int
    """Exact repeats that were left out, so that none lies in two splits."""
    cutoff_len: int
    """Most tokens of an example: what the user allows, or the model's context where that is less."""
    truncated: int
    """Examples cut to ``cutoff_len``."""
    tokens: int
    """Tokens of the training examples."""
    target_tokens: int
    """Those of them that the loss is taken on."""
    length_quantiles: tuple[int, int, int, int, int]
    """Least, lower quartile, median, upper quartile and greatest length of a training example in tokens."""
    rendered: str
    """One training example as the model sees it, target text between ``⟦`` and ``⟧``."""
    rendered_cut: str = ""
    """What was cut from that example, in words; empty where nothing was."""
    ends_lost: int = 0
    """Answers that were cut short or off, and so lost their stop token."""
    reasons: tuple[LeftOut, ...] = ()
    """Why records were left out, the most frequent reason first."""
    shortened: LeftOut | None = None
    """Conversations whose last turns were cut off, since no answer follows them; None if there are none."""
    columns: tuple[ColumnUse, ...] = ()
    """Every column of the files."""
    endings: Endings = dataclasses.field(default_factory=Endings)
    """How its answers end."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSummary:
    """What the base model is."""

    name_or_path: str
    """As the user gave it."""
    revision: str | None
    """The Hub's commit, None for a folder."""
    architecture: str
    """Its class in Transformers, such as ``LlamaForCausalLM``."""
    parameters: int
    """Number of its weights."""
    vocab_size: int
    """Size of its vocabulary."""
    device: str
    """Where it trains, such as ``cpu`` or ``cuda:0``."""
    device_name: str
    """The device in words."""
    files: dict[str, str] = dataclasses.field(default_factory=dict)
    """SHA-256 of each file that its numbers depend on, by name; empty in a study of before."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryFacts:
    """What a worker holds."""

    base_bytes: int
    """Weights of the base model, once per worker."""
    slot_bytes: int
    """Bytes of one more slot (its row, its moments, its activations): estimated, on a GPU measured."""
    available_bytes: int
    """Memory of the device that a worker may take, its own process included, before anything is loaded."""
    slots_max: int
    """Slots that fit."""
    worker_bytes: int = 0
    """What a worker holds beside the base model and its slots: libraries, data, a chunk at the head; on a
    GPU what of it lies there. 0 in studies made before it was counted."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What ``prepare`` found; stored with the study."""

    geometry: Geometry
    """Shapes of every computation."""
    budget: Budget
    """What a trial is given."""
    data: DataSummary
    """What became of the data."""
    model: ModelSummary
    """What the base model is."""
    memory: MemoryFacts
    """What a worker holds."""
    base_loss: float
    """The base model's loss on the final evaluation set."""
    base_losses: tuple[float, ...]
    """``[final_eval_examples]`` its summed loss on each example."""
    eval_tokens: tuple[int, ...]
    """``[final_eval_examples]`` target tokens of each example of the final evaluation set."""
    rows_per_second: float
    """Training examples per second of one worker with all its slots in use, measured over a few ticks."""
    environment: dict[str, str]
    """Versions of Python, torch, transformers, peft; the processor's instruction set; the platform."""
    slots: int
    """K that was settled on."""
    notes: tuple[str, ...] = ()
    """What of model and device the user should know, a sentence each."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlotProgress:
    """Where one trial stands inside a quantum."""

    trial: int
    """The trial's number."""
    examples: int
    """Training examples seen so far."""
    train_loss: float
    """Mean loss over the target tokens of the quantum so far; may be NaN."""
    learning_rate: float
    """That of the last optimizer step."""
    grad_norm: float
    """Norm of the last gradient before clipping; may be NaN."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """A sign of life inside a quantum, about twice a second."""

    slots: tuple[SlotProgress, ...]
    """Every trial in the worker."""
    phase: str
    """``train`` or ``eval``."""
    tokens_per_second: float
    """Real tokens of all its trials."""
    memory_bytes: int
    """Peak memory so far."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlotResult:
    """What one trial did in a quantum."""

    trial: int
    """The trial's number."""
    quantum: int
    """1 to 8: this many quanta are now done."""
    examples: int
    """Training examples seen so far."""
    train_loss: float
    """Mean loss over the quantum's target tokens; may not be finite."""
    learning_rate: float
    """That of the last optimizer step."""
    grad_norm: float
    """Mean norm of the gradient before clipping; may not be finite."""
    eval_losses: tuple[float, ...] | None
    """``[n]`` summed loss on each example of the evaluation set; None where no evaluation was due."""
    diverged: str | None
    """Why the trial cannot go on, such as ``the loss became NaN at example 384``; else None."""
    checkpoint: str | None
    """Path of the file that was written, synced and renamed; None for a diverged trial."""
    tokens: int
    """Real tokens it was trained on in this quantum."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Done:
    """A quantum has ended for every trial in the worker."""

    results: tuple[SlotResult, ...]
    """One for each trial."""
    seconds: float
    """How long the quantum took."""
    memory_bytes: int
    """Peak memory."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlotFailed:
    """A trial could not be taken up, such as one whose checkpoint is unreadable; the others go on."""

    trial: int
    """The trial's number."""
    reason: str
    """What is wrong."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkerFailed:
    """The worker is gone, and every trial in it stands where its last checkpoint left it."""

    reason: str
    """How it ended: an exit code, a signal, or its own last words."""
    out_of_memory: bool = False
    """Whether memory ran out."""
    storage: bool = False
    """Whether it could not write its checkpoints: no trial is to blame, and no restart helps."""
    killed: bool = False
    """Whether another process ended it, by a signal that a program does not send itself."""


Event = Progress | Done | SlotFailed | WorkerFailed


class Worker(Protocol):
    """A place where K trials train at once.

    Calls return at once, save for ``prepare``; what happens is heard from ``poll``.
    """

    def prepare(self, config: ObjectiveConfig) -> Facts:
        """Load data and model, check that they can be packed, and report what was found.

        Raises the ``DataError``, ``ModelError`` or ``BudgetError`` that the worker met, or
        ``WorkerError`` where it died.
        """

    def add(
        self, trial: int, params: LoraParams, *, seed: int, attempt: int, resume_from: Path | None
    ) -> None:
        """Put a trial into a free slot, from the start or from a checkpoint."""

    def start(self, save_to: Path) -> None:
        """Begin a quantum for every trial inside; checkpoints go to ``save_to``, made if missing.

        Their names are those of ``checkpoint_name``.
        """

    def poll(self, timeout: float) -> Event | None:
        """Return what happened next, or None after ``timeout`` seconds without news."""

    def remove(self, trial: int) -> None:
        """Free the slot of a trial; only between quanta."""

    def close(self) -> None:
        """End the worker, in the middle of a quantum if need be; never raises."""


def says_out_of_memory(words: str) -> bool:
    """Return whether an error's words are those of an allocator that has nothing left.

    >>> says_out_of_memory("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes")
    True
    """
    known = (
        "can't allocate memory",
        "cannot allocate memory",
        "not enough memory",
        "out of memory",
        "status_alloc_failed",
        "bad_alloc",
        "failed to map segment from shared object",
        "can't start new thread",
        "error return without exception set",  # an extension that could not even allocate its exception
    )
    return any(text in words.lower() for text in known)


def checkpoint_name(trial: int, quantum: int, attempt: int) -> str:
    """Return the file name of a training state; no two ever share one."""
    return f"trial-{trial:05d}-q{quantum}-a{attempt}.safetensors"


def to_json(value: Any) -> Any:
    """Return a value of this module as plain dictionaries and lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    return value
