"""Who may import whom: the table of rooms, held against every import statement in the tree.

Imports inside functions and behind ``TYPE_CHECKING`` count as well: what is imported late is imported.
"""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ROOMS = {
    "spaces": {"errors", "yamlfile"},
    "study": {"digest", "errors", "nouns", "spaces"},
    "metrics": {"errors", "study"},
    "objectives": {"atomic", "digest", "errors", "metrics", "nouns", "spaces", "study"},
    "storage": {"atomic", "digest", "errors", "nouns", "spaces", "study"},
    "search": {"errors", "metrics", "spaces", "study", "objectives.base", "storage"},
    "reports": {"errors", "metrics", "nouns", "spaces", "study", "storage", "whole_files"},
    "integrations": {"digest", "errors", "spaces", "study", "whole_files"},
    "demo": {"errors", "spaces", "study", "objectives"},
    "app": {
        "atomic",
        "bounds",
        "errors",
        "whole_files",
        "yamlfile",
        "spaces",
        "study",
        "metrics",
        "objectives",
        "storage",
        "search",
        "reports",
        "integrations",
        "demo",
    },
    "command": {
        "app",
        "atomic",
        "bounds",
        "errors",
        "nouns",
        "spaces",
        "study",
        "objectives",
        "storage",
        "search",
        "reports",
        "integrations",
        "demo",
    },
}
"""What each room may import of the others: whole rooms, or single modules. The root may import all."""

GROUND: dict[str, set[str]] = {
    "atomic": {"errors"},
    "bounds": set(),
    "digest": {"errors"},
    "errors": set(),
    "nouns": set(),
    "whole_files": {"atomic", "errors"},
    "yamlfile": {"errors"},
}
"""Modules of the root that rooms import, so that they import none of them."""

TORCH = ("objectives", "demo")
COMMAND = ("", "command")
OWNERS = {
    "torch": TORCH,
    "transformers": TORCH,
    "peft": TORCH,
    "accelerate": TORCH,
    "safetensors.torch": TORCH,
    "tokenizers": TORCH,
    "huggingface_hub": ("objectives",),  # it loads no torch, so light modules may
    "sqlalchemy": ("storage",),
    "alembic": ("storage",),
    "sqlite3": ("storage",),
    "plotly": ("reports",),
    "jinja2": ("reports",),
    "sklearn": ("metrics",),
    "rouge_score": ("metrics",),
    "optuna": ("spaces", "storage", "search", "reports"),
    "click": COMMAND,
    "rich": COMMAND,
}
"""Which rooms alone may import a library; the root is the room without a name."""

LIGHT = {
    "__init__",
    "demo.__init__",
    "objectives.__init__",
    "objectives.allocator",
    "objectives.base",
    "objectives.data.__init__",
    "objectives.testing.__init__",
    "objectives.training.__init__",
    "objectives.workers.__init__",
    "objectives.data.columns",
    "objectives.testing.clock",
    "objectives.testing.fake",
    "objectives.testing.fake_checkpoint",
    "objectives.testing.fake_slot",
    "objectives.folder",
    "objectives.data.formats",
    "objectives.hub",
    "objectives.data.json_records",
    "objectives.data.left_out",
    "objectives.machine",
    "objectives.memory",
    "objectives.training.named_layers",
    "objectives.data.parquet_records",
    "objectives.identity",
    "objectives.out_of_memory",
    "objectives.precheck",
    "objectives.quantization",
    "objectives.workers.environment",
    "objectives.workers.oom_kills",
    "objectives.workers.process",
    "objectives.workers.wire",
    "objectives.data.readers",
    "objectives.size",
    "objectives.data.sources",
    "objectives.data.split",
    "objectives.data.stops",
    "objectives.testing.surface",
    "objectives.data.survey",
    "objectives.data.templates",
    "objectives.data.text_lines",
    "objectives.training.trial_budget",
}
"""Modules of the heavy rooms that the command loads at once: no torch, nor what brings it in."""

BY_COMPUTED_NAME = {"objectives.workers.worker"}
"""Modules that may import what they are told by name: a worker is told which session to make."""


