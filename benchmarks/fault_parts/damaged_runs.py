"""Damages that whole commands meet: a search that is resumed, an adapter that is exported."""

from __future__ import annotations

import shutil
from pathlib import Path

from . import record
from .damage import WAYS, strike
from .strikes import Watch
from .study import NAME, Bench, Case
from .tally import Tally


def resume_damaged(bench: Bench, times: int) -> Tally:
    """Kill a search, damage files of it, and resume: it ends as one that was left in peace."""
    tally, rng = Tally(kind="files damaged, then resumed"), bench.rng("resume damaged")
    reference = bench.reference()
    while tally.times < times:
        case = bench.case("damaged")
        watch = Watch(case, rng, bench.seconds[1])
        running = case.begin()
        while tally.times < times and watch.moment(running) is not None:
            running.kill()
            case.left += running.orphans()
            files = _live(case)
            for path in rng.sample(files, rng.randint(1, min(3, len(files)))) if files else ():
                way = rng.choice(WAYS)
                strike(path, way, rng)
                tally.times += 1
                bench.emit({"fault": tally.kind, "number": tally.times, "file": path.name, "way": way})
            running = case.begin()
            watch.struck(running.begun)
        tally.end(bench, case, reference)
    return tally


def export_damaged(bench: Bench, times: int) -> Tally:
    """Damage the best trial's kept adapter and export it: the weights are those of before."""
    tally, rng = Tally(kind="kept adapter damaged, then exported"), bench.rng("export damaged")
    case = bench.case("export")
    case.finish()
    intact = _exported(case, tally, "intact")
    adapters = case.checkpoints.parent / "adapters"
    whole = shutil.copytree(adapters, case.folder / "adapters")
    for _ in range(times):
        kept = sorted(adapters.glob("*.safetensors"))
        way = rng.choice(WAYS)
        for path in kept:
            strike(path, way, rng)
        tally.times += 1
        weights = _exported(case, tally, f"every adapter {way}")
        tally.differing += weights is not None and weights != intact
        if weights is not None and weights != intact:
            tally.words.append(f"every adapter {way}: exported with other weights, and exit 0")
        bench.emit({"fault": tally.kind, "number": tally.times, "way": way, "same": weights == intact})
        shutil.copytree(whole, adapters, dirs_exist_ok=True)
    tally.end(bench, case, bench.reference())
    return tally


def _exported(case: Case, tally: Tally, what: str) -> str | None:
    """Export the best trial and return a digest of its weights; None where that was refused."""
    folder = case.folder / "best"
    shutil.rmtree(folder, ignore_errors=True)
    words = ("export", NAME, "--format=peft", f"--output={folder}", f"--storage={case.database}")
    running = case.run(*words)
    code = running.wait()
    tally.promise(code == 0, f"{what}: not exported: {running.said.strip()}")
    return record.weights_of(folder / "adapter_model.safetensors") if code == 0 else None


def _live(case: Case) -> list[Path]:
    """Return the files that a resumed search reads; kept adapters are read at an export alone."""
    return [
        path
        for folder in (case.checkpoints, case.artifacts / "cache")
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if path.is_file() and path.stat().st_size
    ]
