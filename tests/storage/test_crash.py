"""kill -9 at any moment: what was acknowledged is there, and nothing is there by half."""

import random
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from loratune.storage.store import Store
from made_up_studies import IN_A_CHILD

WRITE = (
    IN_A_CHILD
    + """
import datetime, sys
import numpy as np
from optuna.distributions import FloatDistribution
from loratune.spaces.params import LoraParams
from loratune.study.records import CurvePoint, Ending, Evaluation, RoundUpdate
from loratune.storage.store import Store

params = LoraParams(learning_rate=1e-3, batch_size=8, lora_rank=8, lora_alpha=16)
at = datetime.datetime.now(datetime.UTC)
space = {"learning_rate": FloatDistribution(1e-5, 1.0)}

def update(trial, round):
    return RoundUpdate(
        trial=trial, round=round, checkpoint=f"checkpoints/{trial}-{round}",
        point=CurvePoint(
            trial=trial, round=round, examples=round, train_loss=1.0, eval_loss=2.0, learning_rate=1e-3,
            grad_norm=1.0, tokens_per_second=1.0, memory_bytes=1, worker=0, started_at=at, finished_at=at,
        ),
        evaluation=Evaluation(losses=np.ones(200, np.float32), tokens=np.ones(200, np.int64)),
    )

store = Store.open(sys.argv[1], mode="create")
study = store.studies()[0] if store.studies() else store.create_study(
    name="first", trials=9, config=make_config(), facts=make_facts())
store.acquire(study.id)
encoded = {number: {"learning_rate": 0.5} for number in range(10_000)}
store.project(study.id, space, encoded)
print("ready", flush=True)
while True:
    for trial in store.trials(study.id)[-4:]:
        if trial.state == "running":
            store.record_round(study.id, [], [Ending(
                trial=trial.number, state="failed", reason="interrupted", value=None, adapter=None)])
    first = len(store.trials(study.id))
    pack = range(first, first + 3)
    for number in pack:
        store.add_trial(study.id, number=number, params=params, seed=0, source="tpe")
    for round in (1, 2):
        ends = [Ending(trial=number, state="complete", reason=None, value=1.0, adapter=None)
                for number in pack] if round == 2 else []
        store.record_round(study.id, [update(number, round) for number in pack], ends)
        print(first + 2, round, flush=True)
    store.project(study.id, space, encoded)
"""
)


def sound(path):
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        return connection.execute(
            "SELECT value_json FROM trial_user_attributes WHERE key = 'loratune_number'"
        ).fetchall()
    finally:
        connection.close()


@pytest.mark.parametrize("seed", range(3))
def test_a_writer_killed_at_any_moment_leaves_a_whole_record(path, seed):
    chance = random.Random(seed)
    for _ in range(2):
        child = subprocess.Popen([sys.executable, "-c", WRITE, str(path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0.0, 0.5))
        child.send_signal(signal.SIGKILL)
        said = child.communicate()[0].splitlines()
        with Store.open(str(path), mode="read") as reader:
            seen = reader.trials(1)  # while the log still lies there
        numbers = sound(path)
        with Store.open(str(path), mode="write") as store:
            trials, curve = store.trials(1), store.curve(1)
            assert trials == seen
            assert [trial.number for trial in trials] == list(range(len(trials)))
            # What was said to be recorded is.
            for line in (line for line in said if line.count(" ") == 1):
                number, round_number = map(int, line.split())
                assert trials[number].rounds >= round_number
            for trial in trials:
                points = [point for point in curve if point.trial == trial.number]
                assert [point.round for point in points] == list(range(1, trial.rounds + 1))
                for point in points:
                    assert len(store.evaluation(1, trial.number, point.round).losses) == 200
                if trial.state == "running" and trial.rounds:
                    assert trial.checkpoint == f"checkpoints/{trial.number}-{trial.rounds}"
            # A pack's round is there for each of its trials, or for none of them.
            for round_number in (1, 2):
                assert sum(point.round == round_number for point in curve) % 3 == 0
        # Optuna holds no trial twice, and after the next start every one that ended.
        assert len(numbers) == len(set(numbers))
    with Store.open(str(path), mode="write") as store:
        store.acquire(1)
        store.project(1, {}, {})
        ended = {str(trial.number) for trial in store.trials(1) if trial.state != "running"}
    numbers = [row[0] for row in sound(path)]
    assert len(numbers) == len(set(numbers))
    assert ended <= set(numbers)
