"""A study whose best is selected by a metric, as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from loratune.demo import model_path


@pytest.fixture(scope="module")
def parity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "parity.csv"
    rows = [f"{a} and {b},{'odd' if (a + b) % 2 else 'even'}" for a in range(16) for b in range(16)]
    file.write_text("\n".join(["text,label", *rows]))
    return file


def data(file: Path) -> tuple[str, ...]:
    return (f"--model={model_path()}", f"--data={file}", "--columns=prompt=text,completion=label")


def test_a_metric_that_the_data_has_no_labels_for_is_wrong_usage_and_nothing_is_begun(tune, small, tmp_path):
    ended = tune("search", "--trials=1", "--metric=accuracy", *small)
    assert ended.code == 2
    assert "--metric accuracy: the data has no labels" in ended.err.splitlines()[-1]
    assert "exact_match" in ended.err
    assert "Traceback" not in ended.err
    assert list(tmp_path.iterdir()) == []


def test_a_metric_that_there_is_not_is_answered_with_those_that_there_are(refused):
    ended = refused("search", "--metric=f1")
    assert ended.code == 2
    for name in ("loss", "token_accuracy", "accuracy", "f1_macro", "exact_match", "rouge_l"):
        assert name in ended.complaint


def test_it_is_confirmed_by_the_metric_and_the_test_set_is_measured_by_it(tune, small, parity, tmp_path):
    flags = ("--trials=2", "--study=labels", "--metric=accuracy")
    assert tune("search", *flags, *data(parity), *small).code == 0
    ended = tune("confirm", "labels", "--top=1", "--seeds=2", "--workers=1")
    assert ended.code == 0, ended.err
    said = " ".join(ended.out.split())
    assert "is recommended: mean accuracy of the labels " in said
    assert "It is judged by accuracy of the labels, of which more is better" in said
    (found,) = tune("show", "labels", "--json").json["confirmations"]
    assert (found["metric"], found["tested"]["metric"]) == ("accuracy", "accuracy")
    for one in found["configurations"]:
        if one["lost"] is None:
            assert one["mean"]["value"] == pytest.approx(sum(one["scores"]) / len(one["scores"]))
    tested = found["tested"]
    assert 0 <= tested["mean"]["value"] <= 1
    assert f"accuracy of the labels {tested['mean']['value']:.4f}" in said
    assert tune("report", "labels", "-o", "page.html").code == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "is recommended: mean accuracy of the labels" in page


def test_the_best_goes_by_the_metric_wherever_it_is_shown(tune, small, parity):
    ended = tune("search", "--trials=4", "--study=labels", "--metric=accuracy", *data(parity), *small)
    assert ended.code == 0, ended.err
    (row,) = json.loads(tune("list", "--json").out)
    trials = [tune("show", f"--trial={number}", "--json").json for number in range(4)]
    complete = [trial for trial in trials if trial["state"] == "complete"]
    best = max(complete, key=lambda trial: (trial["score"], -trial["value"]))
    assert (row["best_trial"], row["best"], row["score"]) == (best["number"], best["value"], best["score"])
    shown = " ".join(tune("show").out.split())
    assert f"accuracy of the labels {best['score']:.4f}" in shown
    # Two measures of one model, each by its name.
    assert "; the base model has 0." in shown
    assert "The base model has eval loss " in shown
    exported = tune("export").out.splitlines()[0]
    assert f"Trial {best['number']} of study labels, the best: accuracy of the labels" in exported
