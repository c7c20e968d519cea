"""How many trials go through the base model at once changes no number of any of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loratune.objectives.training.batches import collate
from loratune.objectives.training.groups import at_once, groups
from loratune.objectives.training.pack import Pack
from loratune.objectives.training.session import Session
from loratune.objectives.training.update import Dropout
from loratune.study.budget import ROUNDS
from loratune.study.config import ObjectiveConfig
from tiny_packs import BASE, make_geometry, make_params, make_split, shake
from trained_trials import numbers, run

LENGTH = 16


@given(st.integers(0, 40), st.integers(1, 3000), st.integers(0, 9000), st.integers(0, 5))
def test_groups_hold_every_row_once_and_no_more_tokens_than_may_be(
    trials: int, tokens: int, most: int, first: int
) -> None:
    found = groups(trials, tokens, most, first)
    assert [row for rows in found for row in range(rows.start, rows.stop)] == list(
        range(first, first + trials)
    )
    sizes = [rows.stop - rows.start for rows in found]
    assert all(size == 1 or most == 0 or size * tokens <= most for size in sizes)
    assert len(set(sizes)) <= 2, "few shapes"
    assert trials == 0 or max(sizes) <= at_once(trials, tokens, most)


def test_no_limit_takes_all_at_once() -> None:
    assert groups(32, 10**6, 0) == [slice(0, 32)]


@given(
    st.lists(st.sampled_from([1, 2, 3, 5, 8]), min_size=1, max_size=7),
    st.integers(1, 7),
    st.sampled_from([1, 2]),
    st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_losses_and_gradients_are_the_same_bits_for_any_k_g_and_ranks(
    ranks: list[int], together: int, micro_batch: int, dropout: bool
) -> None:
    split = make_split([4, 1, 7, 2, 3, 5, 1], [16, 11, 9, 16, 5, 12, 8])
    pack = Pack(BASE, make_geometry(), slots=len(ranks))
    try:
        for seed, rank in enumerate(ranks):
            params = make_params(lora_rank=rank)
            shake(pack, pack.add(params, seed), params, seed)
        chosen = [(np.arange(micro_batch) + seed) % 7 for seed in range(len(ranks))]
        own = [Dropout(p=0.2, seed=seed, position=3) if dropout else None for seed in range(len(ranks))]

        def accumulate(most: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            pack.grads.zero_()
            losses, evaluated = [], []
            for rows in groups(len(ranks), micro_batch * LENGTH, most):
                batch = collate(split, chosen[rows], LENGTH, BASE.device)
                losses.append(pack.accumulate(batch, own[rows], rows))
                evaluated.append(pack.losses(batch, rows))
            return torch.cat(losses), torch.cat(evaluated), pack.grads.clone()

        for whole, parts in zip(accumulate(0), accumulate(together * micro_batch * LENGTH), strict=True):
            assert whole.equal(parts)
            assert whole.abs().sum() > 0
    finally:
        pack.close()


@pytest.mark.parametrize("pass_tokens", [1, 150])
def test_whole_trials_are_the_same_bits_in_groups(
    config: ObjectiveConfig, alone: dict, tmp_path: Path, pass_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One at a time, or two of them in the shorter micro-steps."""
    session = Session(dataclasses.replace(config, pass_tokens=pass_tokens))
    taken = []
    real = Pack.accumulate

    def watched(pack: Pack, batch: object, dropout: object, rows: slice) -> torch.Tensor:
        taken.append(rows.stop - rows.start)
        return real(pack, batch, dropout, rows)

    monkeypatch.setattr(Pack, "accumulate", watched)
    try:
        assert session.facts.pass_tokens == pass_tokens
        together = run(session, [1, 2, 3], tmp_path)
    finally:
        session.close()
    assert max(taken) < 3, "they did not go all at once"
    for trial, rounds in together.items():
        assert len(rounds) == ROUNDS
        for own, by_itself in zip(rounds, alone[trial], strict=True):
            assert numbers(own) == numbers(by_itself)
