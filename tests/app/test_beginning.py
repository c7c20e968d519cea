"""How a search begins: memory that runs out, and a study that another process runs already."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from loratune.app import looking, preparing, workers
from loratune.app.first_trials import fit_to_budget
from loratune.app.request import choose_preset, make_config, make_request
from loratune.errors import OutOfMemory, StudyBusy
from loratune.objectives.testing.fake import FakePlan, FakeWorker
from loratune.search.study_record import create
from loratune.spaces.presets import preset
from loratune.storage.store import Store
from loratune.study.budget import plan_budget
from loratune.study.config import ObjectiveConfig
from loratune.study.facts import Facts


class SmallWorker(FakeWorker):
    """Stands for a worker process on a machine that takes so many trials at once."""

    fits = 3
    tried: list[int | None]

    def __init__(self, index: int, *_: Any, **__: Any) -> None:
        super().__init__(index, plan=FakePlan(slots=32))

    def prepare(self, config: ObjectiveConfig) -> Facts:
        self.tried.append(config.slots)
        if (config.slots or 32) > self.fits:
            raise OutOfMemory("worker 0: memory ran out")
        facts = super().prepare(config)
        return dataclasses.replace(facts, model=dataclasses.replace(facts.model, device="cpu"))


@pytest.mark.parametrize(
    ("fits", "asked", "tried"),
    [
        (3, None, [None, 8, 4, 2]),
        (3, 6, [6, 3]),
        (40, None, [None]),
        (0, 4, [4, 2, 1]),
        (0, None, [None, 8, 4, 2, 1]),
    ],
)
def test_memory_that_runs_out_at_the_start_halves_the_slots_down_to_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fits: int, asked: int | None, tried: list[int | None]
) -> None:
    monkeypatch.setattr(workers, "ProcessWorker", SmallWorker)
    monkeypatch.setattr(SmallWorker, "fits", fits)
    monkeypatch.setattr(SmallWorker, "tried", [], raising=False)
    request = make_request(None, {"slots": asked} if asked else {})
    if fits:
        prepared = preparing.prepare(request, logs=tmp_path, cache=None)
        assert prepared.facts.slots == (tried[-1] or 32)
    else:
        with pytest.raises(OutOfMemory):
            preparing.prepare(request, logs=tmp_path, cache=None)
    assert SmallWorker.tried == tried


@pytest.mark.parametrize("examples", [None, 300])
def test_a_study_that_is_run_is_known_by_its_choices_before_a_model_is_loaded(
    tmp_path: Path, examples: int | None
) -> None:
    path = str(tmp_path / "tune.db")
    request = make_request(None, {"storage": path})
    config = make_config(request, choose_preset(request) or preset("default"))
    facts = FakeWorker().prepare(config.objective)
    if examples is not None:
        # Data too small for the largest batch sizes, which are left out of the space.
        fewer = plan_budget(
            config.objective.batch_sizes, train_examples=examples, validation_examples=examples
        )
        facts = dataclasses.replace(facts, budget=fewer)
        assert fit_to_budget(config, facts) != config
    with Store.open(path, mode="create") as store:
        study = create(store, name="demo", config=fit_to_budget(config, facts), facts=facts, trials=4)
        looking.check_free(store, request)
        store.acquire(study.id)
        with Store.open(path, mode="write") as second, pytest.raises(StudyBusy, match="'demo'"):
            looking.check_free(second, request)
        # Other choices make another study, which is free to run beside it.
        looking.check_free(store, make_request(None, {"storage": path, "seed": 7}))
