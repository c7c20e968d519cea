"""Against how many processes of Trainer, of how many threads, loratune is measured."""

from __future__ import annotations

import argparse
import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Peer:
    """How many processes of Trainer share the trials, and the threads of each."""

    processes: int
    """Side by side on this machine."""
    threads: int | None
    """Of each process; None takes as many as torch does by itself."""

    @property
    def name(self) -> str:
        """In words."""
        processes = "1 process" if self.processes == 1 else f"{self.processes} processes"
        threads = "torch's threads" if self.threads is None else f"{self.threads} thread"
        return f"Trainer, {processes} of {threads}{'s' if (self.threads or 0) > 1 else ''}"


def peers_of(arguments: argparse.Namespace, cores: int) -> list[Peer]:
    """Return the peers to measure: the one that was asked for, or those of whom the strongest counts."""
    if not arguments.strongest:
        return [Peer(processes=arguments.peer_processes, threads=arguments.peer_threads)]
    shapes = dict.fromkeys(((1, cores), (1, 1), (cores, 1)))
    return [Peer(processes=processes, threads=threads) for processes, threads in shapes]
