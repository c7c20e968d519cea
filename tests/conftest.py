"""What holds for every test: no test fails because the machine was busy."""

import importlib.util
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("loratune", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("loratune")

# What several rooms' tests share lies beside this file, as plugins.
sys.path.append(str(Path(__file__).parent))
pytest_plugins = ["made_up_studies"]

# Programs started in the background by a shell ignore Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def load(name: str) -> ModuleType:
    """Return a program of benchmarks/ as a module, with what lies beside it to be imported."""
    if str(BENCHMARKS) not in sys.path:
        sys.path.append(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up while it is being run.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def load_benchmark() -> Callable[[str], ModuleType]:
    """Loads a program of benchmarks/."""
    return load
