"""The main program of a worker process: it hears commands on a pipe, trains, and answers in events.

Started by ``process.py``; ``wire.py`` says what goes through the pipe. Knows nothing of studies, samplers or
the database; how trials are trained is the session's business, named by import path so that tests can bring
a tiny one.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import importlib
import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol, assert_never, cast

from ... import errors
from ...errors import LoratuneError, in_words
from ...spaces.params import LoraParams
from ...study.config import ObjectiveConfig
from ...study.facts import Facts
from ..base import Done, Evaluated, Generated, Part, RoundProgress, SlotFailed, WorkerFailed
from ..device_lost import lost_device
from ..out_of_memory import ran_out_of_memory
from .wire import (
    Add,
    Close,
    Command,
    Evaluate,
    Generate,
    LogTo,
    Message,
    Prepare,
    Ready,
    Refused,
    Remove,
    TrainRound,
)

log = logging.getLogger("loratune.worker")

_PR_SET_PDEATHSIG = 1


class TrainingSession(Protocol):
    """What is served: a model, its data and K slots in this process."""

    facts: Facts

    def add(
        self, trial: int, params: LoraParams, *, seed: int, attempt: int, resume_from: Path | None
    ) -> None:
        """Put a trial into a slot; raises ``LoratuneError`` where that cannot be."""

    def remove(self, trial: int) -> None:
        """Free a slot."""

    def train_round(self, save_to: Path) -> Iterator[RoundProgress | Done]:
        """Train every slot for a round; ``Done`` comes last."""

    def evaluate(self, adapter: Path, params: LoraParams, part: Part) -> Evaluated:
        """Measure an adapter in a free slot; raises ``StorageError`` where its file cannot be read."""

    def generate(self, adapter: Path | None, params: LoraParams, *, count: int, most: int) -> Generated:
        """Let an adapter, or the base model, answer prompts in a free slot; raises as ``evaluate`` does."""


def main(*, fd: int, session: str, index: int, threads: int, parent: int | None) -> None:
    """Serve the pipe of that file descriptor until it closes.

    Args:
        fd: our end of a connected pair of sockets.
        session: import path ``module:callable`` of what makes a ``TrainingSession`` from a config.
        index: the worker's number, for the log.
        threads: threads of one operation, already set in the environment.
        parent: process whose death ends this one; None leaves that to the pipe alone.
    """
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.captureWarnings(True)
    log.info("worker %d: process %d, %d threads, session %s", index, os.getpid(), threads, session)
    if parent is not None:
        _end_with(parent)
    _offer_to_the_oom_killer()
    os.set_inheritable(fd, False)
    connection = Connection(fd)
    commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, commands), daemon=True).start()
    try:
        _Service(connection, _session_maker(session, threads)).serve(commands)
    except Exception as error:
        # What was foreseen is told in its own words; a traceback is for what was not.
        foreseen = isinstance(error, LoratuneError) or ran_out_of_memory(error)
        log.error("worker %d: cannot go on: %s", index, error, exc_info=not foreseen)
        words = (" ".join(str(error).split()) if isinstance(error, LoratuneError) else in_words(error))[:300]
        with contextlib.suppress(OSError):
            connection.send(
                WorkerFailed(
                    reason=words,
                    out_of_memory=ran_out_of_memory(error),
                    storage=isinstance(error, errors.StorageError),
                )
            )
    # Not sys.exit: no exit handler of a library may keep a worker alive that has nothing more to say.
    logging.shutdown()
    os._exit(1)


class _Service:
    """Turns commands into calls of the session, and what comes of them into messages."""

    def __init__(self, connection: Connection, make: Callable[[ObjectiveConfig], TrainingSession]) -> None:
        self.connection = connection
        self.make = make
        self.session: TrainingSession | None = None
        self.inside: set[int] = set()

    def serve(self, commands: queue.SimpleQueue[Command]) -> None:
        """Carry out commands until one raises."""
        while True:
            self._carry_out(commands.get())

    def _carry_out(self, command: Command) -> None:
        match command:
            case Prepare(config=config):
                self._prepare(config)
            case Add():
                self._add(command)
            case Remove(trial=trial):
                self._remove(trial)
            case TrainRound(save_to=save_to):
                self._train_round(save_to)
            case Evaluate():
                assert self.session is not None
                self._send(self.session.evaluate(command.adapter, command.params, command.part))
            case Generate(adapter=adapter, params=params, count=count, most=most):
                assert self.session is not None
                self._send(self.session.generate(adapter, params, count=count, most=most))
            case LogTo() | Close():
                raise AssertionError("carried out where commands are listened for, and not queued")
            case _:
                assert_never(command)

    def _send(self, message: Message) -> None:
        self.connection.send(message)

    def _prepare(self, config: ObjectiveConfig) -> None:
        try:
            self.session = self.make(config)
        except Exception as error:
            if (words := lost_device(error)) is not None:
                log.error("the GPU cannot be used: %s", words, exc_info=not isinstance(error, LoratuneError))
                self._send(Refused(kind="DeviceLost", message=f"its GPU cannot be used ({words})"))
                return
            if ran_out_of_memory(error) or not isinstance(error, LoratuneError):
                raise
            # A subclass that the parent may not know crosses as the nearest class of the tree.
            known = next(kind.__name__ for kind in type(error).__mro__ if hasattr(errors, kind.__name__))
            log.error("%s: %s", known, error)
            self._send(Refused(kind=known, message=str(error)))
            return
        self._send(Ready(facts=self.session.facts))

    def _add(self, new: Add) -> None:
        assert self.session is not None
        try:
            self.session.add(
                new.trial, new.params, seed=new.seed, attempt=new.attempt, resume_from=new.resume_from
            )
        except (LoratuneError, OSError) as error:
            if ran_out_of_memory(error):
                raise
            log.warning("trial %d cannot be taken up: %s", new.trial, error)
            self._send(SlotFailed(trial=new.trial, reason=" ".join(str(error).split())))
            return
        self.inside.add(new.trial)

    def _remove(self, trial: int) -> None:
        assert self.session is not None
        if trial in self.inside:
            self.inside.remove(trial)
            self.session.remove(trial)

    def _train_round(self, save_to: Path) -> None:
        assert self.session is not None
        if not self.inside:  # every trial that was added has failed, and was reported
            self._send(Done(results=(), seconds=0.0, memory_bytes=0))
            return
        for event in self.session.train_round(save_to):
            self._send(event)


def _listen(connection: Connection, commands: queue.SimpleQueue[Command]) -> None:
    """Queue what the parent says; end the process at once when it says ``Close`` or is gone.

    A thread of its own, because the other one may be inside a model's loading or a long micro-step. Ending
    anywhere is safe: a checkpoint exists whole, under its name, or not at all.
    """
    try:
        while True:
            command: Command = connection.recv()
            if isinstance(command, Close):
                break
            if isinstance(command, LogTo):  # also while the other thread imports, which may have much to say
                _log_to(command.file)
            else:
                commands.put(command)
        log.info("closed")
    except (EOFError, OSError):
        log.info("the search is gone")
    logging.shutdown()
    os._exit(0)


def _log_to(file: Path) -> None:
    """Let everything that this process prints go to the end of another file."""
    try:
        handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError as error:
        log.error("the log cannot go on in %s: %s", file, error)
        return
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(handle, stream.fileno())
    os.close(handle)


def _session_maker(path: str, threads: int) -> Callable[[ObjectiveConfig], TrainingSession]:
    """Import ``module:callable``; early, because it takes seconds, and so all workers do it at once."""
    module, _, name = path.partition(":")
    make = getattr(importlib.import_module(module), name)
    if "torch" in sys.modules:  # a test's session has no need of it
        import torch

        torch.set_num_threads(threads)
    return cast(Callable[[ObjectiveConfig], TrainingSession], make)


def _end_with(parent: int) -> None:
    """Have the kernel end this process when its parent dies, even while the interpreter is stuck (Linux)."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def _offer_to_the_oom_killer() -> None:
    """Where memory runs out, let the kernel take a worker, which is restarted, before the search (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
