"""The list of exporters: one contract, and nothing of an exporter is loaded before it is asked for."""

import re
import subprocess
import sys

import pytest
from click.testing import CliRunner
from loratune.app.exporting import export
from loratune.cli import tune
from loratune.errors import UsageError
from loratune.integrations.registry import EXPORTERS


def test_every_exporter_is_a_choice_of_the_command():
    found = re.search(r"--format \[(.*?)\]", CliRunner().invoke(tune, ["export", "--help"]).output)
    assert found is not None
    assert found[1].split("|") == list(EXPORTERS)


def test_an_unknown_format_gets_the_nearest():
    with pytest.raises(UsageError, match=r"'lamafactory' is not known \(did you mean 'llamafactory'\?\)"):
        export(format="lamafactory")


def test_the_list_alone_loads_no_exporter():
    code = "import sys, loratune.integrations.registry; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = {name.rpartition(".")[2] for name in done.stdout.split() if ".integrations." in name}
    assert ours == {"exporter", "registry"}


@pytest.mark.parametrize("name", [name for name, one in EXPORTERS.items() if one.makes != "text"])
def test_what_is_no_text_needs_a_place_and_says_where(name, tmp_path, monkeypatch):
    monkeypatch.setattr("loratune.app.exporting.load_view", lambda *_: None)
    monkeypatch.setattr("loratune.app.exporting.handover", lambda *_, **__: _Handed())
    monkeypatch.setattr("loratune.app.exporting.Store.open", lambda *_, **__: _Handed())
    with pytest.raises(UsageError, match=f"say where with -o, such as -o {EXPORTERS[name].example}"):
        export(trial=0, format=name, anyway=True)


class _Handed:
    gains_nothing = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None
