"""The pack: a trial is a row, sees no neighbour, and computes what PEFT computes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loratune.objectives.training import head as head_module
from loratune.objectives.training.batches import Batch, Supervised, collate, repeated
from loratune.objectives.training.head import head_loss
from loratune.objectives.training.model import hold
from loratune.objectives.training.pack import Pack
from loratune.objectives.training.recomputing import recompute_activations
from loratune.objectives.training.update import Dropout
from tiny_packs import BASE, VOCAB, make_base, make_geometry, make_params, make_split, shake

torch.set_num_threads(1)


@pytest.fixture(name="pack")
def make_pack():
    pack = Pack(BASE, make_geometry(), slots=8)
    yield pack
    pack.close()


def test_a_fresh_trial_computes_as_the_base_model_does(pack: Pack) -> None:
    split = make_split([3, 5], [12, 16])
    pack.add(make_params(), seed=0)
    batch = collate(split, [np.array([0, 1])], 16, BASE.device)
    losses = pack.losses(batch, slice(0, 1))[0]
    for index in range(2):
        ids, target = split.example(index)
        labels = torch.from_numpy(np.where(target, ids, -100).astype(np.int64))[None]
        tokens = torch.from_numpy(ids.astype(np.int64))[None]
        theirs = BASE.model(input_ids=tokens, labels=labels).loss * int(target.sum())
        assert float(losses[index]) == pytest.approx(float(theirs), rel=1e-5)


def test_gradients_are_those_of_plain_autograd() -> None:
    params = make_params(lora_rank=3, lora_alpha=6.0)
    split = make_split([4, 2], [16, 11])
    batch = collate(split, [np.array([0, 1])], 16, BASE.device)
    pack = Pack(BASE, make_geometry(), slots=2)
    pack.add(make_params(lora_rank=8), seed=9)
    row = pack.add(params, seed=1)
    shake(pack, 0, make_params(lora_rank=8), seed=3)
    shake(pack, row, params)
    pack.accumulate(repeated(batch, 2), [None, None])
    ours, weights, layout = pack.grads[row].clone(), pack.params[row].clone(), pack.layout
    pack.close()

    weights.requires_grad_(True)

    def plain(layer):
        return lambda _module, args, output: (
            output + params.scaling * (args[0] @ layout.a(weights, layer).T @ layout.b(weights, layer).T)
        )

    hooks = [BASE.model.get_submodule(it.name).register_forward_hook(plain(it)) for it in layout.layers]
    logits = BASE.model(input_ids=batch.tokens).logits.reshape(-1, VOCAB)
    own = batch.supervised
    torch.nn.functional.cross_entropy(logits[own.positions], own.labels, reduction="sum").backward()
    for hook in hooks:
        hook.remove()
    live = torch.zeros_like(weights, dtype=torch.bool)
    for layer in layout.layers:
        layout.a(live, layer)[:3] = True
        layout.b(live, layer)[:, :3] = True
    torch.testing.assert_close(ours[live], weights.grad[live], rtol=2e-4, atol=2e-6)
    assert not ours[~live].any()


def test_what_a_trial_does_not_train_stays_exactly_zero(pack: Pack) -> None:
    params = make_params(lora_rank=2, lora_target="q_proj,down_proj")
    row = pack.add(params, seed=1)
    shake(pack, row, params)
    batch = collate(make_split([4], [16]), [np.array([0])], 16, BASE.device)
    pack.accumulate(batch, [None])
    for layer in pack.layout.layers:
        a, b = pack.layout.a(pack.grads[row], layer), pack.layout.b(pack.grads[row], layer)
        if layer.name.endswith(("q_proj", "down_proj")):
            assert a[:2].any()
            assert b[:, :2].any()
            assert not a[2:].any()
            assert not b[:, 2:].any()
        else:
            assert not a.any()
            assert not b.any()


trials = st.fixed_dictionaries(
    {
        "rank": st.sampled_from([1, 2, 4, 8]),
        "dropout": st.sampled_from([0.0, 0.0, 0.3]),
        "target": st.sampled_from(["all", "q_proj,v_proj", "down_proj"]),
        "seed": st.integers(0, 3),
        "lengths": st.lists(st.integers(2, 16), min_size=4, max_size=4),
        "answers": st.lists(st.sampled_from([1, 1, 2, 5]), min_size=4, max_size=4),
    }
)


def joined(parts: Sequence[Batch]) -> Batch:
    """Batches of one trial each as one batch of them all."""
    rows, length = parts[0].tokens.shape
    return Batch(
        tokens=torch.cat([part.tokens for part in parts]),
        supervised=Supervised(
            positions=torch.cat([it.supervised.positions + n * rows * length for n, it in enumerate(parts)]),
            labels=torch.cat([part.supervised.labels for part in parts]),
            rows=torch.cat([part.supervised.rows + n * rows for n, part in enumerate(parts)]),
            counts=tuple(count for part in parts for count in part.supervised.counts),
        ),
        real_tokens=tuple(count for part in parts for count in part.real_tokens),
    )


def run(pack: Pack, specs: Sequence[dict], micro_batch: int) -> list[tuple[torch.Tensor, ...]]:
    """Two micro-steps and an evaluation of each trial; its losses and its gradient row."""
    splits, rows = [], []
    for spec in specs:
        params = make_params(lora_rank=spec["rank"], lora_dropout=spec["dropout"], lora_target=spec["target"])
        rows.append(pack.add(params, spec["seed"]))
        shake(pack, rows[-1], params, spec["seed"])
        answers = [
            min(count, length - 1) for count, length in zip(spec["answers"], spec["lengths"], strict=True)
        ]
        splits.append(make_split(answers, spec["lengths"], seed=spec["seed"]))
    outcomes = [[] for _ in specs]
    for micro_step in range(2):
        # One split per trial: a batch is put together by hand from one-trial batches.
        chosen = np.arange(micro_step * micro_batch, (micro_step + 1) * micro_batch) % 4
        batch = joined([collate(split, [chosen], 16, BASE.device) for split in splits])
        dropout = [
            Dropout(p=spec["dropout"], seed=spec["seed"], position=micro_step) if spec["dropout"] else None
            for spec in specs
        ]
        for outcome, losses in zip(outcomes, pack.accumulate(batch, dropout), strict=True):
            outcome.append(losses.clone())
        for outcome, losses in zip(outcomes, pack.losses(batch, slice(0, len(specs))), strict=True):
            outcome.append(losses.clone())
    for outcome, row in zip(outcomes, rows, strict=True):
        outcome.append(pack.grads[row].clone())
    for _ in specs:
        pack.remove(0)
    return [tuple(outcome) for outcome in outcomes]


@given(st.lists(trials, min_size=8, max_size=8), st.integers(0, 7), st.sampled_from([1, 2, 4]))
@settings(max_examples=40, deadline=None)
def test_a_trial_does_not_see_its_neighbours_bit_for_bit(specs, own: int, micro_batch: int) -> None:
    pack = Pack(BASE, make_geometry(), slots=8)
    try:
        among_eight = run(pack, specs, micro_batch)[own]
        alone = run(pack, [specs[own]], micro_batch)[0]
        others = [spec for index, spec in enumerate(specs) if index != own]
        last_of_three = run(pack, [others[4], others[1], specs[own]], micro_batch)[2]
    finally:
        pack.close()
    for first, second, third in zip(among_eight, alone, last_of_three, strict=True):
        assert first.equal(second)
        assert first.equal(third)


def test_trials_taken_in_parts_compute_what_all_at_once_compute_bit_for_bit(pack: Pack) -> None:
    batch = collate(make_split([4, 1], [16, 11]), [np.array([0, 1])], 16, BASE.device)
    for seed in range(5):
        params = make_params(lora_rank=1 + seed)
        shake(pack, pack.add(params, seed), params, seed)
    dropout = [None, None, Dropout(p=0.3, seed=7, position=4), None, Dropout(p=0.1, seed=8, position=0)]
    whole = pack.accumulate(repeated(batch, 5), dropout)
    gradients = pack.grads.clone()
    pack.grads.zero_()
    parts = [slice(0, 2), slice(2, 3), slice(3, 5)]
    found = [pack.accumulate(repeated(batch, it.stop - it.start), dropout[it], it) for it in parts]
    assert torch.cat(found).equal(whole)
    assert pack.grads.equal(gradients)
    assert gradients[:5].any(dim=1).all()
    assert not gradients[5:].any()


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e30])
def test_one_bad_slot_changes_nothing_in_another(pack: Pack, poison: float) -> None:
    split = make_split([4, 1], [16, 16])
    batch = collate(split, [np.array([0, 1])], 16, BASE.device)
    params = make_params()
    for seed in range(3):
        shake(pack, pack.add(params, seed), params, seed)
    healthy = pack.accumulate(repeated(batch, 3), [None] * 3)
    gradients = pack.grads.clone()
    pack.grads.zero_()
    pack.params[1] *= poison
    losses = pack.accumulate(repeated(batch, 3), [None] * 3)
    assert not torch.isfinite(losses[1]).all() or losses[1].max() > 10 * healthy[1].max()
    for row in (0, 2):
        assert losses[row].equal(healthy[row])
        assert pack.grads[row].equal(gradients[row])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_a_trial_among_eight_is_the_trial_alone_within_rounding() -> None:
    device = torch.device("cuda")
    base = hold(make_base().model.to(device), device, torch.float32, name_or_path="tiny")
    split = make_split([4, 2], [16, 9])
    batch = collate(split, [np.array([0, 1])], 16, device)
    found = []
    for trials in (8, 1):
        pack = Pack(base, make_geometry(base), slots=8)
        for seed in reversed(range(trials)):
            row = pack.add(make_params(), seed)
            for layer in pack.layout.live(make_params()):
                pack.layout.b(pack.params[row], layer).fill_(0.01 * (seed + 1))
        losses = pack.accumulate(repeated(batch, trials), [None] * trials)
        found.append((losses[-1].cpu(), pack.grads[trials - 1].cpu()))
        pack.close()
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


def test_a_removed_row_is_taken_by_the_last_one(pack: Pack) -> None:
    params = make_params()
    for seed in range(3):
        pack.add(params, seed)
    last = pack.params[2].clone()
    assert pack.remove(0) == 2
    assert pack.active == 2
    assert pack.params[0].equal(last)
    assert not pack.params[2].any()
    assert pack.scales[2] == 0
    assert pack.remove(1) is None, "the last one in use leaves no gap"
    assert pack.params[0].equal(last)


def test_recomputed_activations_give_the_same_bits() -> None:
    split = make_split([4, 2], [16, 9])
    batch = collate(split, [np.array([0, 1])], 16, BASE.device)
    found = []
    for recompute in (False, True):
        base = make_base()
        if recompute:
            recompute_activations(base)
        pack = Pack(base, make_geometry(base), slots=2)
        for seed in range(2):
            shake(pack, pack.add(make_params(), seed), make_params(), seed)
        dropout = [Dropout(p=0.2, seed=seed, position=8) for seed in range(2)]
        found.append((pack.accumulate(repeated(batch, 2), dropout), pack.grads.clone()))
        pack.close()
    assert found[0][0].equal(found[1][0])
    assert found[0][1].equal(found[1][1])


def test_the_base_model_is_untouched_when_the_pack_is_closed() -> None:
    base = make_base()
    before = {name: weight.clone() for name, weight in base.model.state_dict().items()}
    tokens = torch.arange(16)[None]
    logits = base.model(input_ids=tokens).logits
    pack = Pack(base, make_geometry(base), slots=1)
    shake(pack, pack.add(make_params(), 0), make_params())
    batch = collate(make_split([4], [16]), [np.array([0])], 16, base.device)
    pack.accumulate(batch, [None])
    assert base.model(input_ids=tokens).logits.equal(logits), "outside a pass the hooks must do nothing"
    pack.close()
    assert all(weight.equal(before[name]) for name, weight in base.model.state_dict().items())
    assert not any(weight.requires_grad for weight in base.model.parameters())


def test_the_head_works_in_chunks_as_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    split = make_split([15, 3], [16, 12])
    batch = collate(split, [np.array([0, 1]), np.array([1, 0])], 16, BASE.device)
    hidden = torch.randn(4, 16, 32)
    head = BASE.model.get_output_embeddings()
    whole = head_loss(head, hidden, batch.supervised, vocab_size=VOCAB, want_gradient=True)
    monkeypatch.setitem(head_module.CHUNK_BYTES, "cpu", 0)
    parts = head_loss(head, hidden, batch.supervised, vocab_size=VOCAB, want_gradient=True)
    torch.testing.assert_close(whole, parts)
    assert parts[1].abs().sum() > 0


def test_a_batch_for_several_is_what_collating_them_makes() -> None:
    split = make_split([4, 2, 1], [16, 11, 9])
    one, three = np.array([2, 0]), [np.array([2, 0])] * 3
    for (name, ours), (_, theirs) in zip(
        vars(repeated(collate(split, [one], 16, BASE.device), 3).supervised).items(),
        vars(collate(split, three, 16, BASE.device).supervised).items(),
        strict=True,
    ):
        assert torch.equal(torch.as_tensor(ours), torch.as_tensor(theirs)), name
