"""Bad input to the command as a process, as a script calls it: an exit code, and one line with the value."""

from __future__ import annotations

import pytest
from loratune.storage.store import Store
from made_up_studies import make_config, make_facts


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["search", "--set=lora_rank=0"], 2, ("lora_rank: 0 ",)),
        (["search", "--set=learning_rate=-1e-3"], 2, ("learning_rate", "-0.001")),
        (["search", "--set=learning_rate=1e-2..1e-3:log"], 2, ("learning_rate", "0.01", "0.001")),
        (["search", "--set=learnig_rate=1e-3"], 2, ("learnig_rate", "did you mean 'learning_rate'?")),
        (["search", "--study=my study"], 1, ("'my study'", "1 to 64 letters")),
        (["search", f"--study={'x' * 65}"], 1, ("x" * 65, "1 to 64 letters")),
        (["show", "nope"], 1, ("'nope'", "not in")),
        (["list", "--storage=list.txt"], 1, ("list.txt", "not a database")),
        (["search", "--batch=4"], 2, ("--batch", "did you mean --set batch_size=…?", "search --help")),
        (["search", "--lr=1e-3"], 2, ("--lr", "did you mean --set learning_rate=…?")),
        (["search", "--lora-rank=8"], 2, ("--lora-rank", "did you mean --set lora_rank=…?")),
        (["resume", "--batch=4"], 2, ("no such option --batch; see",)),
        (["search", "--trails=4"], 2, ("--trails", "--trials", "search --help")),
        (["search", "--trials=many"], 2, ("--trials", "many")),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_that_names_it(tune, tmp_path, words, code, says):
    (tmp_path / "list.txt").write_text("a shopping list\n" * 100)
    with Store.open(str(tmp_path / "tune.db"), mode="create") as store:
        store.create_study(name="mine", trials=1, config=make_config(), facts=make_facts())
    ended = tune(*words)
    assert ended.code == code
    assert ended.out == ""
    for word in says:
        assert word in ended.complaint
