"""What stands for worker processes where nothing is to be trained, and what such a study has come to."""

from loratune.objectives.testing.fake import FakePlan, FakeWorker
from loratune.storage.store import Store

STORAGE = "a.db"
"""The database of the tests that look into one, in the folder of the test."""


class Worker(FakeWorker):
    """Stands for a worker process; trains nothing."""

    surface = None

    def __init__(self, index=0, log_file=None, **_):
        plan = FakePlan() if self.surface is None else FakePlan(surface=self.surface)
        super().__init__(index, plan=plan)
        self.log_file = log_file

    def move_log(self, to):
        self.log_file = to


def study(name):
    with Store.open(STORAGE, mode="read") as store:
        return store.study(name)


def trials(name):
    with Store.open(STORAGE, mode="read") as store:
        return store.trials(store.study(name).id)


def studies():
    with Store.open(STORAGE, mode="read") as store:
        return [head.name for head in store.studies()]
