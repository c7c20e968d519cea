"""A hyperparameter is written once: nobody but the register and who uses one knows it by name."""

import ast
import dataclasses
import subprocess
from collections.abc import Iterator
from pathlib import Path

from loratune.spaces.params import FIELDS, HYPERPARAMETERS, NAMES, LoraParams

ROOT = Path(__file__).parents[2]

REGISTER = "spaces/params.py"

SPELLED = {
    "spaces/space.py": {"batch_size", "lora_alpha", "lora_dropout", "lora_rank", "lora_target"},
    "spaces/parse.py": {"lora_alpha", "lora_rank"},
    "spaces/arguments.py": {"lora_alpha"},
    "spaces/presets.py": {"learning_rate", "batch_size", "lora_rank", "lora_alpha_ratio", "warmup_ratio"},
    "integrations/llamafactory.py": {"lora_target"},
    "integrations/trl.py": {"lora_alpha", "lora_dropout", "loraplus_lr_ratio", "use_rslora"},
    "integrations/llamafactory_config.py": {
        "batch_size",
        "learning_rate",
        "lora_alpha",
        "lora_rank",
        "lora_target",
        "lr_scheduler_type",
        "warmup_ratio",
    },
    "app/request.py": {"lr_scheduler_type"},
    "app/trainer_file.py": {"batch_size", "warmup_ratio"},
    "command/plain_training.py": {"learning_rate"},
    "study/waiting.py": {"warmup_ratio"},
    "storage/tables.py": {"learning_rate"},
    "storage/rows.py": {"learning_rate"},
}
"""Who spells a hyperparameter as a text, beside the register: what alpha's two names need, the presets, one
name that LLaMA-Factory takes otherwise than PEFT, what a file of its says otherwise, a flag, how long a
warm-up may be; the last two are a curve's column of that name."""

REFERENCE = "objectives/testing/reference.py"
SESSION = {"objectives/training/session.py", REFERENCE}
STEPPED = {"objectives/training/optimizer.py", REFERENCE}
PLAIN = "objectives/training/plain_training.py"
SURFACE = "objectives/testing/surface.py"
USED = {
    "learning_rate": {
        *STEPPED,
        PLAIN,
        SURFACE,
        "app/plain_training.py",
        "objectives/testing/fake.py",
        "reports/yardsticks.py",
        "study/ladder.py",
    },
    "batch_size": {
        *SESSION,
        PLAIN,
        SURFACE,
        "app/first_trials.py",
        "app/planning.py",
        "integrations/trainer_keys.py",
        "objectives/testing/fake_checkpoint.py",
        "reports/confirmation.py",
        "study/handover.py",
    },
    "lora_rank": {
        SURFACE,
        "integrations/peft.py",
        "objectives/testing/fake_checkpoint.py",
        "objectives/training/checkpoint.py",
        "objectives/training/pack.py",
        "spaces/space.py",
        "study/facts.py",
    },
    "lora_alpha": {"integrations/trainer_keys.py", "spaces/arguments.py"},
    "warmup_ratio": {REFERENCE, SURFACE, "spaces/arguments.py", "study/handover.py", "study/waiting.py"},
    "lora_dropout": {"objectives/training/slot.py", REFERENCE, SURFACE},
    "weight_decay": {*STEPPED, PLAIN},
    "lora_target": {
        "integrations/llamafactory.py",
        REFERENCE,
        "objectives/training/layout.py",
        "study/facts.py",
    },
    "lr_scheduler_type": {*STEPPED, "spaces/arguments.py", "app/trainer_file.py"},
    "loraplus_lr_ratio": {*STEPPED, SURFACE, "integrations/trl.py"},
}
"""Where a trial's value acts: training and its witness, the made-up task, and what depends on that value."""

MADE = {"spaces/presets.py"}
"""Who makes parameters of its own by naming fields."""


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Yield every module of the product, by its path; tests, benchmarks and the making of the demo apart."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if not name.startswith(("tests/", "benchmarks/", "demo/")) and (ROOT / name).exists():
            yield name, ast.parse((ROOT / name).read_text(encoding="utf-8"))


def spelled(tree: ast.AST) -> set[str]:
    """Return the hyperparameters that stand in a module as texts of their own."""
    texts = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return texts & set(NAMES)


def used(tree: ast.AST) -> set[str]:
    """Return the hyperparameters that a module takes from something called params."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in FIELDS
        and ast.unparse(node.value).endswith("params")
    }


def made(tree: ast.AST) -> set[str]:
    """Return the hyperparameters that a module gives to ``LoraParams`` by name."""
    return {
        keyword.arg
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "LoraParams"
        for keyword in node.keywords
        if keyword.arg is not None
    }


def test_a_hyperparameter_is_spelled_where_the_list_says_and_nowhere_else():
    assert {
        name: found for name, tree in sources() if name != REGISTER and (found := spelled(tree))
    } == SPELLED


def test_a_trials_value_is_used_where_the_list_says_and_nowhere_else():
    found: dict[str, set[str]] = {}
    for module, tree in sources():
        for name in used(tree):
            found.setdefault(name, set()).add(module)
    assert found == USED


def test_only_presets_make_parameters_by_their_names():
    assert {name for name, tree in sources() if made(tree)} <= MADE


def test_the_readers_of_sources_see_each_way_of_naming_one():
    tree = ast.parse('a = {"lora_rank": 1}; b = self._params.lora_alpha; c = LoraParams(batch_size=1)')
    assert (spelled(tree), used(tree), made(tree)) == ({"lora_rank"}, {"lora_alpha"}, {"batch_size"})


def test_the_register_says_of_every_field_all_that_others_take():
    assert tuple(FIELDS) == tuple(field.name for field in dataclasses.fields(LoraParams))
    for name, one in HYPERPARAMETERS.items():
        assert one.name == name
        assert one.meaning
        assert "\n" not in one.meaning
        assert len(one.heading) <= 10
    headings = [one.heading for one in HYPERPARAMETERS.values()]
    assert len(set(headings)) == len(headings)


def test_every_default_is_a_value_that_its_hyperparameter_allows():
    for name, one in FIELDS.items():
        if one.default is not None:
            assert one.kind.listed(name, one.default) == one.default
