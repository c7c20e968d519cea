"""The seam's promises, held by the fake worker and a worker process alike."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from loratune.objectives.base import (
    Done,
    Evaluated,
    Generated,
    RoundProgress,
    SlotFailed,
    SlotResult,
    WorkerFailed,
)
from loratune.storage.study_files import write_adapter
from loratune.study.budget import plan_budget
from loratune.study.checkpoint_format import checkpoint_name
from worker_talk import Make, config, next_event, params, train_round


class TestEveryWorker:
    """What the search may rely on."""

    def test_a_round_ends_with_a_result_and_a_file_for_every_trial(self, make: Make, tmp_path: Path) -> None:
        worker = make()
        facts = worker.prepare(config())
        for trial in (3, 5):
            worker.add(trial, params(), seed=trial, attempt=2, resume_from=None)
        done = train_round(worker, tmp_path / "new" / "folder")
        assert [result.trial for result in done.results] == [3, 5]
        for result in done.results:
            assert result.round == 1
            assert result.examples == facts.budget.round_examples
            assert (tmp_path / "new" / "folder" / checkpoint_name(result.trial, 1, 2)).is_file()

    def test_prepare_plans_the_budget_of_the_config(self, make: Make) -> None:
        facts = make().prepare(config())
        expected = plan_budget(
            (4, 8), train_examples=facts.data.train, validation_examples=facts.data.validation
        )
        assert facts.budget == expected
        assert len(facts.base_losses) == len(facts.eval_tokens) == expected.final_eval_examples
        assert facts.base_loss == pytest.approx(sum(facts.base_losses) / sum(facts.eval_tokens))
        assert facts.slots == 4

    def test_evaluations_come_at_the_rungs_alone(self, make: Make, tmp_path: Path) -> None:
        worker = make()
        budget = worker.prepare(config()).budget
        worker.add(0, params(), seed=0, attempt=0, resume_from=None)
        results = [train_round(worker, tmp_path).results[0] for _ in range(8)]
        assert [len(result.eval_losses or ()) for result in results] == [
            budget.eval_examples if q in (1, 2, 4) else budget.final_eval_examples if q == 8 else 0
            for q in range(1, 9)
        ]

    def test_a_trial_taken_up_by_another_worker_ends_with_the_same_numbers(
        self, make: Make, tmp_path: Path
    ) -> None:
        def trial(workers: int) -> list[SlotResult]:
            results: list[SlotResult] = []
            for attempt in range(workers):
                worker = make()
                worker.prepare(config())
                last = tmp_path / checkpoint_name(1, results[-1].round, attempt - 1) if results else None
                worker.add(1, params(), seed=0, attempt=attempt, resume_from=last)
                results += [train_round(worker, tmp_path).results[0] for _ in range(4 // workers)]
                worker.close()
            return results

        def numbers(results: list[SlotResult]) -> list[object]:
            return [(r.round, r.examples, r.train_loss, r.grad_norm, r.eval_losses) for r in results]

        assert numbers(trial(workers=1)) == numbers(trial(workers=2))

    def test_an_adapter_is_measured_on_all_examples_of_a_part(self, make: Make, tmp_path: Path) -> None:
        worker = make()
        facts = worker.prepare(config())
        worker.add(0, params(), seed=0, attempt=0, resume_from=None)
        done = [train_round(worker, tmp_path).results[0] for _ in range(8)][-1]
        worker.remove(0)
        adapter = tmp_path / "adapter.safetensors"
        write_adapter(tmp_path / checkpoint_name(0, 8, 0), adapter)
        worker.evaluate(adapter, params(), "test")
        worker.evaluate(adapter, params(), "validation")
        test, validation = next_event(worker), next_event(worker)
        assert isinstance(test, Evaluated)
        assert isinstance(validation, Evaluated)
        assert (test.part, validation.part) == ("test", "validation")
        assert len(test.losses) == len(test.tokens) == facts.data.test
        assert len(validation.losses) == facts.data.validation
        assert done.eval_losses == validation.losses[: len(done.eval_losses or ())]
        worker.add(1, params(), seed=0, attempt=0, resume_from=None)
        assert train_round(worker, tmp_path).results[0].round == 1

    def test_an_adapter_of_other_hyperparameters_is_not_measured(self, make: Make, tmp_path: Path) -> None:
        worker = make()
        worker.prepare(config())
        worker.add(0, params(), seed=0, attempt=0, resume_from=None)
        train_round(worker, tmp_path)
        worker.evaluate(tmp_path / checkpoint_name(0, 1, 0), params(3e-3), "test")
        failed = next_event(worker)
        assert isinstance(failed, WorkerFailed)
        assert checkpoint_name(0, 1, 0) in failed.reason

    def test_base_model_and_adapter_answer_the_same_prompts_each_in_its_words(
        self, make: Make, tmp_path: Path
    ) -> None:
        worker = make()
        facts = worker.prepare(config())
        worker.add(0, params(), seed=0, attempt=0, resume_from=None)
        train_round(worker, tmp_path)
        worker.remove(0)
        adapter = tmp_path / "adapter.safetensors"
        write_adapter(tmp_path / checkpoint_name(0, 1, 0), adapter)
        worker.generate(None, params(), count=3, most=16)
        worker.generate(adapter, params(), count=3, most=16)
        base, own = next_event(worker), next_event(worker)
        assert isinstance(base, Generated)
        assert isinstance(own, Generated)
        assert (base.adapter, own.adapter) == (None, adapter)
        assert len(base.samples) == 3
        assert [(one.prompt, one.right) for one in base.samples] == [
            (one.prompt, one.right) for one in own.samples
        ]
        assert all(one.written != other.written for one, other in zip(base.samples, own.samples, strict=True))
        worker.generate(adapter, params(), count=10**6, most=4)
        all_of_them = next_event(worker)
        assert isinstance(all_of_them, Generated)
        assert len(all_of_them.samples) == facts.data.validation

    def test_an_adapter_of_other_hyperparameters_writes_nothing(self, make: Make, tmp_path: Path) -> None:
        worker = make()
        worker.prepare(config())
        worker.add(0, params(), seed=0, attempt=0, resume_from=None)
        train_round(worker, tmp_path)
        worker.generate(tmp_path / checkpoint_name(0, 1, 0), params(3e-3), count=1, most=4)
        failed = next_event(worker)
        assert isinstance(failed, WorkerFailed)
        assert checkpoint_name(0, 1, 0) in failed.reason

    def test_a_trial_does_not_see_its_neighbours(self, make: Make, tmp_path: Path) -> None:
        alone, among = make(), make()
        for worker in (alone, among):
            worker.prepare(config())
        among.add(8, params(3e-3), seed=5, attempt=0, resume_from=None)
        for worker in (alone, among):
            worker.add(9, params(), seed=0, attempt=0, resume_from=None)
        one = train_round(alone, tmp_path / "alone").results[0]
        other = train_round(among, tmp_path / "among").results[1]
        assert (one.trial, one.train_loss, one.eval_losses) == (
            other.trial,
            other.train_loss,
            other.eval_losses,
        )

    def test_an_unreadable_checkpoint_fails_its_trial_and_no_other(self, make: Make, tmp_path: Path) -> None:
        broken = tmp_path / "broken.safetensors"
        broken.write_bytes(b"\x00" * 100)
        worker = make()
        worker.prepare(config())
        worker.add(0, params(), seed=0, attempt=1, resume_from=broken)
        worker.add(1, params(), seed=0, attempt=0, resume_from=None)
        failed = next_event(worker)
        assert isinstance(failed, SlotFailed)
        assert failed.trial == 0
        assert "broken.safetensors" in failed.reason
        worker.remove(0)
        assert [result.trial for result in train_round(worker, tmp_path).results] == [1]

    def test_a_checkpoint_of_another_trial_is_refused(self, make: Make, tmp_path: Path) -> None:
        worker = make()
        worker.prepare(config())
        worker.add(0, params(), seed=0, attempt=0, resume_from=None)
        train_round(worker, tmp_path)
        path = tmp_path / checkpoint_name(0, 1, 0)
        worker.add(1, params(), seed=0, attempt=0, resume_from=path)
        assert isinstance(next_event(worker), SlotFailed)

    def test_a_round_of_nobody_ends_at_once(self, make: Make, tmp_path: Path) -> None:
        worker = make()
        worker.prepare(config())
        worker.add(0, params(), seed=0, attempt=1, resume_from=tmp_path / "missing")
        worker.start(tmp_path)
        assert isinstance(next_event(worker), SlotFailed)
        event = next_event(worker)
        while isinstance(event, RoundProgress):
            event = next_event(worker)
        assert isinstance(event, Done)
        assert event.results == ()

    def test_a_diverged_trial_says_why_and_leaves_no_file(self, make: Make, tmp_path: Path) -> None:
        worker = make()
        worker.prepare(config())
        worker.add(0, params(50.0), seed=0, attempt=0, resume_from=None)
        worker.add(1, params(), seed=0, attempt=0, resume_from=None)
        bad, good = train_round(worker, tmp_path).results
        assert bad.diverged is not None
        assert math.isnan(bad.train_loss)
        assert bad.eval_losses is None
        assert [path.name for path in tmp_path.glob("trial-*")] == [checkpoint_name(1, 1, 0)]
        assert good.diverged is None
        worker.remove(0)
        assert [result.round for result in train_round(worker, tmp_path).results] == [2]

    def test_a_removed_trial_makes_room(self, make: Make, tmp_path: Path) -> None:
        worker = make()
        worker.prepare(config())
        for trial in range(4):
            worker.add(trial, params(), seed=0, attempt=0, resume_from=None)
        with pytest.raises(AssertionError, match="slots are taken"):
            worker.add(4, params(), seed=0, attempt=0, resume_from=None)
        worker.remove(2)
        worker.add(4, params(), seed=0, attempt=0, resume_from=None)
        assert [result.trial for result in train_round(worker, tmp_path).results] == [0, 1, 3, 4]

    def test_calls_in_mid_round_are_mistakes(self, make: Make, tmp_path: Path) -> None:
        worker = make()
        worker.prepare(config())
        worker.add(0, params(), seed=0, attempt=0, resume_from=None)
        worker.start(tmp_path)
        with pytest.raises(AssertionError):
            worker.add(1, params(), seed=0, attempt=0, resume_from=None)
        with pytest.raises(AssertionError):
            worker.remove(0)
        with pytest.raises(AssertionError):
            worker.start(tmp_path)
        worker.close()

    def test_a_worker_is_closed_in_mid_round_and_twice(self, make: Make, tmp_path: Path) -> None:
        worker = make()
        worker.prepare(config())
        worker.add(0, params(), seed=0, attempt=0, resume_from=None)
        worker.start(tmp_path)
        worker.close()
        worker.close()
        assert worker.poll(0.0) is None
        worker.remove(0)
