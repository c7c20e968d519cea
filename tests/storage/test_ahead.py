"""What Optuna's tables take is imported beside the caller, and a library that is broken is told later."""

import threading

import pytest
from loratune.storage import ahead


def names(monkeypatch, imports):
    monkeypatch.setattr(ahead.importlib, "import_module", imports)
    ahead.import_ahead()
    for thread in threading.enumerate():
        if thread.name == "import":
            thread.join()


def test_the_caller_does_not_wait(monkeypatch):
    called, goes_on = [], threading.Event()

    def imports(name):
        assert goes_on.wait(60)
        called.append((name, threading.current_thread() is threading.main_thread()))

    monkeypatch.setattr(ahead.importlib, "import_module", imports)
    ahead.import_ahead()
    goes_on.set()
    names(monkeypatch, imports)
    assert set(called) == {("loratune.storage.optuna_mirror", False), ("alembic.context", False)}


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_library_that_is_broken_is_no_matter_yet(monkeypatch):
    tried = []

    def imports(name):
        tried.append(name)
        raise ImportError(name)

    names(monkeypatch, imports)
    assert len(tried) == 1
