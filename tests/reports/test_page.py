import base64
import dataclasses
import hashlib
import json
import re
from html import unescape
from html.parser import HTMLParser

import pytest
from loratune.errors import ReportError
from loratune.reports.page import _inside_script, render, write_report
from loratune.reports.samples import SampledPrompt, Samples
from loratune.study.facts import BadRecord, ColumnUse, Facts, LeftOut
from loratune.study.format import show_value
from loratune.study.stage import Entry, Stage
from made_up_studies import with_facts

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'{{7*7}}"


class Page(HTMLParser):
    """What a browser would find: scripts, tags, event handlers, text."""

    def __init__(self, html):
        super().__init__()
        self.scripts, self.data, self.tags, self.handlers, self.links, self.text = [], {}, [], [], [], []
        self.policy = None
        self._in = None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.handlers += [name for name in attrs if name.startswith("on")]
        self.links += [attrs[name] for name in ("src", "href") if name in attrs]
        if attrs.get("http-equiv") == "Content-Security-Policy":
            self.policy = attrs["content"]
        self._in = (tag, attrs)
        if tag == "script":
            self.scripts.append((attrs, ""))

    def handle_data(self, data):
        if self._in and self._in[0] == "script":
            attrs, text = self.scripts[-1]
            self.scripts[-1] = (attrs, text + data)
        elif not (self._in and self._in[0] == "style"):
            self.text.append(data)

    def handle_endtag(self, tag):
        self._in = None


@pytest.fixture(scope="module")
def page(view):
    return Page(render(view))


def test_the_verdict_comes_first(view, page):
    text = " ".join("".join(page.text).split())
    best = view.best()
    assert f"Trial {best.number} is the best of 60: eval loss {best.value:.4f}" in text
    order = [
        "is the best of",
        "against the base model",
        "against trial 0",
        "Its configuration",
        "The base model has",
        "What mattered",
        "The trials",
        "60 of 60 trials have ended: ",
        "ending early saved ",
        "Which hyperparameters set the best trials apart",
        "All 60 trials",
        "The data",
        "The model, the search and the machine",
        "Going on",
    ]
    places = [text.index(words) for words in order]
    assert places == sorted(places)


def test_its_commands_find_the_database_again(view):
    assert "\ntune export demo\n" in render(view)
    text = unescape(render(view, at=" --storage 'my studies.db'"))
    assert "\ntune export demo --storage 'my studies.db' --format peft -o best/\n" in text
    assert "\ntune show demo --storage 'my studies.db'\n" in text


@pytest.mark.parametrize(("kind", "confirms"), [("longer", True), ("confirm", False), ("train", False)])
def test_a_study_of_listed_trials_is_not_told_to_have_more(view, kind, confirms):
    assert "\ntune resume demo --trials " in render(view).replace("<pre>", "\n").replace("<code>", "\n")
    entries = tuple(Entry(params=trial.params, seed=0, trial=trial.number) for trial in view.trials)
    stage = Stage(kind=kind, parent="mother", entries=entries)
    config = dataclasses.replace(view.study.config, stage=stage)
    trials = tuple(trial for trial in view.trials if trial.state != "running")
    study = dataclasses.replace(view.study, config=config, trials=len(trials))
    followed = dataclasses.replace(view, study=study, trials=trials, live=False)
    text = render(followed)
    assert "tune resume" not in text
    assert ("tune confirm demo\n" in text) == confirms
    assert followed.more(" --trials N") == "it has no more to train; ask study mother, which it follows from"


def test_nothing_is_loaded_from_elsewhere(page):
    assert page.links == []
    assert "link" not in page.tags
    assert "default-src 'none'" in page.policy


def test_only_scripts_that_the_policy_names_can_run(page):
    running = [text for attrs, text in page.scripts if attrs.get("type") != "application/json"]
    hashes = {
        "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"
        for text in running
    }
    assert hashes == set(re.findall(r"'sha256-[^']+'", page.policy))
    script_rule = page.policy.split("script-src")[1].split(";")[0]
    assert "unsafe" not in script_rule


