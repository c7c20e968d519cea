"""A bench for the search: a study on disk, workers that train nothing, and what became of it."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from loratune.objectives.base import Done
from loratune.objectives.testing.fake import FakeFleet, FakePlan, FakeWorker
from loratune.search.loop import run
from loratune.search.measure import evaluations_of
from loratune.search.study_record import create
from loratune.spaces.params import LoraParams
from loratune.spaces.presets import preset
from loratune.spaces.space import SearchSpace
from loratune.storage import study_files
from loratune.storage.store import Store
from loratune.study.config import DataConfig, ModelConfig, ObjectiveConfig
from loratune.study.events import Event, StudyEnded, StudyProgress
from loratune.study.facts import Facts
from loratune.study.pruners import PRUNERS
from loratune.study.records import FINAL_STATES, StudyRecord, TrialRecord
from loratune.study.samplers import SAMPLERS
from loratune.study.sentences import sentence
from loratune.study.study_config import StudyConfig


class CrashError(Exception):
    """Stands for the coordinator's death."""


class CrashingStore:
    """A store whose n-th write never returns: it dies before or after the write itself."""

    WRITES = ("add_trial", "begin_attempt", "record_round", "add_event", "project", "keep_adapters")

    def __init__(self, store: Store, after: int, *, written: bool) -> None:
        self._store = store
        self._left = after
        self._written = written

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in self.WRITES:
            return found

        def write(*args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            if self._left < 0 and not self._written:
                raise CrashError
            answer = found(*args, **kwargs)
            if self._left < 0:
                raise CrashError
            return answer

        return write


@dataclasses.dataclass
class Onlooker:
    """Remembers what a search told."""

    events: list[Event] = dataclasses.field(default_factory=list)

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    @property
    def progress(self) -> list[StudyProgress]:
        return [event for event in self.events if isinstance(event, StudyProgress)]

    @property
    def sentences(self) -> list[str]:
        return [words for event in self.events if (words := sentence(event)) is not None]


class UncopiedStore:
    """A store that keeps nothing in Optuna's tables: half of the time of a study that trains nothing."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def project(self, *args: Any, **options: Any) -> None:
        pass


class Bench:
    """One folder with a database; makes studies in it and runs them."""

    def __init__(self, folder: Path) -> None:
        self.copying = False
        """Whether Optuna's tables are written and checked."""
        self.folder = folder
        self.path = folder / "tune.db"
        self.onlooker = Onlooker()

    def config(self, space: SearchSpace | None = None, model: str = "model", **choices: Any) -> StudyConfig:
        tiny = preset("tiny")
        space = space or tiny.space
        objective = ObjectiveConfig(
            model=ModelConfig(name_or_path=model),
            data=DataConfig(train="data.jsonl"),
            batch_sizes=space.batch_sizes(),
            lora_ranks=space.lora_ranks(),
            lora_targets=space.lora_targets(),
        )
        values: dict[str, Any] = {
            "preset": "tiny",
            "default_source": "measured",
            "first": (space.closest(tiny.default),),
        }
        for name, registry in (("sampler", SAMPLERS), ("pruner", PRUNERS)):
            if name in choices:
                values[name] = registry.parse(choices.pop(name))
        return StudyConfig(space=space, objective=objective, **{**values, **choices})

    def facts(self, config: StudyConfig, plan: FakePlan | None = None) -> Facts:
        return FakeWorker(plan=plan).prepare(config.objective)

    def create(self, trials: int, config: StudyConfig | None = None, name: str = "a") -> StudyRecord:
        config = config or self.config()
        with Store.open(str(self.path), mode="create") as store:
            return create(store, name=name, config=config, facts=self.facts(config), trials=trials)

    def run(
        self,
        plan: FakePlan | None = None,
        *,
        name: str = "a",
        crash: tuple[int, bool] | None = None,
        fleet: FakeFleet | None = None,
        **options: Any,
    ) -> StudyEnded | None:
        """Run a study until it ends, None where the coordinator crashed at the given write."""
        fleet = fleet or FakeFleet(plan)
        with Store.open(str(self.path), mode="write") as store:
            study = store.study(name)
            used: Any = store if self.copying else UncopiedStore(store)
            if crash is None:
                return run(used, study, factory=fleet, observers=[self.onlooker], **options)
            dying: Any = CrashingStore(used, crash[0], written=crash[1])
            try:
                return run(dying, study, factory=fleet, observers=[self.onlooker], **options)
            except CrashError:
                return None

    @property
    def store(self) -> Store:
        return Store.open(str(self.path), mode="read")

    def trials(self, name: str = "a") -> tuple[TrialRecord, ...]:
        with self.store as store:
            return store.trials(store.study(name).id)

    def events(self, kind: str, name: str = "a") -> list[dict[str, Any]]:
        with self.store as store:
            return [event.detail for event in store.events(store.study(name).id, kind)]

    def curves(self, name: str = "a") -> dict[int, list[tuple[float | None, float | None]]]:
        """Return the (train, eval) losses of every trial."""
        found: dict[int, list[tuple[float | None, float | None]]] = {}
        with self.store as store:
            for point in store.curve(store.study(name).id):
                found.setdefault(point.trial, []).append((point.train_loss, point.eval_loss))
        return found

    def sequence(self, name: str = "a") -> list[tuple[Any, ...]]:
        """Return all of a study that a repetition must repeat."""
        curves = self.curves(name)
        return [
            (t.number, t.params, t.source, t.state, t.reason, t.value, t.rounds, curves.get(t.number))
            for t in self.trials(name)
        ]

    def alone(self, trial: TrialRecord, plan: FakePlan) -> list[tuple[float | None, float | None]]:
        """Return the curve of a trial's configuration, trained alone and without interruption."""
        config = self.config()
        worker = FakeWorker(plan=dataclasses.replace(plan, faults=(), slots=1))
        facts = worker.prepare(config.objective)
        worker.add(0, trial.params, seed=trial.seed, attempt=0, resume_from=None)
        curve: list[tuple[float | None, float | None]] = []
        for _ in range(trial.rounds):
            worker.start(self.folder / "alone")
            done = None
            while not isinstance(done, Done):
                done = worker.poll(1.0)
            (result,) = done.results
            loss = None
            evaluation, _ = evaluations_of(result, facts)
            if evaluation is not None:
                loss = evaluation.loss
            curve.append((None if result.diverged else result.train_loss, loss))
        return curve

    def assert_whole(self, plan: FakePlan, trials: int, name: str = "a") -> None:
        """Check what every ended study must be, however often it was interrupted."""
        records = self.trials(name)
        assert [trial.number for trial in records] == list(range(trials))
        assert {trial.state for trial in records} <= set(FINAL_STATES)
        curves = self.curves(name)
        for trial in records:
            assert curves.get(trial.number, []) == self.alone(trial, plan), trial
        with self.store as store:
            study = store.study(name)
            assert store.lease(study.id) is None
            present = set(study_files.listing(store.study_dir(study.id)))
        assert present == {trial.adapter for trial in records if trial.adapter}
        assert len(present) == min(5, sum(trial.state == "complete" for trial in records))
        if not self.copying:
            return
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        database = optuna.storages.RDBStorage(f"sqlite:///{self.path}")
        copied = optuna.load_study(study_name=name, storage=database).trials
        database.engine.dispose()
        told = {trial.user_attrs["loratune_number"]: trial for trial in copied}
        assert len(copied) == len(told) == trials
        assert all(trial.state.is_finished() for trial in copied)
        values = {trial.number: trial.value for trial in records if trial.state == "complete"}
        complete = {n: t.value for n, t in told.items() if t.state == optuna.trial.TrialState.COMPLETE}
        assert complete == values


@pytest.fixture
def new_bench() -> Iterator[Callable[[], Bench]]:
    """Makes benches in memory, where there is a file system for that: the tests commit thousands of times."""
    memory = Path("/dev/shm")
    folders: list[str] = []

    def make() -> Bench:
        folders.append(tempfile.mkdtemp(prefix="loratune-", dir=memory if memory.is_dir() else None))
        return Bench(Path(folders[-1]))

    yield make
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def bench(new_bench: Callable[[], Bench]) -> Bench:
    return new_bench()


@pytest.fixture
def params() -> LoraParams:
    return LoraParams(learning_rate=1e-3, batch_size=8, lora_rank=8, lora_alpha=16.0)


UNDISTURBED = 10
"""Trials of the study that nothing disturbs."""


@pytest.fixture(scope="module")
def undisturbed() -> Any:
    """The sequence of trials of a study that nothing disturbs, made once."""
    return functools.cache(lambda make: _run_undisturbed(make()))


def _run_undisturbed(bench: Any, **options: Any) -> list[tuple[Any, ...]]:
    bench.create(UNDISTURBED)
    bench.run(FakePlan(slots=4), **options)
    found: list[tuple[Any, ...]] = bench.sequence()
    return found


@pytest.fixture(scope="module")
def undisturbed_by_two() -> Any:
    """The same with two workers that wait for each other."""
    return functools.cache(lambda make: _run_undisturbed(make(), count=2, deterministic=True))
