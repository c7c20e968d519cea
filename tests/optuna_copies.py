"""What tests of the copy in Optuna's tables share: parameters, and Optuna's own view of the file."""

import contextlib

import optuna
from loratune.study.records import Ending
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

DISTRIBUTIONS = {
    "learning_rate": FloatDistribution(1e-5, 1e-1, log=True),
    "lora_rank": IntDistribution(8, 64, log=True),
    "lora_target": CategoricalDistribution(["all", "q_proj"]),
}


VALUES = {
    number: {"learning_rate": 10.0 ** -(1 + number % 4), "lora_rank": 8 << number % 4, "lora_target": "all"}
    for number in range(20)
}


def end(trial, state="complete", value=None):
    reason = None if state == "complete" else f"because {trial}"
    return Ending(trial=trial, state=state, reason=reason, value=value, adapter=None)


@contextlib.contextmanager
def opened(path):
    """Optuna's storage as its users have it; closes what Optuna leaves open."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def load(path, name="first"):
    """Read the study as Optuna's users do."""
    with opened(path) as storage:
        return optuna.load_study(storage=storage, study_name=name).get_trials()