def test_every_figure_is_there_as_data(page):
    figures = {attrs["id"]: json.loads(text) for attrs, text in page.scripts if "id" in attrs}
    assert set(figures) == {
        f"figure-{kind}" for kind in ("importance", "history", "curves", "parallel", "pareto", "timeline")
    }
    assert all(figure["data"] for figure in figures.values())


def test_every_trial_has_a_row_with_values_to_sort_by(view):
    html = render(view)
    rows = re.findall(r"<tr[^>]*>\s*<td class=\"num\" data-value=\"(\d+)\"", html)
    assert [int(number) for number in rows] == list(range(60))


def test_no_number_is_broken_on_a_narrow_screen(view):
    html = render(view)
    kept = set(re.findall(r"^([^{}@\n]+) \{[^}]*white-space: nowrap[^}]*\}", html, flags=re.MULTILINE))
    assert {".when", ".card b", "table.facts td.value", "td.num, th.num"} <= kept
    values = re.findall(r'<th scope="row">(\w+)</th><td class="value">([^<]*)</td>', html)
    best = view.best().params
    assert {name for name, _ in values} >= {"learning_rate", "batch_size", "lora_rank", "lora_alpha"}
    assert dict(values)["learning_rate"] == show_value(best.learning_rate)
    assert len(re.findall(r'<span class="when">\d{4}-\d\d-\d\d \d\d:\d\d UTC</span>', html)) == 2


def test_text_of_users_models_and_data_cannot_become_markup(make_view):
    view = make_view(
        30,
        name=EVIL,
        model={"name_or_path": EVIL},
        config={"train": EVIL},
        data={
            "rendered": f"{EVIL}⟦{EVIL}⟧",
            "format": EVIL,
            "template": EVIL,
            "fingerprint": EVIL,
        },
    )
    rows = tuple(dataclasses.replace(row, reason=EVIL, source=EVIL) for row in view.trials)
    view = with_facts(view, environment={EVIL: EVIL})
    view = with_facts(view, "data", bad_records=(BadRecord(file=EVIL, line=1, reason=EVIL),))
    page = Page(render(dataclasses.replace(view, trials=rows)))
    assert page.handlers == []
    assert "img" not in page.tags
    assert len([attrs for attrs, _ in page.scripts if not attrs]) == 2
    text = "".join(page.text)
    assert text.count(EVIL) > 10
    assert "{{7*7}}" in text


def test_data_inside_a_script_element_cannot_end_it():
    text = json.dumps({EVIL: "<!-- & \u2028"}, ensure_ascii=False)
    assert not set("<>&\u2028") & set(_inside_script(text))
    assert json.loads(_inside_script(text)) == json.loads(text)


def test_the_target_text_of_the_example_is_marked(view):
    assert "&lt;|assistant|&gt;<mark>It again.&lt;|end|&gt;</mark>" in render(view)


def test_bad_records_are_named_by_file_and_line(page):
    text = " ".join(page.text)
    assert "train.jsonl:17 no field 'output'" in text
    assert "… and 2 more." in text


def test_columns_and_reasons_are_in_the_data_section(make_view):
    data = {
        "columns": (
            ColumnUse(file="train.csv", name="question", used_as="prompt"),
            ColumnUse(file="train.csv", name="id", used_as=""),
        ),
        "reasons": (LeftOut(reason="'text' is empty", count=3, places=("train.csv:17", "train.csv:20")),),
        "shortened": LeftOut(reason="turns were cut off", count=1, places=("train.csv:9",)),
        "truncated": 5,
        "ends_lost": 4,
        "rendered_cut": "9 tokens of its answer were cut off",
    }
    text = " ".join(" ".join(Page(render(make_view(30, data=data))).text).split())
    for words in (
        "columns prompt: question; not used: id",
        "left out: 3 records 'text' is empty (train.csv:17, train.csv:20, …)",
        "cut short: 1 record turns were cut off (train.csv:9)",
        "5 of 4,000 examples cut to length, where 4 answers lost the end and the stop token with it",
        "Cut to length: 9 tokens of its answer were cut off.",
        "“startup” trials are spread over the space before the sampler goes by losses",
        "in 8 equal parts (rounds) of",
    ):
        assert words in text


