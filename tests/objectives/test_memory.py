import dataclasses

import pytest
from loratune.objectives import memory
from loratune.objectives.memory import (
    ModelShape,
    activation_bytes,
    head_bytes,
    row_bytes,
    row_parameters,
    slot_bytes,
    slots_that_fit,
)

QWEN = ModelShape(
    hidden_size=1024, intermediate_size=3072, layers=28, heads=16, vocab_size=151_936, dtype_bytes=2
)


def of(shape=QWEN, length=512, **other):
    return activation_bytes(shape, length, **{"rows": 4, "rank_max": 64} | other)


def test_a_row_holds_a_and_b_of_every_layer_four_times():
    # rank 8 on a 64 -> 172 layer: A is 8 x 64, B is 172 x 8.
    assert row_parameters([(64, 172)], 8) == 8 * 64 + 172 * 8
    assert row_bytes(1000) == 16_000


def test_one_block_by_hand():
    shape = ModelShape(hidden_size=10, intermediate_size=20, layers=1, heads=2, vocab_size=50, dtype_bytes=4)
    per_token = 4 * 2 * 10 + 4 * (8 * 10 + 4 * 20) + 4 * 8 * 7
    assert (
        memory.layer_bytes(shape, 3, rank_max=8, targets_per_layer=7, dropout=False, eager=False)
        == 3 * per_token
    )
    assert activation_bytes(shape, 3, rows=2, rank_max=8) == 2 * (2 * 3 * per_token + 3 * 4 * 10 * 3)


def test_activations_grow_with_rows_and_length_and_blocks():
    assert of(rows=8) == 2 * of(rows=4)
    assert of(length=1024) == 2 * of(length=512)
    assert of(dataclasses.replace(QWEN, layers=56)) > 1.9 * of()


def test_checkpointing_saves_most_of_a_deep_model():
    assert of(checkpointing=True) < of() / 5


def test_eager_attention_and_dropout_cost_more():
    assert of(eager=True) > of()
    assert of(eager=True, length=1024) > 2 * of(eager=True, length=512)
    assert of(dropout=True) > of()


def test_the_head_costs_by_positions_and_vocabulary():
    assert head_bytes(QWEN, 16) == 16 * 151_936 * 14


def test_a_slot_is_its_row_and_its_activations():
    assert slot_bytes(1000, 5) == 16_005


@pytest.mark.parametrize(
    ("available", "base", "per_slot", "slots"),
    [(100, 10, 20, 4), (100, 10, 81, 0), (100, 10, 80, 1), (100, 95, 1, 0), (0, 0, 0, 0)],
)
def test_slots_fit_beside_the_base_with_a_tenth_left_free(available, base, per_slot, slots):
    assert slots_that_fit(available, base, per_slot) == slots
