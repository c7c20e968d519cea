"""What base model, default and best write to the same prompts, as a user asks a report for it."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest


def section(page: Path) -> str:
    """Return the part of a page about what the models write."""
    text = page.read_text(encoding="utf-8")
    return text.partition('<section id="samples">')[2].partition("</section>")[0]


def headings(part: str) -> list[str]:
    return re.findall(r'<th scope="col">([^<]*)</th>', part)


def rows(part: str) -> list[list[str]]:
    return [
        [
            html.unescape(re.sub(r"<[^>]+>", "", cell))
            for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.S)
        ]
        for row in re.findall(r"<tr>(<td.*?)</tr>", part, re.S)
    ]


def test_the_models_answer_the_same_prompts_and_a_default_that_was_not_kept_only_if_asked(tune, study):
    (row,) = json.loads(tune("list", "--json", cwd=study).out)
    best = f"trial {row['best_trial']} (best)"
    assert best != "trial 0 (best)"
    adapters = study / "tune-artifacts" / "1" / "adapters"
    (adapters / "trial-00000.safetensors").unlink(missing_ok=True)
    ended = tune("report", "--samples=2", cwd=study)
    assert ended.code == 0, ended.err
    assert "base model writes 2 answers" in ended.err
    part = section(study / "report.html")
    assert headings(part) == ["prompt", "right answer", "base model", best]
    assert "trial 0 (default) is not here: its adapter" in part
    assert "With --retrain it is trained again." in part
    first = rows(part)
    assert len(first) == 2
    ended = tune("report", "--samples=2", "--retrain", cwd=study)
    assert ended.code == 0, ended.err
    assert "trial 0 (default): its adapter" in ended.err
    part = section(study / "report.html")
    assert headings(part) == ["prompt", "right answer", "base model", "trial 0 (default)", best]
    assert "is not here" not in part
    assert [[*own[:3], own[4]] for own in rows(part)] == first


def test_a_report_that_is_not_asked_for_it_has_no_such_part(tune, finished, tmp_path):
    ended = tune("report", "-o", str(tmp_path / "page.html"), cwd=finished)
    assert ended.code == 0, ended.err
    assert section(tmp_path / "page.html") == ""
    assert "loading" not in ended.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--samples=101",), 2, "'101' is no whole number from 0 to 100"),
        (("--samples=-1",), 2, "'-1' is no whole number from 0 to 100"),
        (("--retrain",), 2, "--retrain is for the trials that --samples N lets write"),
        (("--samples=2", "-o", "."), 1, ".: is a folder; name a file"),
        (("--samples=2", "-o", "tune.db"), 1, "tune.db: is there already and was not made by this command"),
    ],
)
def test_what_makes_no_sense_is_refused_before_a_model_is_loaded(refused, study, words, code, said):
    ended = refused("report", *words, cwd=study)
    assert ended.code == code
    assert said in ended.complaint
    assert not (study / "tune-artifacts" / "logs" / "samples.log").exists()
