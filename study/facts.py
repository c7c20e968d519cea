"""What a worker found when a study was made: data, model, shapes, memory; stored with the study.

Plain values; nothing here reads a file.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from typing import Any

import pydantic

from ..errors import LoratuneError, StorageError
from ..spaces.params import LoraParams
from .as_json import to_json
from .budget import Budget
from .memory import MemoryFacts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Geometry:
    """The shapes of every computation of a study; fixed when it is made, never dependent on K.

    The same geometry on the same build and instruction set gives bit-for-bit the same losses.
    """

    rank_max: int
    """Rank of the packed adapters: the largest of the space, rounded up to a multiple of 8."""
    micro_step_lengths: tuple[int, ...]
    """``[micro_steps]`` padded length in tokens of each micro-step of a round, in the order of visiting."""
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
    rank_groups: tuple[int, ...] = ()
    """Ranks that adapters are computed to, each to the least that holds its own, ascending; empty in a study
    of before, which computes all to ``rank_max``."""


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
class Endings:
    """What ends answers; of a study made before this was recorded, empty."""

    tokens: tuple[str, ...] = ()
    """Tokens that end the answers of the training examples, the most frequent first."""
    ids: tuple[int, ...] = ()
    """Their ids."""
    added: bool = False
    """Whether the model's chat template ends answers with none, so that the tokenizer's is put there."""
    inside: int = 0
    """Training examples, plain text aside, with a stop token inside an answer, as their text has it."""
    model_tokens: tuple[str, ...] = ()
    """Tokens at which the model's generation configuration stops."""
    model_ids: tuple[int, ...] = ()
    """Their ids."""
    tokenizer_token: str = ""
    """The tokenizer's end of a sequence, empty where it has none."""
    tokenizer_class: str = ""
    """Its class in Transformers."""
    chat_template: str = ""
    """A template in Jinja that writes what was trained on; empty where the tokenizer's own does."""
    prompts: int = 0
    """Made-up prompts that the template which an export carries was tried on."""
    prompts_differ: int = 0
    """Those of them that it tokenizes otherwise than in training."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSummary:
    """What became of the data."""

    format: str
    """The format that was read; of files in several, each once: ``alpaca and messages``."""
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
    """The first of them, ``left_out.BAD_RECORDS_KEPT`` of the data's room at most."""
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
    formats: tuple[str, ...] = ()
    """The format of each file to train on, where there are several; empty for one."""


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
    bits: int | None = None
    """Bits of its linear layers, where bitsandbytes quantized them; None where they are as the others."""
    adapter_features: dict[str, int] = dataclasses.field(default_factory=dict)
    """For each ``lora_target`` that may be tried, the features that go into and come out of its layers, added
    up; empty in a study of before."""

    @property
    def on_gpu(self) -> bool:
        """Whether it trains on a GPU."""
        return self.device.startswith("cuda")

    def trainable(self, params: LoraParams) -> int | None:
        """Return the weights of a trial's adapter; None where the study was not told."""
        features = self.adapter_features.get(params.lora_target)
        return None if features is None else features * params.lora_rank


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """What is known of the final evaluation set beside losses; nothing in a study of before."""

    base_correct: tuple[int, ...] = ()
    """``[final_eval_examples]`` target tokens of each example that are the base model's likeliest."""
    labels: tuple[str, ...] = ()
    """The answers, where they are a closed set of few that repeat; the most frequent first."""
    of_examples: tuple[int, ...] = ()
    """``[final_eval_examples]`` each example's answer, as its place in ``labels``."""
    texts: tuple[tuple[str, str], ...] = ()
    """``[final_eval_examples]`` the beginning of each example's prompt and of its answer."""
    base_label_losses: tuple[tuple[float, ...], ...] = ()
    """``[k, labels]`` the base model's mean loss over the tokens of each label, of the first k examples."""
    base_marks: tuple[float, ...] = ()
    """``[final_eval_examples]`` mark of what the base model writes, where the study selects by marks."""


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
    """Training examples per second of one worker with all its slots in use, over a few micro-steps."""
    environment: dict[str, str]
    """Versions of Python, torch, transformers, peft; the processor's instruction set; the platform."""
    slots: int
    """K that was settled on."""
    pass_tokens: int = 0
    """Tokens, padding included, that go through the base model at once at most, one trial's at the least; 0:
    those of all trials, as in studies made before there were groups."""
    answers: Answers = dataclasses.field(default_factory=Answers)
    """What is known of the final evaluation set's answers."""
    rates: tuple[tuple[int, float], ...] = ()
    """So many trials at once, and the examples per second with them, fewest first; empty where
    one number stands for all, as on a CPU."""
    notes: tuple[str, ...] = ()
    """What of model and device the user should know, a sentence each."""

    @property
    def gpus(self) -> int:
        """How many GPUs there were where the study was made; 1 where nobody counted them."""
        return int(self.environment.get("gpus", "1"))

    def rate(self, trials: int) -> float:
        """Return the training examples per second of one worker with so many trials at once.

        In proportion between two numbers that were measured; all slots' beyond the last.
        """
        for (fewer, slow), (more, fast) in itertools.pairwise(self.rates):
            if fewer <= trials < more:
                return slow + (fast - slow) * (trials - fewer) / (more - fewer)
        return self.rows_per_second

    def to_json(self) -> dict[str, Any]:
        """Return the facts as plain dictionaries and lists."""
        values: dict[str, Any] = to_json(self)
        # Left out where they say nothing: of one file the facts are what they always were.
        if not self.data.formats:
            del values["data"]["formats"]
        return values

    @classmethod
    def from_json(cls, values: Any) -> Facts:
        """Make facts from what ``to_json`` returned, fields of before left out; raises ``StorageError``."""
        try:
            facts = _reader().validate_python(_in_words_of_today(values))
            if not math.isfinite(facts.base_loss):
                raise ValueError(f"base_loss {facts.base_loss} is not a finite number")
        except (LoratuneError, TypeError, ValueError) as error:
            raise StorageError(
                "the stored facts cannot be read; they are damaged, which tune db check may tell, or were "
                "made by another version of loratune"
            ) from error
        return facts


_RENAMED = {"budget": {"quantum": "round_examples"}, "geometry": {"tick_lengths": "micro_step_lengths"}}
"""By part: what a field is called in studies of before, and what since."""


def _in_words_of_today(values: Any) -> Any:
    """Return stored facts with every field under its name of today; what is no such thing as it is."""
    if not isinstance(values, dict):
        return values
    renamed = dict(values)
    for part, names in _RENAMED.items():
        if isinstance(fields := values.get(part), dict):
            renamed[part] = {names.get(name, name): value for name, value in fields.items()}
    return renamed


@functools.cache
def _reader() -> pydantic.TypeAdapter[Facts]:
    return pydantic.TypeAdapter(Facts)
