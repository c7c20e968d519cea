"""What Optuna's tables take is imported beside the caller, and a library that is broken is told later."""

import subprocess
import sys
import threading

import pytest
from loratune.storage import ahead

FRESH = """
import sys
from loratune.storage import ahead
assert "optuna" not in sys.modules
ahead.import_ahead().join()
before = set(sys.modules)
import optuna
from loratune.storage import optuna_mirror
import alembic.context
print(len(set(sys.modules) - before))
"""


def test_what_is_needed_later_is_there():
    done = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0"]


def test_the_caller_does_not_wait(monkeypatch):
    goes_on = threading.Event()
    monkeypatch.setattr(ahead, "_import", lambda: goes_on.wait(60))
    thread = ahead.import_ahead()
    assert thread.is_alive()
    goes_on.set()
    thread.join()


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_library_that_is_broken_is_no_matter_yet(monkeypatch):
    monkeypatch.setitem(sys.modules, "alembic.context", None)
    thread = ahead.import_ahead()
    thread.join()
    assert not thread.is_alive()  # and what it could not import was no error of its own