def imports(path: Path, module: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the full dotted name of everything that a file imports.

    ``module`` is the file's own name below the package; ours come as ``loratune.…``, relative ones resolved.
    """
    package = ["loratune", *module.split(".")[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{source}.{alias.name}"
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("__import__", "import_module", "importlib.import_module"):
                name = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else "?"
                yield node.lineno, str(name)


def relative_only(path: Path) -> Iterator[int]:
    """Yield the lines that name our own package or rooms without a leading dot."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        if any(name.split(".")[0] in {"loratune", *ROOMS} for name in names):
            yield node.lineno


def within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def refusal(room: str, module: str, name: str) -> str | None:
    """Say why a module of a room may not import a name; None where it may."""
    if module == "__init__":
        return "the package's __init__ imports nothing"
    if name == "?" and module not in BY_COMPUTED_NAME:
        return "an import of a computed name cannot be checked"
    if within(name, "loratune"):
        inner = name.removeprefix("loratune").removeprefix(".")
        if module in LIGHT and within(inner, room) and not any(within(inner, light) for light in LIGHT):
            return f"{inner} is not among the light modules"
        if module in GROUND and not any(within(inner, allowed) for allowed in GROUND[module]):
            return f"{module} lies below all rooms and may not import {inner}"
        if not room or inner == "__version__" or within(inner, room):
            return None
        if any(within(inner, allowed) for allowed in ROOMS[room]):
            return None
        return f"{room}/ may not import {inner}"
    for library, owners in OWNERS.items():
        if within(name, library) and (room not in owners or (owners is TORCH and module in LIGHT)):
            return f"{library} belongs to {', '.join(owner or 'the root' for owner in owners)}"
    return None


def violations(root: Path) -> list[str]:
    """Hold every module below a root against the table; one sentence for each import that breaks it."""
    found = []
    for path in [*root.glob("*.py"), *(file for room in ROOMS for file in (root / room).rglob("*.py"))]:
        module = ".".join(path.relative_to(root).with_suffix("").parts)
        room = module.split(".")[0] if "." in module else ""
        where = path.relative_to(root).as_posix()
        found += [
            f"{where}:{line}: {why}"
            for line, name in imports(path, module)
            if (why := refusal(room, module, name))
        ]
        found += [f"{where}:{line}: imports inside the package are relative" for line in relative_only(path)]
    return sorted(found)


def test_every_import_follows_the_table():
    assert violations(ROOT) == []


def test_what_lies_below_all_rooms_imports_none_of_them():
    assert refusal("", "digest", "loratune.errors.DamagedFile") is None
    assert refusal("", "digest", "loratune.study.records.State") is not None
    assert refusal("", "errors", "loratune.digest") is not None
    assert refusal("", "cli", "loratune.study.records.State") is None


def heavy_imports_of_tests(folder: Path) -> list[str]:
    """Find what brings torch into a folder of tests, itself or through the room that trains."""
    found = []
    for path in folder.rglob("*.py"):
        for line, name in imports(path, path.stem):
            heavy = any(within(name, library) for library, owners in OWNERS.items() if owners is TORCH)
            ours = name.removeprefix("loratune.")
            if within(ours, "objectives") and name != ours:
                heavy = not any(within(ours, light) for light in LIGHT)
            found += [f"{path.name}:{line}: {name}"] if heavy else []
    return found


@pytest.mark.parametrize("room", ["spaces", "storage", "search"])
def test_the_tests_of_these_rooms_need_no_torch(room):
    assert heavy_imports_of_tests(ROOT / "tests" / room) == []


def test_a_test_that_needs_torch_is_found(tmp_path):
    (tmp_path / "test_a.py").write_text(
        "from loratune.objectives.testing.fake import Fake\n"
        "from loratune.objectives.training.pack import Pack\n"
    )
    (tmp_path / "test_b.py").write_text("def test_b():\n    import peft\n")
    assert sorted(heavy_imports_of_tests(tmp_path)) == [
        "test_a.py:2: loratune.objectives.training.pack.Pack",
        "test_b.py:2: peft",
    ]


def test_every_module_lies_at_the_root_or_in_a_room():
    tracked = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    assert {Path(name).parts[0] for name in tracked if "/" in name} <= {*ROOMS, "tests", "benchmarks"}


@pytest.mark.parametrize(
    ("where", "code", "said"),
    [
        ("spaces/a.py", "from ..storage import store", "spaces/ may not import storage.store"),
        ("spaces/a.py", "import torch", "torch belongs to objectives, demo"),
        (
            "storage/a.py",
            "def f():\n    from ..search.loop import run",
            "storage/ may not import search.loop.run",
        ),
        (
            "reports/a.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..search import study",
            "reports/ may not import search.study",
        ),
        (
            "search/a.py",
            "from ..objectives.workers.process import Process",
            "search/ may not import objectives.workers",
        ),
        (
            "search/a.py",
            "from ..objectives import base, training",
            "search/ may not import objectives.training",
        ),
        ("search/a.py", "from .. import objectives", "search/ may not import objectives"),
        ("search/a.py", "from ..reports import page", "search/ may not import reports.page"),
        ("integrations/a.py", "from ..reports import view", "integrations/ may not import reports.view"),
        ("integrations/a.py", "from ..storage.store import Store", "integrations/ may not import storage"),
        ("search/a.py", "import sqlalchemy.exc", "sqlalchemy belongs to storage"),
        ("search/deeper/a.py", "from ...reports import page", "search/ may not import reports.page"),
        ("objectives/base.py", "from torch import Tensor", "torch belongs to"),
        ("objectives/workers/process.py", "def f():\n    import transformers", "transformers belongs to"),
        (
            "objectives/testing/fake.py",
            "from ..training.pack import Pack",
            "objectives.training.pack.Pack is not among the light",
        ),
        (
            "objectives/a.py",
            "from ..search.pruners.base import Decision",
            "objectives/ may not import search.pruners.base",
        ),
        (
            "objectives/a.py",
            "from ..storage.store import Store",
            "objectives/ may not import storage.store",
        ),
        ("objectives/a.py", "import optuna", "optuna belongs to spaces, storage, search, reports"),
        ("demo/__init__.py", "import transformers", "transformers belongs to"),
        ("demo/a.py", "from ..cli import main", "demo/ may not import cli.main"),
        ("reports/a.py", "from safetensors.torch import save", "safetensors.torch belongs to"),
        ("reports/a.py", "from safetensors import torch", "safetensors.torch belongs to"),
        ("storage/a.py", "import plotly.io", "plotly belongs to reports"),
        ("reports/a.py", "import click", "click belongs to the root, command"),
        ("cli.py", "import torch", "torch belongs to"),
        ("command/a.py", "def f():\n    import torch", "torch belongs to"),
        ("app/a.py", "from ..command import console", "app/ may not import command.console"),
        ("app/a.py", "import click", "click belongs to the root, command"),
        ("app/a.py", "from ..cli import main", "app/ may not import cli.main"),
        ("command/a.py", "from ..cli import main", "command/ may not import cli.main"),
        ("search/a.py", "from ..command import console", "search/ may not import command.console"),
        ("cli.py", "import optuna", "optuna belongs to"),
        ("__init__.py", "import json", "imports nothing"),
        ("search/a.py", "import loratune.reports", "relative"),
        ("search/a.py", "from spaces.params import LoraParams", "relative"),
        ("search/a.py", "import importlib\nimportlib.import_module('torch')", "torch belongs to"),
        ("search/a.py", "import importlib\nimportlib.import_module(name)", "cannot be checked"),
    ],
)
def test_a_planted_violation_is_found(tmp_path, where, code, said):
    path = tmp_path / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code, encoding="utf-8")
    found = violations(tmp_path)
    assert found
    assert any(line.startswith(where) and said in line for line in found), found


@pytest.mark.parametrize(
    ("where", "code"),
    [
        (
            "search/a.py",
            "from ..objectives.base import Worker\nfrom ..storage import store\nfrom .interrupt import Stop",
        ),
        ("search/a.py", "from ..objectives import base"),
        (
            "reports/a.py",
            "from safetensors.numpy import save\nimport optuna.importance\nfrom .. import __version__",
        ),
        (
            "objectives/testing/fake.py",
            "from .. import base\nfrom .surface import loss\nfrom ...spaces import params",
        ),
        (
            "objectives/training/pack.py",
            "import torch\nfrom ...spaces.params import LoraParams\nfrom .. import base",
        ),
        ("demo/build.py", "import torch\nfrom ..objectives.data.dataset import load_data"),
        (
            "cli.py",
            "import click\nfrom .search.loop import run\nfrom .objectives.workers.process import Process",
        ),
    ],
)
def test_what_the_table_allows_is_not_refused(tmp_path, where, code):
    path = tmp_path / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code, encoding="utf-8")
    assert violations(tmp_path) == []
