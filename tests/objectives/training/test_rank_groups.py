"""A trial is computed to the group of its own rank: what it costs and its last bits follow from that."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loratune.objectives.training import pack as packing
from loratune.objectives.training.batches import collate, repeated
from loratune.objectives.training.layout import RowLayout, RunViews
from loratune.objectives.training.pack import Pack
from loratune.objectives.training.rank_groups import Run, group_of, rank_groups, runs
from loratune.objectives.training.update import Dropout
from tiny_packs import BASE, VOCAB, make_geometry, make_params, make_split, shake

SLOTS = 6


@pytest.fixture(name="pack")
def make_pack():
    pack = grouped()
    yield pack
    pack.close()


def grouped(groups: tuple[int, ...] = (16, 32, 40)) -> Pack:
    return Pack(BASE, dataclasses.replace(make_geometry(rank_max=40), rank_groups=groups), SLOTS)


def put(pack: Pack, specs: Sequence[tuple[int, int]]) -> None:
    """Add trials of these ranks and seeds."""
    for rank, seed in specs:
        params = make_params(lora_rank=rank, lora_alpha=float(rank))
        shake(pack, pack.add(params, seed), params, seed)


def micro_step(pack: Pack, specs: Sequence[tuple[int, int]]) -> list[tuple[torch.Tensor, ...]]:
    """Losses, gradients and losses without gradients of each trial."""
    batch = repeated(collate(make_split([4, 2], [16, 11]), [np.array([0, 1])], 16, BASE.device), len(specs))
    dropout = [Dropout(p=0.3, seed=seed, position=0) if seed == 2 else None for _, seed in specs]
    pack.grads.zero_()
    trained = pack.accumulate(batch, dropout)
    measured = pack.losses(batch, slice(0, len(specs)))
    return [
        (trained[row].clone(), pack.grads[row].clone(), measured[row].clone()) for row in range(len(specs))
    ]


def same(one: tuple[torch.Tensor, ...], other: tuple[torch.Tensor, ...]) -> bool:
    return all(first.equal(second) for first, second in zip(one, other, strict=True))


def test_groups_double_from_sixteen_to_the_highest_rank() -> None:
    assert rank_groups(64) == (16, 32, 64)
    assert rank_groups(40) == (16, 32, 40)
    assert rank_groups(16) == (16,)
    assert rank_groups(8) == (8,)
    assert [group_of(rank, (16, 32, 40)) for rank in (1, 16, 17, 33, 40)] == [16, 16, 32, 40, 40]


def test_neighbours_of_one_group_are_one_run_on_a_cpu_and_all_are_one_on_a_gpu() -> None:
    groups = [16, 16, 40, 16, 32, 40]
    assert runs(groups, slice(1, 5), together=False) == (
        Run(start=1, stop=2, rank=16),
        Run(start=2, stop=3, rank=40),
        Run(start=3, stop=4, rank=16),
        Run(start=4, stop=5, rank=32),
    )
    assert runs(groups, slice(0, 2), together=False) == (Run(start=0, stop=2, rank=16),)
    assert runs(groups, slice(3, 5), together=True) == (Run(start=3, stop=5, rank=32),)


@given(
    st.lists(
        st.tuples(st.sampled_from([1, 2, 3, 4, 7, 8, 12, 16, 20, 40]), st.integers(0, 3)),
        min_size=2,
        max_size=SLOTS,
    ),
    st.randoms(use_true_random=False),
)
@settings(max_examples=40, deadline=None)
def test_trials_of_any_ranks_in_any_order_are_each_the_trial_alone_bit_for_bit(specs, random) -> None:
    # Groups below 16 as well, whose products round otherwise: to another group it would be other bits.
    pack = grouped((2, 4, 8, 16, 40))
    try:
        alone = []
        for spec in specs:
            put(pack, [spec])
            alone += micro_step(pack, [spec])
            pack.remove(0)
        put(pack, specs)
        among = micro_step(pack, specs)
        # Some moved, by hand and by group.
        kinds = [random.randrange(2) for _ in specs]
        order = pack.arrange(kinds)
        moved = micro_step(pack, [specs[row] for row in order])
    finally:
        pack.close()
    assert [kinds[row] for row in order] == sorted(kinds)
    for row, own in enumerate(alone):
        assert same(own, among[row])
        assert same(own, moved[order.index(row)])
        assert not own[0].equal(torch.zeros_like(own[0]))


def test_no_trial_pays_for_a_higher_rank_than_its_groups(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    ranks: list[tuple[int, int]] = []
    multiply = torch.bmm

    def noted(left: torch.Tensor, right: torch.Tensor, **rest: torch.Tensor) -> torch.Tensor:
        product = multiply(left, right, **rest)
        if not rest:  # what goes through a rank; what comes out of it is written in its place
            ranks.append((len(product), product.shape[-1]))
        return product

    monkeypatch.setattr(packing.torch, "bmm", noted)
    put(pack, [(4, 0), (12, 1), (40, 2), (20, 3)])
    micro_step(pack, [(4, 0), (12, 1), (40, 2), (20, 3)])
    assert set(ranks) == {(2, 16), (1, 40), (1, 32)}
    pack.remove(2)
    assert pack.groups == [16, 16, 32, 40, 40, 40], "a free row counts as the highest"


def test_rows_that_move_take_their_group_along_and_one_that_is_freed_gives_it_up(pack: Pack) -> None:
    put(pack, [(40, 0), (4, 1), (20, 2), (8, 3)])
    assert pack.groups[:4] == [40, 16, 32, 16]
    assert pack.arrange([0, 0, 0, 0]) == [1, 3, 2, 0]
    assert pack.groups[:4] == [16, 16, 32, 40]
    assert pack.remove(0) == 3
    assert pack.groups[:4] == [40, 16, 32, 40]
    assert pack.add(make_params(lora_rank=2), 0) == 3
    assert pack.groups[:4] == [40, 16, 32, 16]


def test_all_of_a_row_moves(pack: Pack) -> None:
    put(pack, [(40, 0), (4, 1), (20, 2)])
    for number, rows in enumerate((pack.grads, pack.exp_avg, pack.exp_avg_sq)):
        rows[:3] = torch.arange(3.0)[:, None] + 10 * number
    weights, scales = pack.params.clone(), pack.scales.clone()
    order = pack.arrange([2, 1, 0])
    assert order == [2, 1, 0]
    for row, before in enumerate(order):
        assert pack.params[row].equal(weights[before])
        assert pack.scales[row] == scales[before]
        for number, rows in enumerate((pack.grads, pack.exp_avg, pack.exp_avg_sq)):
            assert (rows[row] == before + 10 * number).all()


def test_a_study_of_before_computes_every_trial_to_the_highest_rank() -> None:
    pack = Pack(BASE, make_geometry(rank_max=40), SLOTS)
    put(pack, [(4, 0), (40, 1), (20, 2)])
    assert pack.groups == [40] * SLOTS
    pack.close()


def test_what_a_product_may_not_touch_stays_zero(pack: Pack) -> None:
    specs = [(4, 0), (33, 1), (17, 3)]
    put(pack, specs)
    micro_step(pack, specs)
    for row, (rank, _) in enumerate(specs):
        for layer in pack.layout.layers:
            a, b = pack.layout.a(pack.grads[row], layer), pack.layout.b(pack.grads[row], layer)
            assert a[:rank].any()
            assert b[:, :rank].any()
            assert not a[rank:].any()
            assert not b[:, rank:].any()


def test_gradients_of_every_group_are_those_of_plain_autograd(pack: Pack) -> None:
    specs = [(36, 1), (4, 0), (24, 3)]
    put(pack, specs)
    found = micro_step(pack, specs)
    weights, scales, layout = pack.params.clone(), pack.scales.clone(), pack.layout
    pack.close()
    batch = collate(make_split([4, 2], [16, 11]), [np.array([0, 1])], 16, BASE.device)
    for row, (rank, _) in enumerate(specs):
        own = weights[row].requires_grad_(True)

        def plain(layer, own=own, scale=scales[row]):
            return lambda _module, args, output: (
                output + scale * (args[0] @ layout.a(own, layer).T @ layout.b(own, layer).T)
            )

        hooks = [BASE.model.get_submodule(it.name).register_forward_hook(plain(it)) for it in layout.layers]
        logits = BASE.model(input_ids=batch.tokens).logits.reshape(-1, VOCAB)[batch.supervised.positions]
        losses = torch.nn.functional.cross_entropy(logits, batch.supervised.labels, reduction="none")
        (expected,) = torch.autograd.grad(losses.sum(), own)
        for hook in hooks:
            hook.remove()
        summed = torch.zeros(2).index_add_(0, batch.supervised.rows, losses.detach())
        torch.testing.assert_close(found[row][0], summed, rtol=1e-5, atol=1e-5)
        for layer in layout.layers:
            for view, cut in ((layout.a, slice(0, rank)), (layout.b, (slice(None), slice(0, rank)))):
                torch.testing.assert_close(
                    view(found[row][1], layer)[cut], view(expected, layer)[cut], rtol=2e-4, atol=2e-6
                )


def test_views_are_made_once_for_rows_that_stay(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[RunViews] = []
    make = RowLayout.run

    def noted(*given: Any) -> RunViews:
        made.append(make(*given))
        return made[-1]

    monkeypatch.setattr(RowLayout, "run", noted)
    specs = [(4, 0), (4, 1), (20, 2)]
    put(pack, specs)
    for _ in range(3):
        micro_step(pack, specs)
    assert len(made) == 2 * len(pack.layout.layers)
    pack.arrange([1, 1, 0])
    micro_step(pack, [specs[2], *specs[:2]])
    assert len(made) == 4 * len(pack.layout.layers)