def test_a_study_made_before_columns_were_kept_has_a_report(make_view):
    view = make_view(30)
    stored = view.study.facts.to_json()
    for name in ("columns", "reasons", "shortened", "ends_lost", "rendered_cut", "endings"):
        del stored["data"][name]
    study = dataclasses.replace(view.study, facts=Facts.from_json(stored))
    view = dataclasses.replace(view, study=study)
    text = " ".join(Page(render(view)).text)
    assert "left out as bad" in text
    assert "columns prompt" not in text


def test_a_bad_record_of_a_file_without_lines_is_named_by_its_position(make_view):
    bad = BadRecord(file="train.json", line=17, reason="no field 'output'", place="record")
    text = " ".join(Page(render(make_view(30, data={"bad": 1, "bad_records": (bad,)}))).text)
    assert "train.json: record 17 no field 'output'" in text
    assert "… and" not in text


@pytest.mark.parametrize(
    ("trials", "states", "words"),
    [
        (0, {}, "No trial has ended yet."),
        (1, {0: "running"}, "No trial has ended yet."),
        (1, {0: "complete"}, "Trial 0 is the only one that has ended so far: eval loss"),
        (3, {0: "pruned", 1: "diverged", 2: "running"}, "there is no best configuration yet"),
        (25, dict.fromkeys(range(25), "diverged"), "there is no best configuration yet"),
        (3, {0: "infeasible", 1: "failed", 2: "failed"}, "there is no best configuration yet"),
    ],
)
def test_a_study_in_any_state_has_a_report(make_view, trials, states, words):
    page = Page(render(make_view(trials, states=states, wanted=40)))
    text = " ".join(" ".join(page.text).split())
    assert words in text
    assert "This search is not over:" in text
    assert "tune resume demo" in text


def test_losses_that_are_missing_do_not_break_it(make_view):
    view = make_view(30)
    broken = tuple(
        dataclasses.replace(p, eval_loss=None, train_loss=None, grad_norm=None) for p in view.curve
    )
    assert "is the best of 30" in render(dataclasses.replace(view, curve=broken, evaluations={}))


def test_too_little_for_importance_is_said_with_the_number(make_view):
    assert "8 trials have reached 384 examples, and at least 20 are needed" in render(make_view(8))


def test_no_secret_of_a_database_is_in_it(view):
    assert "storage" not in render(view).split("<script>")[0]


def test_the_page_is_written_whole_into_a_new_folder(view, tmp_path):
    write_report(view, tmp_path / "new" / "report.html")
    assert (tmp_path / "new" / "report.html").read_text(encoding="utf-8").endswith("</html>")
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["report.html"]


def test_a_place_that_cannot_be_written_is_one_line(view, tmp_path):
    with pytest.raises(ReportError, match="is a folder; name a file"):
        write_report(view, tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ReportError, match="cannot be written"):
        write_report(view, tmp_path / "file" / "report.html")


def test_what_models_write_is_beside_the_right_answer_and_cannot_become_markup(view):
    row = SampledPrompt(prompt=EVIL, right="yes", written=("yes", EVIL, ""))
    found = Samples(models=("base model", EVIL, "best"), prompts=(row,), most=64, notes=(EVIL,))
    html = render(view, samples=found)
    page = Page(html)
    assert page.handlers == []
    assert len([attrs for attrs, _ in page.scripts if not attrs]) == 2
    part = html.partition('<section id="samples">')[2].partition("</section>")[0]
    assert part.count("alert(1)") == 4
    assert '<td class="text right">yes</td>' in part
    assert "(nothing)" in part
    assert "The first validation example, answered" in " ".join(part.split())
    assert "64 tokens at most" in part
    assert '<section id="samples">' not in render(view)
