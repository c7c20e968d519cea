"""docs/architecture.md names functions by their file; each of them must be there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
STEP = re.compile(r"^\| `([\w/]+\.py)` \| `([\w.]+)`(?:, `([\w.]+)`)? \|", re.MULTILINE)


def defined(path: Path) -> set[str]:
    """Return the functions, classes and methods of a file, methods as ``Class.method``."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{it.name}" for it in node.body if isinstance(it, ast.FunctionDef)}
    return found


def test_every_function_on_the_way_of_a_learning_rate_and_a_loss_is_where_the_page_says():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    steps = STEP.findall(page)
    assert len(steps) >= 25
    lost = [
        f"{path}: {name}"
        for path, *names in steps
        for name in names
        if name and name not in defined(ROOT / path)
    ]
    assert lost == []


def test_each_function_is_named_once():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    steps = [(path, name) for path, name, _ in STEP.findall(page)]
    assert len(steps) == len(set(steps))
