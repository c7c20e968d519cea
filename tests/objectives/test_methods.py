"""What each way of training a model would take."""

from __future__ import annotations

import dataclasses

from loratune.objectives.memory import Load, ModelShape
from loratune.objectives.methods import methods

SHAPE = ModelShape(hidden_size=64, intermediate_size=172, layers=4, heads=4, vocab_size=512, dtype_bytes=4)
LOAD = Load(slots=1, together=1, rows=4, length=64, rank=16, head_positions=64)


def test_what_an_allocator_keeps_and_scores_in_float32_count_in_each_way_they_concern():
    def peaks(**more):
        found = methods(SHAPE, LOAD, numbers=200_000, tied=True, parameters=5_000, context=0, **more)
        return {one.name: one.parts for one in found}

    bare, slack, scores = peaks(), peaks(slack=0.5), peaks(plain_scores=True)
    for name, parts in slack.items():
        assert parts.peak == bare[name].peak + int(0.5 * bare[name].height)
    assert scores["full"].activations > bare["full"].activations
    assert scores["lora"] == bare["lora"], "the frozen base keeps its own number type"


def test_plain_training_takes_the_loss_over_all_positions_at_once_and_leaves_it_to_autograd():
    def heads(shape=SHAPE, **more):
        found = methods(shape, LOAD, numbers=200_000, tied=True, parameters=5_000, context=0, **more)
        return {one.name: one.parts.head for one in found}

    bare, longer = heads(), heads(plain_positions=200)
    assert longer["full"] - bare["full"] == longer["freeze"] - bare["freeze"] == (200 - 64) * 512 * 16
    assert longer["lora"] == bare["lora"]
    fused = heads(dataclasses.replace(SHAPE, fused_loss=True))
    assert fused["full"] == bare["full"]
    assert bare["lora"] - fused["lora"] == 64 * 512 * (16 - 12)
