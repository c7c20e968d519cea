"""The pack is PEFT: eight trials in one pack against eight runs of the reference, model by model."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_packs
import torch
import transformers
from loratune.errors import ModelError
from loratune.objectives.base import Done, SlotResult
from loratune.objectives.testing.reference import Reference, ReferenceStep, run_reference
from loratune.objectives.training import checkpoint, session
from loratune.objectives.training.evaluation import EvalSet
from loratune.objectives.training.model import BaseModel, hold
from loratune.objectives.training.pack import Pack
from loratune.objectives.training.selfcheck import check_pack
from loratune.objectives.training.stream import micro_step_lengths
from loratune.objectives.training.targets import has_experts, resolve_targets
from loratune.spaces.params import LoraParams
from loratune.study.budget import ROUNDS, Budget
from loratune.study.checkpoint_format import checkpoint_name
from loratune.study.facts import Answers, Geometry

SHAPE: dict[str, Any] = {
    **tiny_packs.SHAPE,
    "vocab_size": 96,
    "initializer_range": 0.15,
    "pad_token_id": 0,
}
GEMMA3_TEXT = {**SHAPE, "head_dim": 8, "sliding_window": 8}
GEMMA3_VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
GPT2_SHAPE = {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
CONFIGS = {
    "llama": lambda: transformers.LlamaConfig(**SHAPE),
    "qwen2": lambda: transformers.Qwen2Config(**SHAPE),
    "qwen3": lambda: transformers.Qwen3Config(**SHAPE, head_dim=8),
    "mistral": lambda: transformers.MistralConfig(**SHAPE, sliding_window=8),
    "gemma": lambda: transformers.GemmaConfig(**SHAPE, head_dim=8),
    "phi3": lambda: transformers.Phi3Config(**SHAPE),
    "gpt2": lambda: transformers.GPT2Config(**GPT2_SHAPE, initializer_range=0.15),
    "mixtral": lambda: transformers.MixtralConfig(**SHAPE, num_local_experts=4),
    "gemma3 with a vision tower": lambda: transformers.Gemma3Config(
        text_config=GEMMA3_TEXT, vision_config=GEMMA3_VISION, mm_tokens_per_image=4
    ),
}
BUDGET = Budget(
    micro_batch=2, round_examples=8, batch_sizes=(2, 4, 8), eval_examples=5, final_eval_examples=11
)
SEED = 3
RANK_GROUPS = (16, 32)


def make_base(name: str, config: Any, attention: str = "sdpa") -> BaseModel:
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    return hold(model, torch.device("cpu"), torch.float32, name_or_path=name)


ATTENTION = "q_proj,k_proj,v_proj,o_proj"


def make_geometry(base: BaseModel, lengths: Any, target: str = "") -> Geometry:
    target = target or (ATTENTION if has_experts(base.model) else "all")
    return Geometry(
        rank_max=RANK_GROUPS[-1],
        micro_step_lengths=micro_step_lengths(lengths, BUDGET, SEED),
        eval_rows=4,
        targets=resolve_targets(base.model, [target]),
        dtype="float32",
        attn_implementation="sdpa",
        gradient_checkpointing=False,
        rank_groups=RANK_GROUPS,
    )


def make_trials(geometry: Geometry) -> dict[str, LoraParams]:
    """Eight trials that differ in everything a space can vary; two of them too fast to be stable.

    Over a whole trial those drift from the reference by rounding alone, by up to a percent. Past these rates
    a gradient is so ill-conditioned that float32 itself no longer knows it to five digits.
    """
    names = sorted({layer.rpartition(".")[2] for layer in geometry.targets})
    plain = LoraParams(learning_rate=1e-3, batch_size=4, lora_rank=4, lora_alpha=8.0, warmup_ratio=0.1)

    def trial(**changes: object) -> LoraParams:
        return LoraParams.from_dict({**plain.to_dict(), **changes})

    return {
        "plain": plain,
        "rank 1, linear": trial(batch_size=2, lora_rank=1, lora_alpha=1.5, lr_scheduler_type="linear"),
        "dropout": trial(batch_size=4, lora_dropout=0.25, lr_scheduler_type="constant_with_warmup"),
        "loraplus": trial(lora_rank=3, loraplus_lr_ratio=4.0, warmup_ratio=0.0, learning_rate=5e-4),
        "one target, rslora": trial(
            batch_size=8, lora_rank=8, lora_target=names[1], warmup_ratio=0.3, use_rslora=True
        ),
        "unstable": trial(learning_rate=0.05, batch_size=2, lora_rank=16, lora_alpha=16.0),
        "unstable, all else": trial(
            learning_rate=0.02,
            lora_rank=7,
            lora_alpha=7.0,
            lora_dropout=0.5,
            weight_decay=0.1,
            lr_scheduler_type="linear",
            loraplus_lr_ratio=8.0,
        ),
        # Of another rank group, and so the last row of its pack.
        "decay, two targets": trial(
            batch_size=8, lora_rank=24, weight_decay=0.3, lora_target=f"{names[0]},{names[-1]}"
        ),
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class PackStep:
    """The first optimizer step of a trial after a round's end, as the pack took it."""

    losses: tuple[float, ...]
    learning_rate: float
    gradient: dict[str, torch.Tensor]
    update: dict[str, torch.Tensor]


