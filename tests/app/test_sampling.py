"""Who writes for a report: base model, default and best, as far as their adapters are there."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import pytest
from loratune.app import retraining, sampling
from loratune.errors import ReportError, UsageError, WorkerError
from loratune.objectives.base import Generated, Sample, WorkerFailed
from loratune.reports.load import load_view
from loratune.storage.store import Store
from made_up_studies import make_config, make_facts


class Writer:
    """A worker whose answers tell who wrote them."""

    def __init__(self, failed: str | None = None) -> None:
        self.failed, self.asked = failed, []

    def generate(self, adapter, params, *, count, most):
        self.asked.append((adapter, params, count, most))

    def poll(self, timeout):
        if self.failed:
            return WorkerFailed(reason=self.failed)
        adapter, _, count, _ = self.asked[-1]
        who = "base" if adapter is None else adapter.name
        samples = (Sample(prompt=f"p{place}", right="r", written=who) for place in range(count))
        return Generated(adapter=adapter, samples=tuple(samples))


@pytest.fixture
def storage(tmp_path):
    path = str(tmp_path / "tune.db")
    with Store.open(path, mode="create") as store:
        store.create_study(name="demo", trials=4, config=make_config(), facts=make_facts())
    return path


@pytest.fixture
def ask(monkeypatch, storage, view):
    """Let a made-up study write, with adapters of the trials that are named."""
    told: list[str] = []

    def call(writer: Writer, *, kept=(), again=None, of=view, **more):
        def usable(adapter, trial):
            return None if trial.number in kept else "is missing"

        def train(store, study, trial, folder):
            again.append(trial.number)
            return Path(f"again-{trial.number}")

        monkeypatch.setattr(sampling, "study_worker", lambda *_: contextlib.nullcontext(writer))
        monkeypatch.setattr(retraining, "why_unusable", usable)
        monkeypatch.setattr(retraining, "check_model", lambda *_: None)
        monkeypatch.setattr(retraining, "train_again", train)
        monkeypatch.setattr(retraining, "put_back", lambda *_: "it is kept again")
        return sampling.samples(of, 3, storage=storage, tell=told.append, **more)

    call.told = told
    return call


@pytest.fixture
def having(view):
    """The study, all of whose trials had an adapter."""
    trials = tuple(dataclasses.replace(one, adapter=f"adapters/{one.number}") for one in view.trials)
    return dataclasses.replace(view, trials=trials)


def test_each_model_answers_in_a_column_of_its_own(ask, having):
    best, writer = having.best(), Writer()
    found = ask(writer, kept=(0, best.number), of=having)
    assert found.models == ("base model", "trial 0 (default)", f"trial {best.number} (best)")
    assert [one.written for one in found.prompts] == [("base", "0", str(best.number))] * 3
    assert [one.prompt for one in found.prompts] == ["p0", "p1", "p2"]
    assert [(params, count, most) for _, params, count, most in writer.asked][1:] == [
        (having.trials[0].params, 3, 64),
        (best.params, 3, 64),
    ]
    assert found.notes == ()
    assert sum("writes 3 answers" in words for words in ask.told) == 3


def test_one_without_an_adapter_is_left_out_and_named(ask, having):
    best = having.best()
    found = ask(Writer(), kept=(best.number,), again=[], of=having)
    assert found.models == ("base model", f"trial {best.number} (best)")
    (note,) = found.notes
    assert note == (
        "trial 0 (default) is not here: its adapter is missing. With --retrain it is trained again."
    )


def test_one_without_an_adapter_is_trained_again_where_that_is_asked_for(ask, having):
    best, again = having.best(), []
    found = ask(Writer(), kept=(best.number,), again=again, of=having, retrain=True)
    assert again == [0]
    assert [one.written[1] for one in found.prompts] == ["again-0"] * 3
    assert found.notes == ()
    assert "it is kept again" in ask.told


def test_one_that_diverged_cannot_be_trained_again(ask, having):
    lost = dataclasses.replace(having.trials[0], state="diverged", adapter=None, value=None)
    view = dataclasses.replace(having, trials=(lost, *having.trials[1:]))
    again = []
    found = ask(Writer(), kept=(view.best().number,), again=again, of=view, retrain=True)
    assert again == []
    assert found.notes == ("trial 0 (default) is not here: it is diverged and has no adapter.",)


def test_a_worker_that_cannot_write_is_one_line(ask, having):
    with pytest.raises(WorkerError, match="the answers could not be written: worker 0: gone"):
        ask(Writer(failed="worker 0: gone"), kept=(0,), of=having)


def test_without_a_best_trial_nothing_begins(ask, storage):
    writer = Writer()
    with Store.open(storage, mode="read") as store:
        view = load_view(store, "demo")
    with pytest.raises(ReportError, match="no complete trial yet"):
        ask(writer, of=view)
    assert writer.asked == ask.told == []


def test_plain_text_has_no_prompts(ask, make_view):
    with pytest.raises(UsageError, match="plain text, which has no prompts"):
        ask(Writer(), of=make_view(30, data={"format": "text"}))
