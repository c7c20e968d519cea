"""optuna-dashboard, open beside a search, sees the study as it is: young, interrupted, resumed and over."""

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("optuna-dashboard")


class Dashboard:
    def __init__(self, database):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        command = [PROGRAM, f"sqlite:///{database}", "--host", "127.0.0.1", "--port", str(port), "--quiet"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=database.parent
        )

    def get(self, path):
        with urllib.request.urlopen(f"{self.address}/api/{path}", timeout=30) as answer:
            return json.loads(answer.read())

    def wait(self, path, holds):
        """Return an answer once it holds; the dashboard keeps what it has read for two seconds."""
        found = None
        for _ in range(300):
            assert self.process.poll() is None, f"the dashboard ended: {self.process.stderr.read()}"
            with contextlib.suppress(urllib.error.URLError):
                found = self.get(path)
                if holds(found):
                    return found
            time.sleep(0.1)
        raise AssertionError(f"{path}: still {json.dumps(found)[:2000]}")

    def end(self):
        self.process.terminate()
        self.process.communicate()


@pytest.fixture
def dashboard(bench):
    """Opened when the study has just been made and has no trial."""
    bench.copying = True
    bench.create(12)
    opened = Dashboard(bench.path)
    try:
        yield opened
    finally:
        opened.end()


def shown(answer):
    """Return the trials that the dashboard shows, by our numbers."""
    found = {}
    for trial in answer["trials"]:
        attributes = {attribute["key"]: attribute["value"] for attribute in trial["user_attrs"]}
        params = {param["name"]: param["param_external_value"] for param in trial["params"]}
        found[int(attributes["loratune_number"])] = (trial["state"], params, trial.get("values"))
    assert len(found) == len(answer["trials"])
    return found


def ours(trials):
    states = {"complete": "Complete", "failed": "Fail"}
    return {t.number: (states.get(t.state, "Pruned"), t.params) for t in trials if t.state != "running"}


def test_it_shows_a_study_from_its_first_moment_to_its_last(bench, dashboard):
    studies = dashboard.wait("studies", lambda answer: answer["study_summaries"])["study_summaries"]
    assert [study["study_name"] for study in studies] == ["a"]
    which = studies[0]["study_id"]
    assert dashboard.get(f"studies/{which}?after=0")["trials"] == []

    assert bench.run(crash=(40, True)) is None
    running = bench.trials()
    assert {trial.state for trial in running} > {"running"}
    found = dashboard.wait(f"studies/{which}?after=0", lambda answer: answer["trials"])
    assert shown(found).keys() <= ours(running).keys()
    assert "Running" not in {state for state, _, _ in shown(found).values()}

    assert bench.run().why == "complete"
    trials = bench.trials()
    found = dashboard.wait(f"studies/{which}?after=0", lambda answer: len(answer["trials"]) == len(trials))
    assert {number: state for number, (state, _, _) in shown(found).items()} == {
        number: state for number, (state, _) in ours(trials).items()
    }
    for trial in trials:
        _, params, values = shown(found)[trial.number]
        assert int(params["batch_size"]) == trial.params.batch_size
        assert int(params["lora_rank"]) == trial.params.lora_rank
        assert float(params["learning_rate"]) == pytest.approx(trial.params.learning_rate)
        assert values == ([trial.value] if trial.value is not None else values)
    (importances,) = dashboard.get(f"studies/{which}/param_importances")["param_importances"]
    assert {entry["name"] for entry in importances} >= {"batch_size", "lora_rank", "learning_rate"}
