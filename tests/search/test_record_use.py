"""What a search asks of the record: no more in a longer study, and in one file while it trains."""

from __future__ import annotations

import shutil

from loratune.objectives.testing.fake import FakePlan
from loratune.storage import progress_note, rows
from loratune.storage.store import Store
from made_up_studies import progress_of

PLAN = FakePlan(slots=4)


def test_whenever_workers_train_the_database_file_alone_holds_all(bench, monkeypatch, tmp_path) -> None:
    """So that whoever copies ``tune.db`` after a kill, without its log, has the study."""
    bench.create(6)
    real = Store.fold_log
    reached: list[progress_note.Progress] = []

    def fold(self: Store) -> bool:
        assert real(self)
        copy = tmp_path / "alone.db"
        shutil.copy(bench.path, copy)
        with Store.open(str(copy), mode="read") as alone:
            reached.append(progress_of(alone.trials(1)))
        assert reached[-1] == progress_of(self.trials(1))
        return True

    monkeypatch.setattr(Store, "fold_log", fold)
    assert bench.run().why == "complete"
    assert len(set(reached)) > 6


def test_a_trial_reads_no_more_of_the_record_in_a_longer_study(bench, monkeypatch) -> None:
    read = [0]

    def counting(parse):
        def count(row):
            read[0] += 1
            return parse(row)

        return count

    for name in ("trial", "point", "event"):
        monkeypatch.setattr(rows, name, counting(getattr(rows, name)))
    bench.copying = True
    counts = []
    for trials in (16, 64):
        read[0] = 0
        bench.create(trials, bench.config(pruner="none", sampler="random"), name=f"s{trials}")
        bench.run(PLAN, name=f"s{trials}")
        counts.append(read[0] / trials)
    assert counts[1] < 1.5 * counts[0], counts
