import dataclasses

import pytest
from loratune.objectives.memory import (
    Load,
    ModelShape,
    backward_bytes,
    head_bytes,
    layer_bytes,
    predict,
    predict_plain,
    row_parameters,
    slots_and_groups,
)

QWEN = ModelShape(
    hidden_size=1024, intermediate_size=3072, layers=28, heads=16, vocab_size=151_936, dtype_bytes=2
)


def of(shape=QWEN, length=512, **other):
    """Return what comes and goes in the backward pass of one trial's micro-step."""
    load = Load(slots=1, together=1, length=length, **{"rows": 4, "rank": 64} | other)
    parts = predict(shape, load, weights=0, parameters=0)
    return parts.activations + parts.backward


def test_a_row_holds_a_and_b_of_every_layer():
    # rank 8 on a 64 -> 172 layer: A is 8 x 64, B is 172 x 8.
    assert row_parameters([(64, 172)], 8) == 8 * 64 + 172 * 8


def test_one_block_by_hand():
    shape = ModelShape(hidden_size=10, intermediate_size=20, layers=1, heads=2, vocab_size=50, dtype_bytes=4)
    norms = 4 * 2 * 10 + 4 * 2  # inputs, and a number a token
    inputs = 4 * (10 + 10 + 20)  # of queries, keys and values; of gate and up; of down
    attention = 4 * 4 * 10 + 4 * 2  # queries, keys, values, output; a number a token and head
    mlp = 4 * 3 * 20  # gate, activated, up
    low = 4 * 8 * 7
    load = Load(slots=1, together=1, rows=2, length=3, rank=8)
    assert layer_bytes(shape, load) == 3 * (norms + inputs + attention + mlp + low)
    # Twice the stream past the last block; on the way back six norms' worth, which is more than the MLP's.
    assert of(shape, 3, rows=2, rank=8) == 2 * (layer_bytes(shape, load) + 3 * 4 * (2 * 10 + 6 * 10))


def test_a_fused_norm_keeps_its_input_as_it_is_and_holds_less_on_the_way_back():
    load = Load(slots=1, together=1, rows=1, length=512, rank=8)
    fused = dataclasses.replace(QWEN, fused_norms=True)
    # Two norms a block, of which each kept four bytes a number and now keeps two.
    assert layer_bytes(QWEN, load) - layer_bytes(fused, load) == 512 * 2 * (4 - 2) * 1024
    heads = {"normed_heads": True, "key_size": 128}
    before, after = (
        layer_bytes(dataclasses.replace(shape, **heads), load)
        - layer_bytes(dataclasses.replace(shape, key_size=128), load)
        for shape in (QWEN, fused)
    )
    assert (before, after) == (512 * 4 * (1024 + 128), 512 * 2 * (1024 + 128))
    # Where the MLP is narrow, a norm sets the height of the backward pass: eleven widths, fused three.
    narrow = dataclasses.replace(QWEN, intermediate_size=1024)
    assert backward_bytes(narrow) == 2 * 11 * 1024
    assert backward_bytes(dataclasses.replace(narrow, fused_norms=True)) == 2 * 3 * 1024


def test_what_is_different_about_a_model_costs_what_it_keeps():
    load = Load(slots=1, together=1, rows=1, length=512, rank=8)
    plain = layer_bytes(QWEN, load)
    shared = dataclasses.replace(QWEN, key_size=128)
    assert plain - layer_bytes(shared, load) == 512 * 2 * 2 * (1024 - 128), "fewer keys and values"
    assert layer_bytes(dataclasses.replace(QWEN, normed_heads=True), load) - plain == 512 * 4 * 2 * 1024
    assert plain - layer_bytes(dataclasses.replace(QWEN, gated=False), load) == 512 * 2 * 2 * 3072
    windowed = dataclasses.replace(shared, window=256, windowed_layers=28)
    more = layer_bytes(windowed, load) - layer_bytes(shared, load)
    assert more == 512 * (2 * 2 * (1024 - 128) + 2 * 512), "keys for every head, and a mask"
    longer = dataclasses.replace(windowed, window=1024)
    assert layer_bytes(longer, load) == layer_bytes(shared, load), "a window that is never reached"


def test_a_prediction_is_a_value_with_a_name_for_each_part():
    load = Load(
        slots=8, together=2, rows=4, length=512, rank=64, head_positions=100, eval_rows=8, eval_length=256
    )
    parts = predict(QWEN, load, weights=1000, parameters=10, context=7)
    assert (parts.weights, parts.adapters, parts.gradients, parts.moments) == (1000, 320, 320, 640)
    assert parts.optimizer == 320
    assert parts.always == 1000 + 4 * 320 + 7
    assert parts.peak == parts.always + parts.activations + max(parts.backward, parts.head)
    alone = predict(QWEN, dataclasses.replace(load, slots=2), weights=1000, parameters=10)
    assert alone.activations == parts.activations, "trials that wait keep no activations"
    assert predict(QWEN, dataclasses.replace(load, together=4), weights=0, parameters=0).activations == (
        2 * parts.activations
    )


def test_a_plain_run_has_no_adapters_but_gradients_and_moments_of_what_it_trains():
    load = Load(slots=1, together=1, rows=4, length=512, rank=64)
    parts = predict_plain(QWEN, load, weights=1000, trained=500)
    assert (parts.adapters, parts.gradients, parts.moments) == (0, 1000, 2000)
    assert predict_plain(QWEN, load, weights=1000, trained=500, moment_bytes=4).moments == 4000
    # Which layers carry adapters, and a trial's dropout, say nothing of it.
    adapted = dataclasses.replace(load, inputs=1024, dropout=True)
    assert predict_plain(QWEN, adapted, weights=1000, trained=500) == parts


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
    assert head_bytes(QWEN, 16) == 16 * 151_936 * 16
    fused = dataclasses.replace(QWEN, fused_loss=True)
    assert head_bytes(fused, 16) == 16 * 151_936 * (2 + 4 + 4), "logits, in float32, their log-softmax"


@pytest.mark.parametrize(
    ("available", "once", "at_once", "found"),
    [
        (125, 20, 1, (7, 1)),
        (125, 20, 2, (6, 2)),
        (125, 20, 99, (4, 4)),
        (125, 81, 99, (0, 0)),
        (125, 80, 99, (1, 1)),
        (0, 0, 1, (0, 0)),
    ],
)
def test_slots_fit_beside_the_base_with_a_fifth_left_free(available, once, at_once, found):
    """A row takes 10, and 10 more while it trains: the fewer train at once, the more there may be."""
    assert slots_and_groups(available, once, row=10, training=10, at_once=at_once) == found
