"""A worker in a process of its own: the seam of ``base.py`` over a pipe to ``worker.py``.

Does not import torch. The pipe is a pair of connected sockets, inherited and without a name, so that
nobody else can write to it; that is why messages may be pickled. ``wire.py`` says what they are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO, assert_never

import psutil

from ... import errors
from ...errors import LoratuneError, OutOfMemory, WorkerError
from ...spaces.params import LoraParams
from ...study.config import ObjectiveConfig
from ...study.facts import Facts
from ..base import Done, Part, SlotFailed, WorkerEvent, WorkerFailed, says_out_of_memory
from .environment import child_environment
from .oom_kills import oom_kills
from .wire import (
    Add,
    Answer,
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

SESSION = f"{__package__.rpartition('.')[0]}.training.session:Session"
"""What a worker serves unless told otherwise."""

_ROUTINE = re.compile(r"\S+ \S+ INFO ")
"""How a line of a worker's log begins that tells of nothing wrong."""

PREPARE_SILENCE = 600.0
"""Seconds without work after which a worker that makes model and data ready is ended."""

GRACE_SECONDS = 2.0
"""How long ``close`` waits for an answer before it insists."""

_PROGRAM = f"""
import json, sys
given = json.loads(sys.argv[1])
sys.path[:] = given.pop("path")
from {__package__}.worker import main
main(**given)
"""
"""Makes the child find modules where this process does, whatever the working directory holds."""


