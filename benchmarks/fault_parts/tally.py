"""What came of the faults of one kind, and the table of all kinds."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Iterator

from .record import Record
from .study import Bench, Case


@dataclasses.dataclass(kw_only=True)
class Tally:
    """The faults of one kind; every count but ``times`` and ``harmless`` must be 0."""

    kind: str
    """What was done."""
    times: int = 0
    """How often."""
    studies: int = 0
    """In how many studies."""
    lost: int = 0
    doubled: int = 0
    running: int = 0
    differing: int = 0
    tracebacks: int = 0
    broken: int = 0
    """Faults after which the command did not do what is promised."""
    harmless: int = 0
    """Damages after which everything read is what it was, such as those of a page that holds nothing."""
    seconds: list[float] = dataclasses.field(default_factory=list)
    """From the command that goes on, or from a worker's death, to the next round on record."""
    words: list[str] = dataclasses.field(default_factory=list)
    """Everything that was not right."""
    skipped: str | None = None
    """Why this kind cannot be made here."""

    @property
    def good(self) -> bool:
        """Whether everything that must be 0 is."""
        return not any((self.lost, self.doubled, self.running, self.differing, self.tracebacks, self.broken))

    def promise(self, kept: bool, words: str) -> None:
        """Note whether the command did what it promises."""
        if not kept:
            self.broken += 1
            self.words.append(words)

    def end(self, bench: Bench, case: Case, reference: Record) -> None:
        """Let a study come to its end and note how it compares with one that was left in peace."""
        self.studies += 1
        kept = bench.keep
        try:
            if case.begun and not case.begun[-1].over:
                case.finish(case.begun[-1])
            elif not case.begun or case.begun[-1].process.returncode != 0:
                case.finish()
            found = case.outcome(reference)
        except Exception as error:  # whatever it is, it is a finding, and the next kind is to be tried
            self.lost += len(reference.trials)
            self.words.append(f"{case.folder.name}: {type(error).__name__}: {error}")
            kept = True
        else:
            self.lost += found.lost
            self.doubled += found.doubled
            self.running += found.running
            self.differing += found.differing
            self.words += [f"{case.folder.name}: {word}" for word in found.words]
            kept = kept or bool(found.words)
        tracebacks = case.tracebacks()
        self.tracebacks += tracebacks
        self.seconds += case.resumes
        bench.emit(
            {
                "kind": self.kind,
                "study": case.folder.name,
                "faults": self.times,
                "lost": self.lost,
                "doubled": self.doubled,
                "left running": self.running,
                "differing": self.differing,
                "tracebacks": self.tracebacks,
                "not as promised": self.broken,
            }
        )
        if not (kept or tracebacks or self.broken):
            case.clear()


def table(tallies: Iterable[Tally]) -> str:
    """Return all kinds as a Markdown table."""
    lines = [
        "| fault | times | lost | doubled | left running | differing | tracebacks | not as promised "
        "| median s to go on |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for tally in tallies:
        if tally.skipped is not None:
            lines.append(f"| {tally.kind} | skipped: {tally.skipped} | | | | | | | |")
            continue
        counts = (tally.lost, tally.doubled, tally.running, tally.differing, tally.tracebacks, tally.broken)
        seconds = f"{statistics.median(tally.seconds):.1f}" if tally.seconds else ""
        cells = " | ".join(str(count) for count in counts)
        lines.append(f"| {tally.kind} | {tally.times} | {cells} | {seconds} |")
    return "\n".join(lines)


def studies(bench: Bench, tally: Tally, times: int, name: str, workers: int = 1) -> Iterator[Case]:
    """Yield studies to strike, until there were so many faults; each comes to its end and is compared."""
    reference = bench.reference(workers)
    while tally.times < times:
        case = bench.case(name, workers)
        yield case
        tally.end(bench, case, reference)
