"""What memory was predicted stands beside what a worker was seen to hold."""

from __future__ import annotations

from io import StringIO

from loratune.command.showing import print_study
from loratune.reports.memory_facts import memory_use
from loratune.reports.plots.kinds import facts_json
from loratune.reports.report_facts import study_facts
from loratune.reports.view import StudyView
from loratune.study.memory import MemoryParts
from made_up_studies import with_facts
from rich.console import Console

MB = 10**6
PARTS = MemoryParts(
    weights=5 * MB,
    adapters=1 * MB,
    gradients=1 * MB,
    moments=2 * MB,
    activations=40 * MB,
    backward=4 * MB,
    head=3 * MB,
    evaluation=7 * MB,
    optimizer=1 * MB,
    context=50 * MB,
)


def test_a_worker_is_predicted_to_hold_its_parts_and_seen_to_hold_what_it_held(view: StudyView) -> None:
    found = memory_use(with_facts(view, "memory", parts=PARTS, together=2))
    assert found is not None
    assert (found.predicted_bytes, found.measured_bytes) == (103 * MB, 100 * MB)
    assert (found.slots, found.together) == (8, 2)
    told = facts_json(study_facts(with_facts(view, "memory", parts=PARTS)))["memory"]
    assert told["predicted_bytes"] == 103 * MB
    assert told["parts"]["activations"] == 40 * MB


def test_it_is_shown_where_it_is_known(view: StudyView) -> None:
    def shown(one: StudyView) -> str:
        out = Console(file=StringIO(), width=200)
        print_study(out, study_facts(one))
        return out.file.getvalue()  # type: ignore[attr-defined]

    assert "predicted for 8 trials, 2 at once" in shown(with_facts(view, "memory", parts=PARTS, together=2))
    assert "predicted" not in shown(view), "a study of before"


def test_before_anything_was_trained_there_is_nothing_to_compare(view: StudyView) -> None:
    found = with_facts(view, "memory", parts=PARTS)
    assert memory_use(found.__class__(study=found.study, trials=())) is None