class ProcessWorker:
    """One worker process; see ``base.Worker`` for its methods. The process starts at once.

    Args:
        index: the worker's number.
        log_file: where everything that the process prints is appended.
        threads: threads of one operation.
        device: ``cpu``, ``cuda``, ``cuda:N``, or None for what the config says.
        sees: the GPU, ``cuda:N``, that it is shown alone where the config says whether it takes one.
        session: import path of what is served.
        silence: seconds without any work after which a worker that prepares has hung.
    """

    def __init__(
        self,
        index: int,
        log_file: Path,
        threads: int = 1,
        device: str | None = None,
        *,
        sees: str | None = None,
        session: str = SESSION,
        silence: float = PREPARE_SILENCE,
    ) -> None:
        self.index = index
        self.log_file = log_file
        self.device = device
        self.silence = silence
        self.facts: Facts | None = None
        self._inside: set[int] = set()
        self._running = False
        self._over = False
        environment = child_environment(os.environ, threads=threads, device=device or sees)
        self._oom_kills = oom_kills()
        log = _open_log(log_file)
        self._connection, theirs = multiprocessing.Pipe()
        # The kernel counts the *thread* that starts a process as its parent; another one may end early.
        in_main_thread = threading.current_thread() is threading.main_thread()
        given = {
            "fd": theirs.fileno(),
            "session": session,
            "index": index,
            "threads": threads,
            "parent": os.getpid() if in_main_thread else None,
            "path": [str(Path(entry).resolve()) for entry in sys.path],
        }
        command = [sys.executable, "-P", "-u", "-c", _PROGRAM, json.dumps(given), f"loratune worker {index}"]
        try:
            with log:
                self._log_start = log.tell()
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
        except OSError as error:
            self._connection.close()
            raise WorkerError(f"worker {index} cannot start: {error}") from error
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def prepare(self, config: ObjectiveConfig) -> Facts:
        """Load data and model; the worker is closed where that fails."""
        if self.device is not None:
            device = "cuda" if self.device.startswith("cuda") else self.device
            config = dataclasses.replace(config, model=dataclasses.replace(config.model, device=device))
        self._send(Prepare(config=config))
        try:
            answer = self._prepared()
        except BaseException:
            self.close()
            raise
        if isinstance(answer, Ready):
            self.facts = answer.facts
            return answer.facts
        self.close()
        raise self._refusal(answer, config.slots)

    def _refusal(self, answer: Refused | WorkerFailed, slots: int | None) -> LoratuneError:
        """Return the error for a worker that could not prepare, with so many slots as were asked for."""
        match answer:
            case Refused(kind="DeviceLost", message=message):
                return errors.DeviceLost(f"worker {self.index}: {message}; see {self.log_file}")
            case Refused(kind=kind, message=message):
                refused: LoratuneError = getattr(errors, kind)(message)
                return refused
            case WorkerFailed(out_of_memory=True):
                # The allocator's own words are in the log; they name bytes, and no remedy.
                trials = "as many trials at once as seemed to fit"
                if slots is not None:
                    trials = f"{slots} trials at once" if slots > 1 else "one trial at a time"
                return OutOfMemory(
                    f"worker {self.index}: memory ran out with {trials}; lower --cutoff-len, the largest "
                    "lora_rank or batch_size (--set), or choose --dtype bfloat16 or a smaller model; a limit "
                    f"on the process counts too (ulimit -v); see {self.log_file}"
                )
            case WorkerFailed(reason=reason, killed=killed):
                died = WorkerError(reason)
                died.killed = killed
                return died
            case _:
                assert_never(answer)

    def add(
        self, trial: int, params: LoraParams, *, seed: int, attempt: int, resume_from: Path | None
    ) -> None:
        """Put a trial into a free slot; where that fails, ``poll`` says so."""
        assert self.facts is not None, "prepare comes before add"
        assert not self._running, "add only between rounds"
        assert trial not in self._inside, f"trial {trial} is inside already"
        assert len(self._inside) < self.facts.slots, f"all {self.facts.slots} slots are taken"
        self._inside.add(trial)
        self._send(Add(trial=trial, params=params, seed=seed, attempt=attempt, resume_from=resume_from))

    def start(self, save_to: Path) -> None:
        """Begin a round."""
        assert self.facts is not None, "prepare comes before start"
        assert not self._running, "a round is running"
        self._running = True
        self._send(TrainRound(save_to=save_to))

    def poll(self, timeout: float) -> WorkerEvent | None:
        """Return the next event; after ``WorkerFailed``, which comes once, there is none."""
        if self._over:
            time.sleep(timeout)
            return None
        match self._receive(timeout):
            case Done() as done:
                self._running = False
                return done
            case SlotFailed(trial=trial) as failed:
                self._inside.discard(trial)
                return failed
            case Ready() | Refused():
                raise AssertionError("an answer that nobody asked for")
            case event:
                return event

    def remove(self, trial: int) -> None:
        """Free the slot of a trial; nothing happens where it is not inside."""
        assert self._over or not self._running, "remove only between rounds"
        self._inside.discard(trial)
        self._send(Remove(trial=trial))

    def evaluate(self, adapter: Path, params: LoraParams, part: Part) -> None:
        """Measure an adapter; ``poll`` brings ``Evaluated``."""
        assert self.facts is not None, "prepare comes before evaluate"
        assert not self._running, "evaluate only between rounds"
        assert len(self._inside) < self.facts.slots, f"all {self.facts.slots} slots are taken"
        self._send(Evaluate(adapter=adapter, params=params, part=part))

    def generate(self, adapter: Path | None, params: LoraParams, *, count: int, most: int) -> None:
        """Let an adapter, or the base model, write answers; ``poll`` brings ``Generated``."""
        assert self.facts is not None, "prepare comes before generate"
        assert not self._running, "generate only between rounds"
        assert len(self._inside) < self.facts.slots, f"all {self.facts.slots} slots are taken"
        self._send(Generate(adapter=adapter, params=params, count=count, most=most))

    def move_log(self, to: Path) -> None:
        """Go on in another log, which begins with what this one holds; only between rounds."""
        assert not self._running, "move the log only between rounds"
        with _open_log(to) as log:
            start = log.tell()
            log.write(self.log_file.read_bytes())
        self._send(LogTo(file=to))
        self._log_start += start
        self.log_file = to

    def close(self) -> None:
        """End the process, by force if it does not answer; a second call does nothing."""
        self._over = True
        self._send(Close())
        self._connection.close()
        try:
            for insist in (None, self._process.terminate, self._process.kill):
                if insist is not None:
                    insist()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(GRACE_SECONDS)
                    break
        finally:  # also where the user presses Ctrl-C again while this waits
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()

    def _prepared(self) -> Answer:
        """Return the answer to ``prepare``, however long it works on it; raise where it does no work.

        Loading and tokenizing may take hours and say nothing, but they use the processor; a process that is
        stopped, or waits for what never comes, does not.
        """
        used, worked = -1.0, time.monotonic()
        while (answer := self._receive(min(30.0, self.silence / 4))) is None:
            with contextlib.suppress(psutil.Error):
                times = psutil.Process(self.pid).cpu_times()
                if times.user + times.system > used + 0.05:
                    used, worked = times.user + times.system, time.monotonic()
            if time.monotonic() - worked > self.silence:
                raise WorkerError(
                    f"worker {self.index} did nothing for {self.silence:.0f} s while it made model and data "
                    f"ready, and was ended; see {self.log_file}"
                )
        assert isinstance(answer, Answer), answer
        return answer

    def _send(self, command: Command) -> None:
        """Tell the process something; where it is gone, ``poll`` will notice."""
        with contextlib.suppress(OSError):
            self._connection.send(command)

    def _receive(self, timeout: float) -> Message | None:
        """Return the next message, ``WorkerFailed`` where the process is gone, None after ``timeout``."""
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            ended = self._process.poll() is not None
            unreadable: str | None = None
            try:
                # In short steps: a process that it left behind could hold the pipe open.
                if self._connection.poll(0 if ended else max(0.0, min(left, 0.5))):
                    message: Message = self._connection.recv()
                    return self._last_words(message) if isinstance(message, WorkerFailed) else message
            except (EOFError, OSError):  # the end of the pipe, or half a message
                ended = True
            except pickle.UnpicklingError as error:
                ended, unreadable = True, f"{type(error).__name__}: {error}"
            if ended:
                return self._gone(unreadable)
            if left <= 0:
                return None

    def _last_words(self, event: WorkerFailed) -> WorkerFailed:
        """Return what the process said of its end, after making sure of it."""
        self.close()
        reason = f"worker {self.index}: {event.reason}; see {self.log_file}"
        return dataclasses.replace(event, reason=reason)

    def _gone(self, unreadable: str | None = None) -> WorkerFailed:
        """Return how a process ended that said nothing, or what nobody can read: why, in ``unreadable``."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_SECONDS)
        hung_up = self._process.poll() is None
        self.close()
        code = self._process.returncode
        out_of_memory = killed = False
        how = f"ended with exit code {code}"
        if unreadable is not None:
            how = f"sent a message that cannot be read ({unreadable}) and was ended"
        elif hung_up:
            how = "closed its pipe and was killed"
        elif code < 0:
            how = f"was killed by {_signal_name(-code)}"
            out_of_memory = -code == signal.SIGKILL and oom_kills() != self._oom_kills
            # Without a counter, the kernel's is the likeliest SIGKILL.
            out_of_memory |= -code == signal.SIGKILL and self._oom_kills is None
            killed = not out_of_memory and -code in (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)
        if out_of_memory:
            how += ", as the kernel does when memory runs out"
        line = _telling_line(self.log_file, self._log_start)
        said = f"{self.log_file} does not say why" if line is None else f"{self.log_file} says: {line}"
        if not killed and line is not None and says_out_of_memory(line):  # C++ ends without an exception
            out_of_memory = True
        return WorkerFailed(
            reason=f"worker {self.index} {how}; {said}", out_of_memory=out_of_memory, killed=killed
        )


def _signal_name(number: int) -> str:
    """Return a signal's name; most of the real-time ones have none in Python.

    >>> _signal_name(9), _signal_name(40)
    ('SIGKILL', 'signal 40')
    """
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _open_log(file: Path) -> BinaryIO:
    """Open a log to be appended to; raises ``WorkerError`` where it can neither be opened nor made."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return file.open("ab")
    except OSError as error:
        raise WorkerError(
            f"{file}: cannot be written ({error.strerror}); make its folder writable, "
            "or name a database elsewhere with --storage"
        ) from error


def _telling_line(file: Path, start: int) -> str | None:
    """Return the line of a log from ``start`` on that says most about an end, None where none does."""
    try:
        with file.open("rb") as log:
            log.seek(max(start, file.stat().st_size - 20_000))
            lines = [line.strip() for line in log.read().decode("utf-8", "replace").splitlines()]
    except OSError as error:
        return f"unreadable: {error}"
    telling = [line for line in lines if line and not _ROUTINE.match(line)]
    fatal = [line for line in telling if line.startswith("Fatal Python error")]
    return (fatal or telling)[-1][:300] if telling else None
