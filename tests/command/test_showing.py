"""What ``tune list`` and ``tune show`` print, from a study that made-up workers have trained."""

import dataclasses
import io
import json

import pytest
from click.testing import CliRunner
from loratune.app.exporting import handover
from loratune.app.request import choose_preset, make_config, make_request
from loratune.cli import tune as group
from loratune.command import listing, showing
from loratune.command.table_columns import SHORT
from loratune.integrations.plain import export_yaml
from loratune.objectives.testing.fake import FakeFleet, FakePlan
from loratune.reports.curve_counts import reading_of
from loratune.reports.load import load_view
from loratune.reports.plots.save import plot_figure
from loratune.reports.plots.text import plot_text
from loratune.reports.report_facts import study_facts
from loratune.reports.trial_ends import outcomes
from loratune.reports.verdict import verdict
from loratune.search.interrupt import StopSignal
from loratune.search.loop import run
from loratune.search.study_record import create
from loratune.storage.store import Store
from loratune.study.events import StudyProgress
from loratune.study.format import show_bytes
from loratune.study.pruners import PRUNERS
from rich.console import Console

TRIALS = 24


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A database with a finished study and one that has not begun."""
    file = tmp_path_factory.mktemp("shown") / "tune.db"
    request = make_request(None, {})
    config = make_config(request, choose_preset(request))
    fleet = FakeFleet(FakePlan())
    facts = fleet(0).prepare(config.objective)
    with Store.open(str(file), mode="create") as store:
        create(store, name="later", config=config, facts=facts, trials=5)
        study = create(store, name="ended", config=config, facts=facts, trials=TRIALS)
        assert run(store, study, factory=fleet).why == "complete"
    return file


@pytest.fixture
def store(path):
    with Store.open(str(path), mode="read") as opened:
        yield opened


@pytest.fixture
def view(store):
    return load_view(store, "ended")


def text_of(draw, width=120):
    out = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    draw(out)
    return out.file.getvalue()


def test_a_row_counts_every_trial_once(store):
    row = listing.study_row(store, store.study("ended"))
    assert row["ended"] == row["trials"] == sum(row["states"].values()) == TRIALS
    assert row["owner"] is None
    trials = {trial.number: trial for trial in store.trials(store.study("ended").id)}
    assert row["best"] == trials[row["best_trial"]].value
    assert row["best"] == min(trial.value for trial in trials.values() if trial.value is not None)
    assert row["disk_bytes"] > 0
    assert json.loads(json.dumps(row)) == row


def test_a_study_that_has_not_begun_has_a_row_as_well(store):
    row = listing.study_row(store, store.study("later"))
    assert (row["ended"], row["trials"], row["best"], row["states"]) == (0, 5, None, {})
    text = text_of(lambda out: out.print(listing.study_table([row], out.width)))
    assert "0/5" in text
    assert "–" in text


@pytest.mark.parametrize("width", [50, 60, 80, 120])
def test_no_word_of_the_table_of_studies_is_broken(width):
    row = {
        "study": "stories260K-train_alpaca",
        "kind": None,
        "follows": None,
        "search": None,
        "goes_on_with": None,
        "trials": 100,
        "ended": 93,
        "states": {"complete": 43, "pruned": 50, "running": 7},
        "best": 1.23456,
        "score": None,
        "owner": None,
        "disk_bytes": 123_456_789,
        "created": "2026-01-02T03:04:05",
    }
    lines = text_of(lambda out: out.print(listing.study_table([row], out.width)), width).splitlines()
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    for word in ("stories260K-train_alpaca", "93/100", "1.2346", "complete,", "pruned,", "interrupted"):
        assert word in words
    least = {"study", "trials", "best", "outcomes", "owner"}
    headings = set(lines[0].split()) if width > 50 else set(words)  # below one another, where it is narrow
    assert headings >= (least if width < 100 else {*least, "disk", "created"})


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_of_studies_keeps_names_whole(store, width):
    rows = [listing.study_row(store, study) for study in store.studies()]
    text = text_of(lambda out: out.print(listing.study_table(rows, out.width)), width)
    assert max(map(len, text.splitlines())) <= width
    for words in ("ended", "later", f"{TRIALS}/{TRIALS}", f"{rows[1]['best']:.4f}"):
        assert words in text


def test_a_live_owner_is_shown(store, path):
    with Store.open(str(path), mode="write") as owner:
        lease = owner.acquire(owner.study("later").id)
        assert listing.study_row(store, store.study("later"))["owner"] == f"pid {lease.pid} on {lease.host}"
    assert listing.study_row(store, store.study("later"))["owner"] is None


@pytest.fixture
def unfinished(tmp_path):
    """A database with a study that was interrupted among its trials."""
    request = make_request(None, {})
    config = make_config(request, choose_preset(request))
    fleet = FakeFleet(FakePlan())
    with Store.open(str(tmp_path / "tune.db"), mode="create") as store:
        facts = fleet(0).prepare(config.objective)
        study = create(store, name="half", config=config, facts=facts, trials=TRIALS)

        class Stopping:
            def on_event(self, event):
                if isinstance(event, StudyProgress) and event.finished >= 3 and event.counts["running"]:
                    stop.request()
                    stop.request()  # at once

        stop = StopSignal()
        assert run(store, study, factory=fleet, stop=stop, observers=[Stopping()]).why == "interrupted"
        yield store


def test_trials_that_nobody_trains_are_called_interrupted_everywhere(unfinished):
    study = unfinished.study("half")
    waiting = [trial for trial in unfinished.trials(study.id) if trial.state == "running"]
    assert waiting
    listed = text_of(
        lambda out: out.print(listing.study_table([listing.study_row(unfinished, study)], 160)), 160
    )
    view = load_view(unfinished, "half")
    shown = text_of(lambda out: showing.print_trials(out, view), 160)
    one = text_of(lambda out: showing.print_trial(out, view, waiting[0], None))
    for text in (listed, shown, one, outcomes(view).words, plot_text(view, "history", 100)):
        assert "interrupted" in text
        assert "running" not in text
    for kind in ("history", "curves", "timeline"):
        assert "running" not in plot_figure(view, kind).to_json()
    unfinished.acquire(study.id)
    live = load_view(unfinished, "half")
    assert "running" in text_of(lambda out: showing.print_trial(out, live, waiting[0], None))
    assert f"{len(waiting)} running" in text_of(
        lambda out: out.print(listing.study_table([listing.study_row(unfinished, study)], 160)), 160
    )


@pytest.fixture
def waiting(tmp_path):
    """A database with a study that was interrupted while trials of it waited for a place."""
    request = make_request(None, {"pruner": PRUNERS.parse("promote")})
    config = make_config(request, choose_preset(request))
    fleet = FakeFleet(FakePlan())
    told = []
    with Store.open(str(tmp_path / "tune.db"), mode="create") as store:
        facts = fleet(0).prepare(config.objective)
        study = create(store, name="paused", config=config, facts=facts, trials=TRIALS)

        class Stopping:
            def on_event(self, event):
                if isinstance(event, StudyProgress):
                    told.append(event)
                    if {one.round for one in event.waiting} == {1, 2} and event.running and event.finished:
                        stop.request()
                        stop.request()  # at once

        stop = StopSignal()
        assert run(store, study, factory=fleet, stop=stop, observers=[Stopping()]).why == "interrupted"
        yield store, told[-1]


def test_a_trial_that_waits_for_a_place_is_shown_so_with_its_rung_and_not_as_running(waiting):
    store, told = waiting
    view = load_view(store, "paused")
    told_of = {one.trial: one.round for one in told.waiting}
    # Told before places were given: some had earned one by then, and are no longer among them.
    waits = view.waiting
    assert waits.items() <= told_of.items()
    assert set(waits.values()) == {1, 2}
    assert len(waits) > 0.7 * len(told_of)
    row = listing.study_row(store, store.head(view.study.id))
    assert row["states"]["waiting"] == len(waits)
    going = len(view.trials) - row["ended"] - len(waits)
    assert row["states"].get("running", 0) == going
    assert row["ended"] == sum(trial.state != "running" for trial in view.trials)
    assert f"{len(waits)} waiting" in text_of(lambda out: out.print(listing.study_table([row], 160)), 160)
    shown = text_of(lambda out: showing.print_trials(out, view), 160)
    for number, rung in waits.items():
        (line,) = [line for line in shown.splitlines() if line.split()[0] == str(number)] or [None]
        assert line is None or (f"{rung}/8" in line and "waiting" in line)
    number = min(waits, key=waits.get)
    one = text_of(lambda out: showing.print_trial(out, view, view.trials[number], None))
    here = [view.eval_at(trial.number, waits[number]) for trial in view.trials]
    known = [loss for loss in here if loss is not None]
    rank = sorted(known).index(view.eval_at(number, waits[number])) + 1
    words = (
        f"waits after round {waits[number]}, where it is {rank} of {len(known)}: it goes on once it is among"
    )
    assert f"trial {number}  waiting" in one
    assert words in " ".join(one.split())
    assert f"{len(waits)} wait for a place" in outcomes(view).words
    facts = study_facts(view)
    assert {found.number for found in facts.rows if found.state == "waiting"} == set(waits)
    for kind in ("history", "curves", "timeline"):
        plot_figure(view, kind).to_json()
        plot_text(view, kind, 100)


def test_a_trial_that_waits_for_a_place_is_exported_as_one_that_waits(waiting):
    store, _ = waiting
    view = load_view(store, "paused")
    number = next(iter(view.waiting))
    assert handover(view, number).state == "waiting"
    assert "it is waiting, so it has no final loss" in export_yaml(handover(view, number))


def test_json_of_a_trial_that_waits_says_so(waiting, tmp_path):
    store, _ = waiting
    view = load_view(store, "paused")
    number, rung = max(view.waiting.items())
    words = ["show", "paused", "--trial", str(number), "--json", "--storage", str(tmp_path / "tune.db")]
    found = CliRunner().invoke(group, words)
    assert found.exit_code == 0
    assert (json.loads(found.output)["state"], json.loads(found.output)["rounds"]) == ("waiting", rung)


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_number_in_the_table_of_trials_is_cut(view, width):
    text = text_of(lambda out: showing.print_trials(out, view), width)
    head, *rows = text.splitlines()[: showing.ROWS + 1]
    whole = text_of(lambda out: showing.print_trials(out, view), 200).splitlines()
    names = whole[0].split()
    assert head.split() == [name for name in names if name in head.split()]
    assert {"trial", "state", "eval"} <= set(head.split())
    for row, full in zip(rows, whole[1:], strict=False):
        cells = dict(zip(names, full.split(), strict=True))
        assert row.split() == [cells[name] for name in head.split()]
        assert len(row.rstrip()) <= width


def test_in_a_pipe_every_row_is_one_line_with_every_column(view, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    piped = Console(file=io.StringIO(), width=20)
    showing.print_trials(piped, view)
    head, *rows = piped.file.getvalue().splitlines()[: showing.ROWS + 1]
    assert {"trial", "rounds", "alpha/rank", "warmup"} <= set(head.split())
    assert all(len(row.split()) == len(head.split()) for row in rows)
    monkeypatch.setenv("COLUMNS", "40")
    narrow = Console(file=io.StringIO())
    showing.print_trials(narrow, view)
    assert max(map(len, narrow.file.getvalue().splitlines()[: showing.ROWS])) <= 40


def test_what_all_studies_take_on_disk_is_said_with_cache_and_logs(tmp_path):
    with Store.open(str(tmp_path / "tune.db"), mode="create") as store:
        for name, count in (("cache", 2**20), ("logs", 2**19)):
            (tmp_path / "tune-artifacts" / name).mkdir(parents=True)
            (tmp_path / "tune-artifacts" / name / "file").write_bytes(bytes(count))
        files = sum(file.stat().st_size for file in tmp_path.glob("tune.db*"))
        assert store.database_bytes() == files
        assert listing.disk_line(store) == (
            f"in all: database {show_bytes(files)}, tune-artifacts 1.5 MiB "
            "(checkpoints, adapters, cache, logs)"
        )


def test_that_line_stands_under_the_table_and_not_in_the_json(path):
    words = ["list", "--storage", str(path)]
    assert CliRunner().invoke(group, words).output.splitlines()[-1].startswith("in all: database ")
    rows = json.loads(CliRunner().invoke(group, [*words, "--json"]).output)
    assert [row["study"] for row in rows] == ["later", "ended"]


def test_the_best_trials_come_first_and_the_rest_is_counted(view):
    text = text_of(lambda out: showing.print_trials(out, view), 160)
    rows = [line.split() for line in text.splitlines()[1:-2]]
    assert len(rows) == showing.ROWS
    complete = sorted((t.value, t.number) for t in view.trials if t.value is not None)
    assert [int(row[0]) for row in rows][: len(complete)] == [n for _, n in complete][: showing.ROWS]
    assert "rounds: how many of its 8 equal parts" in text
    assert f"… and {TRIALS - showing.ROWS} more" in text
    assert text.splitlines()[0].split() == [
        *("trial", "state", "eval", "rounds", "lr", "batch", "rank", "alpha/rank", "warmup"),
    ]


def test_of_trials_that_got_as_far_the_lower_loss_stands_first(view):
    others = dataclasses.replace(
        view, trials=tuple(trial for trial in view.trials if trial.value is None), evaluations={}
    )
    text = text_of(lambda out: showing.print_trials(out, others), 160)
    shown = [int(line.split()[0]) for line in text.splitlines()[1:-2]]
    rounds = {trial.number: trial.rounds for trial in others.trials}
    ranks = [(-rounds[number], others.last_eval(number)) for number in shown if rounds[number]]
    assert len({rank[0] for rank in ranks}) < len(ranks), "several got as far"
    assert ranks == sorted(ranks)


def test_a_trial_is_shown_with_every_parameter_and_its_whole_curve(view):
    best = view.best()
    text = text_of(lambda out: showing.print_trial(out, view, best, None))
    read = reading_of(view, best)
    below = text_of(lambda out: showing.print_trial(out, view, best, read))
    assert " ".join(below.split()).endswith(" ".join(read.sentence.split()))
    assert f"trial {best.number}  complete  (proposed by TPE from the losses before)" in text
    assert f"eval loss {best.value:.4f}; base model {view.base_loss:.4f}" in text
    for name in best.params.to_dict():
        assert f"  {name} " in text
    curve = text.splitlines()[-8:]
    assert [line.split()[0] for line in curve] == [str(round_number) for round_number in range(1, 9)]
    assert [line.split()[3] == "–" for line in curve] == [q not in (1, 2, 4, 8) for q in range(1, 9)]


def test_a_trial_that_did_not_end_well_gives_its_reason(view):
    pruned = next(trial for trial in view.trials if trial.state == "pruned")
    odd = dataclasses.replace(pruned, state="failed", reason="kills its worker: [bold]x[/bold]")
    text = text_of(lambda out: showing.print_trial(out, view, odd, None))
    assert "kills its worker: [bold]x[/bold]" in text
    assert "eval loss" not in text


@pytest.mark.parametrize("width", [50, 120])
def test_what_a_study_is_of_is_said(view, width):
    facts = study_facts(view)
    text = text_of(lambda out: showing.print_study(out, facts), width)
    words = " ".join(text.split())
    names = [line.split()[0] for line in text.splitlines() if not line.startswith(" ")]
    assert names == ["model", "data", "sampler", "pruner", "seed", "space"]
    assert f"{facts.model.name_or_path} ({facts.model.architecture}, " in words
    assert facts.data_files[0][1] in words
    assert f"seed {view.study.seed} space preset tiny: " in words
    for name, range_ in facts.space:
        assert f"{name} {range_}" in words


def test_the_verdict_stands_first_with_the_winners_parameters(view):
    text = text_of(lambda out: showing.print_verdict(out, verdict(view)))
    assert text.splitlines()[0] == verdict(view).headline
    assert f"batch_size {view.best().params.batch_size}" in text.splitlines()[1]


def test_every_parameter_that_may_vary_has_a_short_name():
    from loratune.spaces.params import LoraParams

    fields = {field.name for field in dataclasses.fields(LoraParams)}
    assert fields <= set(SHORT)
