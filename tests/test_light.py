"""Nothing but a worker loads torch: it takes seconds, and ``tune list`` should not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "peft", "accelerate")
SLOW = (
    *HEAVY,
    "numpy",
    "pandas",
    "pyarrow",
    "scipy",
    "sklearn",
    "optuna",
    "alembic",
    "plotly",
    "jinja2",
    "mako",
)
"""What who asks for help or a list of studies waits for in vain."""
TELL = f"""
import atexit, sys
atexit.register(lambda: print("HEAVY", *[name for name in {SLOW!r} if name in sys.modules]))
"""
COMMAND = """
import runpy, sys
sys.argv = ["tune", *{words!r}]
runpy.run_module("loratune", run_name="__main__")
"""
DATABASE = """
from loratune.storage.store import Store
with Store.open("tune.db", mode="create"):
    pass
"""
EACH = """
import importlib, sys
for module in {modules!r}:
    importlib.import_module("loratune." + module)
    if "torch" in sys.modules:
        sys.exit(print(module))
"""
MODULES = (
    "spaces.space",
    "app.options",
    "app.config_file",
    "app.preparing",
    "app.running",
    "app.retraining",
    "app.sampling",
    "storage.store",
    "objectives.base",
    "objectives.testing.fake",
    "objectives.precheck",
    "objectives.workers.process",
    "search.study_record",
    "search.loop",
    "reports.page",
    "reports.plots.save",
    "integrations.peft",
    "integrations.llamafactory",
    "demo",
    "cli",
)


def loaded_by(code: str, cwd: Path) -> tuple[set[str], str]:
    """Run code in a fresh interpreter; return which heavy libraries it loaded, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", TELL + code],
        cwd=cwd,
        env={**os.environ, "TUNE_STORAGE": str(cwd / "tune.db")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed, mark, heavy = done.stdout.rpartition("HEAVY")
    assert mark
    return set(heavy.split()), printed


def test_a_heavy_library_would_be_noticed(tmp_path):
    assert loaded_by("import accelerate", tmp_path)[0] >= {"accelerate", "torch"}


def test_no_module_of_the_command_loads_torch(tmp_path):
    heavy, printed = loaded_by(EACH.format(modules=MODULES), tmp_path)
    assert printed.split() == []
    assert heavy.isdisjoint(HEAVY)


@pytest.mark.parametrize("words", ["--help", "plan --help"])
def test_asking_for_help_loads_nothing_slow(tmp_path, words):
    heavy, printed = loaded_by(COMMAND.format(words=words.split()), tmp_path)
    assert printed.strip()
    assert heavy == set()


def test_listing_the_studies_loads_nothing_slow(tmp_path):
    heavy, printed = loaded_by(DATABASE + COMMAND.format(words=["list"]), tmp_path)
    assert printed.strip()
    assert heavy == set()
