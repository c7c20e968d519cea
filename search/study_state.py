"""The record of one study as the search holds it: read once, then written to the store before memory.

Every decision is made from here, and everything here can be read again from the store: so a resumed
search knows what an uninterrupted one would. Decides nothing itself.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..spaces.params import LoraParams
from ..spaces.space import SearchSpace
from ..storage import study_files
from ..storage.store import Store
from ..study.budget import BEFORE_DECAY, ROUNDS
from ..study.facts import Facts
from ..study.records import CurvePoint, Ending, RoundUpdate, Standing, StudyRecord, TrialRecord
from ..study.stage import Entry
from ..study.study_config import StudyConfig
from .known_trials import KnownTrials
from .outcomes import Verdict
from .samplers.base import Past
from .study_record import last_pass_tokens, last_slots
from .trial_files import TrialFiles


class StudyState:
    """What is known of a study's trials; the study must be owned by this process."""

    def __init__(self, store: Store, study: StudyRecord) -> None:
        self.store = store
        self.study = study
        self.config: StudyConfig = study.config
        self.facts: Facts = study.facts
        self.folder = store.study_dir(study.id)
        rounds = range(1, ROUNDS + 1)
        self.known = KnownTrials(
            self.config.space,
            {round_number: bool(self.facts.budget.eval_size(round_number)) for round_number in rounds},
            self.config.pruner,
        )
        twins: dict[int, list[int]] = {}
        for event in store.events(study.id, "duplicate"):
            twins.setdefault(int(event.detail["number"]), []).append(int(event.detail["twin"]))
        trials = store.trials(study.id)
        for number in range(len(trials) + 1):
            for twin in twins.get(number, ()):
                self.known.duplicate(twin)
            if number < len(trials):
                self.known.begin(trials[number])
        for point in store.curve(study.id):
            self.known.note(point)
        self._files = TrialFiles(self.folder, self.trials.values())
        self.slots = last_slots(store, study)
        """K: the most trials at once in a worker, as the study was made or memory has allowed since."""
        self.pass_tokens = last_pass_tokens(store, study)
        """Tokens that go through the base model at once in a worker, likewise; 0: those of all its trials."""
        self._with_adapter = {trial.number for trial in trials if trial.adapter is not None}
        self._uncopied = {trial.number for trial in trials if trial.state != "running"}
        """Ended trials that Optuna's tables may lack."""
        self._copied = False
        """Whether the study itself was looked for there."""
        self._copy = study.name

    # What is known

    @property
    def trials(self) -> Mapping[int, TrialRecord]:
        """Every trial by number."""
        return self.known.trials

    @property
    def tried(self) -> Mapping[LoraParams, int]:
        """The first trial of each configuration."""
        return self.known.tried

    def running(self) -> tuple[int, ...]:
        """Return the numbers of the trials that have not ended, ascending."""
        return self.known.running()

    def waiting(self) -> frozenset[int]:
        """Return those of them that wait for a place."""
        return self.known.waiting()

    def going(self) -> tuple[int, ...]:
        """Return the others, ascending: those that are to be trained now."""
        return self.known.going()

    def counts(self) -> dict[Standing, int]:
        """Return how many trials stand where, every state named."""
        return self.known.counts()

    def best(self) -> TrialRecord | None:
        """Return the best complete trial, or None; ties go to the lower number."""
        numbers = self.known.best()
        return self.trials[numbers[0]] if numbers else None

    def eval_loss(self, number: int) -> float | None:
        """Return the last eval loss of a trial, None where it has none that is finite."""
        return self.known.eval_loss(number)

    def duplicates(self, number: int) -> int:
        """Return how many duplicates were proposed for that number."""
        return self.known.duplicates(number)

    def history(self) -> tuple[Past, ...]:
        """Return what the sampler may know, in the order of asking; a duplicate has its twin's result."""
        return self.known.history()

    def rungs(self, new: Mapping[int, CurvePoint]) -> dict[int, Mapping[int, float]]:
        """Return by round the loss of every trial that reached it, ``new`` points included."""
        return self.known.rungs(new.values())

    def checkpoint(self, number: int) -> Path | None:
        """Return the training state that a trial goes on from; None: from its beginning."""
        return self._files.checkpoint(self.trials[number])

    # What changes without being written

    def give_place(self, number: int) -> None:
        """Let a trial go on that waits: whoever reads the record anew comes to the same."""
        self.known.give_place(number)

    # What is written

    def complete_facts(self, found: Facts) -> None:
        """Store the digests of the model's files with a study that was made before these were taken."""
        if not self.facts.model.files and found.model.files:
            model = dataclasses.replace(self.facts.model, files=found.model.files)
            self.facts = dataclasses.replace(self.facts, model=model)
            self.store.set_facts(self.study.id, self.facts)

    def add(self, params: LoraParams, source: str) -> int:
        """Record a new trial and return its number."""
        return self._add(params, source, self.config.objective.seed)

    def add_entry(self, entry: Entry, parent: Path, source: str) -> int:
        """Record a trial of a study that follows from another, whose files lie in ``parent``.

        One that goes on from a state is given a copy of it; where that is lost, it begins anew.
        """
        if not entry.start:
            return self._add(entry.params, source, entry.seed)
        number = len(self.trials)
        checkpoint = self._files.take_over(parent, entry, number)
        if checkpoint is None:  # said before its row is there: a kill in between says it twice, not never
            self.start_over(number, f"the state of trial {entry.trial} before its decay is lost")
        return self._add(entry.params, source, entry.seed, rounds=entry.start, checkpoint=checkpoint)

    def _add(
        self, params: LoraParams, source: str, seed: int, *, rounds: int = 0, checkpoint: str | None = None
    ) -> int:
        number = len(self.trials)
        self.store.add_trial(
            self.study.id,
            number=number,
            params=params,
            seed=seed,
            source=source,
            rounds=rounds,
            checkpoint=checkpoint,
        )
        record = TrialRecord(
            number=number,
            params=params,
            seed=seed,
            source=source,
            state="running",
            reason=None,
            value=None,
            rounds=rounds,
            attempt=0,
            checkpoint=checkpoint,
            adapter=None,
            started_at=datetime.datetime.now(datetime.UTC),
            finished_at=None,
        )
        self.known.begin(record)
        return number

    def add_duplicate(self, twin: int, params: LoraParams) -> None:
        """Record that the next number was proposed a configuration that an earlier trial has."""
        number = len(self.trials)
        self.store.add_event(self.study.id, "duplicate", number=number, twin=twin, params=params.to_dict())
        self.known.duplicate(twin)

    def begin_attempt(self, number: int) -> None:
        """Take a trial up again; its next files have a name of their own."""
        attempt = self.store.begin_attempt(self.study.id, number)
        self._replace(number, attempt=attempt)

    def settle_total(self) -> None:
        """Record as the number of trials that was wanted what there is, where no more could be paid."""
        if len(self.trials) < self.study.trials:
            self.store.set_trials(self.study.id, len(self.trials))
            self.study = dataclasses.replace(self.study, trials=len(self.trials))

    def limit_slots(self, slots: int, pass_tokens: int, *, worker: int | None, reason: str) -> None:
        """Record that from now on at most so many trials are trained at once in a worker, and in a pass."""
        self.store.add_event(
            self.study.id, "slots", slots=slots, pass_tokens=pass_tokens, worker=worker, reason=reason
        )
        self.slots, self.pass_tokens = slots, pass_tokens

    def start_over(self, number: int, reason: str) -> int:
        """Let a trial whose checkpoint is lost go on from the one before, or else from its beginning.

        A step's trial began from a state of the study below, and goes back to that.

        Returns the rounds that it has then. What is recorded of it stays, and is repeated.
        """
        after, state = self._files.rounds_of_older(number), None
        if not after and (state := self._taken_over_again(number)) is not None:
            after = study_files.round_of(state)
        self.store.add_event(self.study.id, "started_over", trial=number, reason=reason, rounds=after)
        self._files.set_back(number, state)
        return after

    def _taken_over_again(self, number: int) -> str | None:
        """Copy the state that a step's trial began from once more; None where it is lost or was in vain."""
        stage = self.config.stage
        if stage is None or number not in self.trials or not stage.entries[number].start:
            return None
        if not self.store.holds(stage.parent):
            return None
        parent = self.store.study_dir(self.store.study(stage.parent).id)
        return self._files.take_over_again(parent, stage.entries[number], number)

    def repeat(self, number: int, checkpoint: str | None) -> None:
        """Note a round that the record already has, done again by a trial that started over."""
        self._files.repeated(number, checkpoint)

    def record(self, updates: Sequence[RoundUpdate], verdicts: Sequence[Verdict]) -> None:
        """Record a round of some trials and the endings among all: the file, then the row.

        A complete trial among the best leaves its adapter; no ended trial leaves a checkpoint.
        """
        made = {update.trial: update for update in updates}
        before = {update.trial: self.trials[update.trial].checkpoint for update in updates}
        if self.config.keep_held:
            self._files.hold(update for update in updates if update.round == BEFORE_DECAY)
        endings = [self._ending(verdict, made.get(verdict.trial)) for verdict in verdicts]
        self.store.record_round(self.study.id, updates, endings)
        for update in updates:
            self._replace(update.trial, rounds=update.round, checkpoint=update.checkpoint)
            self.known.note(update.point)
            self._files.advanced(update.trial, before[update.trial])
            if update.trial in self.known.waiting():
                self._files.waits(update.trial)
        for ending in endings:
            self._files.ended(ending.trial, self.trials[ending.trial].checkpoint)
            self._replace(
                ending.trial,
                state=ending.state,
                reason=ending.reason,
                value=ending.value,
                score=ending.score,
                adapter=ending.adapter,
                checkpoint=None,
                finished_at=datetime.datetime.now(datetime.UTC),
            )
        if any(ending.adapter for ending in endings):
            self.keep_best()
        self._uncopied.update(ending.trial for ending in endings)

    def keep_best(self) -> None:
        """Forget the adapters of all but the best complete trials, and delete every file that none needs."""
        self.store.keep_adapters(self.study.id, self.config.keep_adapters)
        kept = self.known.best(self.config.keep_adapters)
        for number in self._with_adapter.difference(kept):
            self._replace(number, adapter=None)
        if self.config.keep_held:
            needed = {*self.running(), *self.known.best(self.config.keep_held)}
            study_files.drop_held(self.folder, needed)

    def project(self) -> str | None:
        """Give Optuna's tables the study and the ended trials that they lack, if there can be any.

        Returns the study's name there once it is found not to be its own.
        """
        if self._copied and not self._uncopied:
            return None
        space = self.config.space
        before = self._copy
        self._copy = self.store.project(
            self.study.id,
            space.value_distributions(),
            _Values(space, self.trials),
            ended=sorted(self._uncopied),
        )
        self._copied = True
        self._uncopied.clear()
        return None if self._copy == before else self._copy

    def _ending(self, verdict: Verdict, update: RoundUpdate | None) -> Ending:
        """Return a verdict as the store takes it, with the adapter on disk if it is among the best."""
        adapter = None
        if verdict.state == "complete" and update is not None and update.checkpoint is not None:
            better = 0 if verdict.value is None else self.known.at_least_as_good(verdict.score, verdict.value)
            if better < self.config.keep_adapters:
                adapter = self._files.write_adapter(verdict.trial, update.checkpoint)
        return Ending(
            trial=verdict.trial,
            state=verdict.state,
            reason=verdict.reason,
            value=verdict.value,
            score=verdict.score,
            adapter=adapter,
        )

    def _replace(self, number: int, **values: object) -> None:
        trial = dataclasses.replace(self.trials[number], **values)  # type: ignore[arg-type]
        self.known.replace(trial)
        if trial.adapter is None:
            self._with_adapter.discard(number)
        else:
            self._with_adapter.add(number)


class _Values(Mapping[int, Mapping[str, Any]]):
    """Trials' parameters as people are to see them, worked out for those that are asked for."""

    def __init__(self, space: SearchSpace, trials: Mapping[int, TrialRecord]) -> None:
        self._space = space
        self._trials = trials

    def __getitem__(self, number: int) -> Mapping[str, Any]:
        return self._space.values(self._trials[number].params)

    def __contains__(self, number: object) -> bool:
        return number in self._trials  # what is inherited works them out, and takes a KeyError for a no

    def __iter__(self) -> Iterator[int]:
        return iter(self._trials)

    def __len__(self) -> int:
        return len(self._trials)
