"""Faults that strike a search, and what is lost: kills, stops, damaged files, full disks, locks, memory.

    python benchmarks/faults.py                         everything: 100 kills, 50 of workers, 1,000 damages …
    python benchmarks/faults.py --quick                 a minute of it, as the tests run it
    python benchmarks/faults.py --kills 20 --rest 0     some: --rest is the count of every kind not named

Each fault strikes a real ``tune`` command on a tiny study of the embedded demo (--deterministic), which is
then resumed until it has ended and compared with a study of the same choices that was left in peace: every
parameter, loss, evaluation per example, outcome and reason, the weights of every kept adapter and Optuna's
tables, to the last bit. One study takes many kills: it is killed, resumed and killed again until it ends,
then the next is begun. Moments are drawn from --seed; what the machine does in them is not, so another run
strikes elsewhere. Prints a JSON line for each fault and each study, then everything that was not right,
and a Markdown table; exits with 1 where a cell is not 0 that must be.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fault_parts import damage, damaged_runs, strikes, surroundings
from fault_parts.study import Bench
from fault_parts.tally import Tally, table

WORDS = 30
"""Lines of what was not right that are printed of a kind."""

Kind = Callable[[Bench, int], Tally | list[Tally]]


def _undisturbed(bench: Bench, times: int) -> list[Tally]:
    """Make studies in peace: what differs among these is no fault's work."""
    tallies = []
    for workers in (1, 2):
        tally, reference = Tally(kind=f"none, {strikes.words(workers)}"), bench.reference(workers)
        for _ in range(times):
            case = bench.case("peace", workers)
            case.begin()
            tally.times += 1
            tally.end(bench, case, reference)
        tallies.append(tally)
    return tallies


def _kills(bench: Bench, times: int) -> list[Tally]:
    """Kill searches: half of them with one worker, three in ten with two, the others with all workers."""
    with_two, at_once = times * 3 // 10, times // 5
    counts = [
        (times - with_two - at_once, 1, False),
        (with_two, 2, False),
        (at_once, 1, True),
    ]
    return [
        strikes.kill_coordinators(bench, count, workers=workers, all_at_once=together)
        for count, workers, together in counts
        if count
    ]


def _worker_kills(bench: Bench, times: int) -> list[Tally]:
    """Kill workers: half of them in searches with one worker, half with two."""
    counts = ((times - times // 2, 1), (times // 2, 2))
    return [strikes.kill_workers(bench, count, workers=workers) for count, workers in counts if count]


def _locks(bench: Bench, times: int) -> Tally:
    """Hold locks: the first for longer than the database driver waits, the others shortly."""
    return surroundings.lock_databases(
        bench, tuple([70.0, 3.0, 12.0][: max(0, times)]) + (1.0,) * (times - 3)
    )


def _changes(bench: Bench, times: int) -> list[Tally]:
    """Change the data, a weight, and the files beside the weights."""
    whats = ("the data", "a weight of the model", "a file beside the weights")
    return [surroundings.change_inputs(bench, times, what) for what in whats]


KINDS: dict[str, tuple[Kind, int, int, str]] = {
    "peace": (_undisturbed, 2, 0, "studies that are left in peace, with 1 and with 2 workers"),
    "kills": (_kills, 100, 3, "kills of the search"),
    "worker-kills": (_worker_kills, 50, 1, "kills of a worker"),
    "stops": (strikes.stop_for_a_while, 10, 0, "stops of the search or a worker for some seconds"),
    "displaced": (strikes.displace, 5, 0, "searches that are stopped, displaced and awake again"),
    "twice": (strikes.two_at_once, 10, 0, "searches of one study at once"),
    "damages": (damage.damage_files, 1000, 200, "damages of files that are then read"),
    "resumed-damages": (damaged_runs.resume_damaged, 40, 0, "damages of files before a resume"),
    "exported-damages": (damaged_runs.export_damaged, 8, 0, "damages of kept adapters before an export"),
    "disks": (surroundings.fill_disks, 10, 0, "disks that fill up"),
    "locks": (_locks, 4, 0, "locks of the database"),
    "memory-limits": (surroundings.limit_memory_at_start, 8, 0, "searches begun under a limit of memory"),
    "starved": (surroundings.starve_workers, 8, 0, "workers whose memory runs out"),
    "changes": (_changes, 4, 0, "changes, each, of data, weights and the files beside them"),
}
"""By flag: what makes the faults, how many in a full run and in a quick one, what they are."""


def main() -> None:
    """Strike, and print what was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for flag, (_, whole, quick, words) in KINDS.items():
        parser.add_argument(f"--{flag}", type=int, metavar="N", help=f"{words} ({whole}; quick: {quick})")
    parser.add_argument("--rest", type=int, metavar="N", help="count of every kind that is not named")
    parser.add_argument("--quick", action="store_true", help="a minute's worth")
    parser.add_argument("--seed", type=int, default=1, help="of the moments and the damages (default 1)")
    parser.add_argument("--trials", type=int, metavar="N", help="trials of a study (16; quick: 8)")
    parser.add_argument("--keep", action="store_true", help="keep every study; else those that are not right")
    parser.add_argument("--folder", type=Path, help="where the studies are made (default: a temporary one)")
    arguments = parser.parse_args()
    given = vars(arguments)
    began = time.monotonic()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="loratune-faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    trials = arguments.trials or (8 if arguments.quick else 16)
    bench = Bench(folder, trials=trials, seed=arguments.seed, emit=_emit, keep=arguments.keep)
    tallies: list[Tally] = []
    for flag, (make, whole, quick, _) in KINDS.items():
        rest = arguments.rest if arguments.rest is not None else (quick if arguments.quick else whole)
        count = given[flag.replace("-", "_")]
        if (count := rest if count is None else count) > 0:
            made = make(bench, count)
            tallies += made if isinstance(made, list) else [made]
    _emit({"seed": arguments.seed, "seconds": round(time.monotonic() - began)})
    good = all(tally.good for tally in tallies)
    for tally in tallies:
        for words in tally.words[:WORDS]:
            print(f"{tally.kind}: {words}")
        if len(tally.words) > WORDS:
            print(f"{tally.kind}: and {len(tally.words) - WORDS} more")
    if not good or arguments.keep:
        print(f"what was not right lies in {folder}")
    elif arguments.folder is None:
        bench.clear()
    print(table(tallies))
    sys.exit(0 if good else 1)


def _emit(line: dict[str, Any]) -> None:
    print(json.dumps(line, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
