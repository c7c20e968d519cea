"""The page on the space says what the code does."""

import re
from pathlib import Path

from loratune.spaces.params import HYPERPARAMETERS, NAMES
from loratune.spaces.parse import load_space, parse_set
from loratune.spaces.value_kinds import Whole

PAGE = (Path(__file__).parents[2] / "docs" / "space.md").read_text(encoding="utf-8")


def test_every_set_on_the_page_is_read():
    texts = re.findall(r"^--set (.+)$", PAGE, flags=re.MULTILINE)
    assert len(texts) == 5
    assert {parse_set(text).name for text in texts} <= set(NAMES)


def test_the_file_on_the_page_is_read(tmp_path):
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    path = tmp_path / "space.yaml"
    path.write_text(block, encoding="utf-8")
    words = {one.name: one.words for one in load_space(path)}
    assert words["lora_rank"] == "4, 8, 16, 32, 64"
    assert words["lora_target"] == "q_proj,v_proj | all"
    assert words["learning_rate"] == "1e-05 to 0.002, log scale"


def row(one):
    """Return the line of the table that the register gives a hyperparameter."""
    default = (
        "–"
        if one.default is None
        else f"`{one.default}`"
        if isinstance(one.default, str)
        else f"`{str(one.default).lower()}`"
        if isinstance(one.default, bool)
        else f"{one.default:g}"
    )
    searched = (
        "category"
        if not one.kind.ordered
        else "list, by its order"
        if isinstance(one.kind, Whole)
        else "range or list"
    )
    meaning = one.meaning[:1].upper() + one.meaning[1:]
    return f"| `{one.name}` | {one.kind.limits} | {default} | {searched} | {meaning} |"


def test_the_table_says_what_the_register_says_of_every_hyperparameter():
    table = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert table == [row(one) for one in HYPERPARAMETERS.values()]