class Recorder:
    """Watches a session's pack: micro-batch losses and the first steps after each round's end."""

    def __init__(self, pack: Pack, trials: list[LoraParams], monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: dict[tuple[int, int], PackStep] = {}
        self._pack, self._trials = pack, trials
        self._pending: list[list[float]] = [[] for _ in trials]
        self._accumulate, self._adamw = pack.accumulate, session.adamw
        monkeypatch.setattr(pack, "accumulate", self.accumulate)
        monkeypatch.setattr(session, "adamw", self.adamw)

    def accumulate(self, batch: Any, dropout: Any, rows: slice) -> torch.Tensor:
        losses = self._accumulate(batch, dropout, rows)
        for row, own in enumerate(losses.sum(dim=1).tolist(), rows.start):
            self._pending[row].append(own)
        return losses

    def adamw(
        self, params: Any, grads: Any, exp_avgs: Any, exp_avg_sqs: Any, steps: Any, **kwargs: Any
    ) -> None:
        before = self._pack.params.clone()
        self._adamw(params, grads, exp_avgs, exp_avg_sqs, steps, **kwargs)
        width = self._pack.layout.width
        for own, step in zip(params, steps, strict=True):
            row = own.storage_offset() // width
            losses, self._pending[row] = tuple(self._pending[row]), []
            trial = self._trials[row]
            rounds, rest = divmod((step.number - 1) * trial.batch_size, BUDGET.round_examples)
            if rest == 0:
                self.steps[row, rounds] = PackStep(
                    losses=losses,
                    learning_rate=step.learning_rate,
                    gradient=self._named(self._pack.grads[row], trial),
                    update=self._named(self._pack.params[row] - before[row], trial),
                )

    def _named(self, row: torch.Tensor, trial: LoraParams) -> dict[str, torch.Tensor]:
        named = {}
        for layer in self._pack.layout.live(trial):
            named[f"{layer.name}.lora_A"] = self._pack.layout.a(row, layer)[: trial.lora_rank].clone()
            named[f"{layer.name}.lora_B"] = self._pack.layout.b(row, layer)[:, : trial.lora_rank].clone()
        return named


def make_session(
    base: BaseModel, data: Any, geometry: Geometry, slots: int, monkeypatch: pytest.MonkeyPatch
) -> session.Session:
    prepared = SimpleNamespace(
        facts=SimpleNamespace(
            budget=BUDGET,
            geometry=geometry,
            data=SimpleNamespace(fingerprint="made up"),
            answers=Answers(),
            pass_tokens=0,
        ),
        base=base,
        data=data,
        pack=Pack(base, geometry, slots),
        eval_sets={
            size: EvalSet(data.validation, size, geometry.eval_rows, base.device)
            for size in (BUDGET.eval_examples, BUDGET.final_eval_examples)
        },
    )
    monkeypatch.setattr(session, "prepare", lambda _config: prepared)
    return session.Session(
        SimpleNamespace(max_grad_norm=1.0, stopping=None, metric="loss", geometry=geometry)
    )


def distance(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    """Relative distance of two sets of tensors, taken as one vector each."""
    assert ours.keys() == theirs.keys()
    one = torch.cat([ours[name].flatten() for name in theirs]).double()
    other = torch.cat([theirs[name].flatten() for name in theirs]).double()
    size = float(other.norm())
    return float((one - other).norm()) / size if size else float(one.norm())


def assert_same_update(
    ours: dict[str, torch.Tensor], step: ReferenceStep, state: dict[str, torch.Tensor], where: str
) -> None:
    """To 1e-5, and to what rounding the weights to float32 leaves of a small step on them.

    Adam moves an entry by its gradient over its size, so one whose gradient is rounding noise goes a
    full step in any direction; such entries are few, and left out.
    """
    errors, sizes, weights, kept = [], [], [], []
    for name, update in step.update.items():
        gradient = step.gradient[name].abs()
        known = gradient >= 1e-4 * gradient.max()
        kept.append(known.flatten())
        errors.append(float((ours[name] - update)[known].norm()))
        sizes.append(float(update.norm()))
        weights.append(float(state[f"params/{name}"].norm()))
    assert torch.cat(kept).float().mean() > 0.7, where
    assert math.hypot(*errors) <= 1e-5 * math.hypot(*sizes) + 2.0**-23 * math.hypot(*weights), where


def train(
    packed: session.Session, trials: dict[int, LoraParams], folder: Path
) -> list[dict[int, SlotResult]]:
    """Train trials from start to end; return what each round said of each of them."""
    for number, params in trials.items():
        packed.add(number, params, seed=SEED, attempt=0)
    results = []
    for _ in range(ROUNDS):
        *_, done = packed.train_round(folder)
        assert isinstance(done, Done)
        results.append({result.trial: result for result in done.results})
    packed.close()
    return results


@pytest.mark.parametrize("name", CONFIGS)
def test_eight_trials_in_one_pack_are_eight_trials_of_peft(
    name: str, random_data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = random_data(train=61, validation=11, vocab=96)
    base = make_base(name, CONFIGS[name]())
    geometry = make_geometry(base, data.train.lengths)
    trials = make_trials(geometry)
    packed = make_session(base, data, geometry, len(trials), monkeypatch)
    recorder = Recorder(packed._pack, list(trials.values()), monkeypatch)
    results = train(packed, dict(enumerate(trials.values())), tmp_path)

    for number, (label, params) in enumerate(trials.items()):
        given = {"seed": SEED, "budget": BUDGET, "geometry": geometry}
        if not label.startswith("unstable"):
            theirs = run_reference(base, data, params, **given)
            for round_number, result in enumerate(results, start=1):
                own = result[number]
                assert own.train_loss == pytest.approx(theirs.train_losses[round_number - 1], rel=1e-4), label
                assert (own.eval_losses is None) == (round_number not in theirs.eval_losses)
                if own.eval_losses is not None:
                    torch.testing.assert_close(
                        torch.tensor(own.eval_losses), theirs.eval_losses[round_number], rtol=1e-4, atol=1e-4
                    )
        oracle = Reference(base, data, params, **given)
        for rounds in range(ROUNDS):
            if rounds:
                path = tmp_path / checkpoint_name(number, rounds, 0)
                oracle.load(checkpoint.read(path, {})[0], rounds)
            step, own_step = oracle.step(), recorder.steps[number, rounds]
            where = f"{label}, after round {rounds}"
            assert own_step.learning_rate == pytest.approx(step.learning_rate, rel=1e-12), where
            assert own_step.losses == pytest.approx(step.losses, rel=1e-5), where
            assert distance(own_step.gradient, step.gradient) < 1e-5, where
            assert_same_update(own_step.update, step, oracle.state(), where)


@pytest.mark.parametrize("name", sorted(CONFIGS.keys() - {"mixtral"}))
def test_a_trial_alone_ends_with_the_same_bits(
    name: str, random_data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = random_data(train=61, validation=11, vocab=96)
    base = make_base(name, CONFIGS[name]())
    geometry = make_geometry(base, data.train.lengths)
    check_pack(base, geometry)
    trials = make_trials(geometry)
    chosen = {5: trials["dropout"]}
    beside = dict(enumerate([trials["unstable"], trials["decay, two targets"]])) | chosen
    *_, alone = train(make_session(base, data, geometry, 1, monkeypatch), chosen, tmp_path / "alone")
    *_, among = train(make_session(base, data, geometry, 3, monkeypatch), beside, tmp_path / "among")
    assert alone[5].eval_losses == among[5].eval_losses
    assert alone[5].train_loss == among[5].train_loss
    last = checkpoint_name(5, ROUNDS, 0)
    one, other = (checkpoint.read(tmp_path / run / last, {})[0] for run in ("alone", "among"))
    assert one.keys() == other.keys()
    for key, tensor in one.items():
        assert torch.equal(tensor, other[key]), key


REFUSED = {
    "gemma2": (lambda: transformers.Gemma2Config(**SHAPE, head_dim=8), "a soft cap or a scale"),
    "cohere": (lambda: transformers.CohereConfig(**SHAPE), "a soft cap or a scale"),
    "granite": (lambda: transformers.GraniteConfig(**SHAPE, logits_scaling=8.0), "a soft cap or a scale"),
    "mixtral": (CONFIGS["mixtral"], "its experts gather the tokens of all trials"),
    "bert": (lambda: transformers.BertConfig(**SHAPE), "does not read the decoder's last hidden states"),
    "opt": (
        lambda: transformers.OPTConfig(
            vocab_size=96,
            hidden_size=32,
            ffn_dim=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            word_embed_proj_dim=32,
        ),
        "fc1 does not receive all rows in order",
    ),
    "mamba": (
        lambda: transformers.MambaConfig(vocab_size=96, hidden_size=32, num_hidden_layers=2, state_size=4),
        "is never called",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_pack_would_train_wrongly_is_refused_in_one_line(name: str, random_data: Any) -> None:
    config, why = REFUSED[name]
    data = random_data(train=61, validation=11, vocab=96)
    base = make_base(f"some/{name}", config(), attention="eager")
    with pytest.raises(ModelError, match=why) as caught:
        check_pack(base, make_geometry(base, data.train.lengths))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"some/{name}: ")


def test_a_layer_that_cannot_be_packed_can_be_left_out(random_data: Any) -> None:
    data = random_data(train=61, validation=11, vocab=96)
    base = make_base("some/opt", REFUSED["opt"][0]())
    check_pack(base, make_geometry(base, data.train.lengths, "q_proj,v_proj"))
