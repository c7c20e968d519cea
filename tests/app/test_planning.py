"""What a plan reckons with of each pruner: what is trained, and what trials that wait for a place keep."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from loratune.app.planning import WAITING, plan_values
from loratune.command.planning import plan_lines
from loratune.study.memory import MemoryParts, MethodMemory
from loratune.study.pruners import PRUNERS
from made_up_studies import make_config, make_facts

ADAPTER = 1_000_000


def planned(pruner: str, *, known: bool = True, trials: int = 100) -> dict[str, Any]:
    facts = make_facts()
    if known:
        parts = MemoryParts(**{field.name: 1 for field in dataclasses.fields(MemoryParts)})
        methods = (MethodMemory(name="lora", trained=ADAPTER, parts=parts),)
        facts = dataclasses.replace(facts, memory=dataclasses.replace(facts.memory, methods=methods))
    config = make_config(pruner=PRUNERS.parse(pruner))
    return plan_values(config, facts, trials=trials, workers=1)


@pytest.mark.parametrize("trials", [10, 100])
def test_what_they_keep_on_disk_is_their_weights_with_two_moments(trials: int) -> None:
    values = planned("promote", trials=trials)
    assert values["waiting_bytes"] == round(WAITING * trials) * 3 * 4 * ADAPTER
    assert dict(plan_lines(planned("promote", trials=100)))["disk"] == (
        "up to 458 MiB while trials wait for a place, each with its last state"
    )


@pytest.mark.parametrize(("pruner", "known"), [("halving", True), ("none", True), ("promote", False)])
def test_where_none_wait_or_an_adapters_size_is_not_known_nothing_is_said(pruner: str, known: bool) -> None:
    values = planned(pruner, known=known)
    assert values["waiting_bytes"] is None
    assert "disk" not in dict(plan_lines(values))


def test_each_pruner_trains_its_own_share_and_none_trains_all():
    each = ("none", "halving", "halving:factor=4", "median", "promote")
    hours = {name: planned(name)["hours"] for name in each}
    assert hours["promote"] / hours["none"] == pytest.approx(1.1 * (1 + 1 / 3 + 2 / 9 + 4 / 27) / 8 + 0.0075)
    assert hours["halving"] / hours["none"] == pytest.approx(0.65)
    assert hours["halving:factor=4"] < hours["halving"]
    assert hours["median"] / hours["none"] == pytest.approx(0.36 + 0.64 * 0.12)
    # Before others are complete nobody is stopped.
    few = planned("hyperband", trials=5)["hours"]
    assert few == pytest.approx(planned("none", trials=5)["hours"])
