"""What only a worker process does: it dies, falls silent, logs, and ends with its search."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from loratune.errors import ModelError, OutOfMemory, WorkerError
from loratune.objectives.base import (
    RoundProgress,
    WorkerFailed,
)
from loratune.objectives.workers.process import ProcessWorker
from worker_talk import config, next_event, params, until

HERE = Path(__file__).parent


class TestProcess:
    """What only a process can do: crash, be killed, be left behind."""

    def start(self, worker: ProcessWorker, act: str, folder: Path) -> None:
        """Bring a worker into the middle of a round in which it misbehaves."""
        worker.prepare(config(act))
        worker.add(0, params(), seed=0, attempt=0, resume_from=None)
        worker.start(folder)
        assert isinstance(next_event(worker), RoundProgress)

    def test_a_killed_process_is_noticed_once_and_leaves_no_zombie(
        self, tiny: Callable[..., ProcessWorker], tmp_path: Path
    ) -> None:
        worker = tiny(3)
        self.start(worker, "hang", tmp_path)
        os.kill(worker.pid, signal.SIGKILL)
        event = next_event(worker)
        assert isinstance(event, WorkerFailed)
        assert "worker 3 was killed by SIGKILL" in event.reason
        assert str(worker.log_file) in event.reason
        assert worker.poll(0.0) is None
        assert not psutil.pid_exists(worker.pid)
        worker.remove(0)

    def test_a_message_that_cannot_be_read_is_the_end_of_the_worker_and_named(
        self, tiny: Callable[..., ProcessWorker], tmp_path: Path
    ) -> None:
        worker = tiny(3)
        self.start(worker, "talk nonsense", tmp_path)
        event = next_event(worker)
        assert isinstance(event, WorkerFailed)
        assert event.reason.startswith(
            "worker 3 sent a message that cannot be read "
            "(UnpicklingError: invalid load key, 'n'.) and was ended;"
        )
        assert worker.poll(0.0) is None
        assert not psutil.pid_exists(worker.pid)

    def test_a_fault_of_our_own_in_hearing_a_worker_is_not_taken_for_its_death(
        self, tiny: Callable[..., ProcessWorker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def recv() -> None:
            raise AttributeError("no such class here")

        worker = tiny()
        worker.prepare(config())
        worker.add(0, params(), seed=0, attempt=0, resume_from=None)
        monkeypatch.setattr(worker._connection, "recv", recv)
        worker.start(tmp_path)
        with pytest.raises(AttributeError, match="no such class here"):
            next_event(worker)

    @pytest.mark.parametrize(
        ("number", "name"),
        [(signal.SIGRTMIN, "SIGRTMIN"), (signal.SIGRTMIN + 6, f"signal {signal.SIGRTMIN + 6}")],
    )
    def test_a_real_time_signal_is_named_as_far_as_it_has_a_name(
        self, tiny: Callable[..., ProcessWorker], tmp_path: Path, number: int, name: str
    ) -> None:
        worker = tiny()
        self.start(worker, "hang", tmp_path)
        os.kill(worker.pid, number)
        event = next_event(worker)
        assert isinstance(event, WorkerFailed)
        assert f"was killed by {name};" in event.reason

    def test_a_worker_that_still_imports_goes_on_in_the_log_that_it_is_given(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.syspath_prepend(tmp_path)
        (tmp_path / "slow_session.py").write_text(
            "import pathlib, time\n"
            "print('begins')\n"
            f"while not pathlib.Path({str(tmp_path / 'go')!r}).exists():\n"
            "    time.sleep(0.01)\n"
            "print('has imported')\n"
            "Session = None\n"
        )
        old, new = tmp_path / "old" / "worker-0.log", tmp_path / "new" / "worker-0.log"
        worker = ProcessWorker(0, old, session="slow_session:Session")
        try:
            until(lambda: "begins" in old.read_text(), "its first words")
            worker.move_log(new)
            until(lambda: Path(f"/proc/{worker.pid}/fd/1").readlink() == new, "the move")
            (tmp_path / "go").touch()
            until(lambda: "has imported" in new.read_text(), "words in the new log")
        finally:
            worker.close()
        assert "begins" in new.read_text()
        assert "has imported" not in old.read_text()
        assert not psutil.pid_exists(worker.pid)

    def test_a_log_that_tells_of_nothing_wrong_is_not_quoted(
        self, tiny: Callable[..., ProcessWorker], tmp_path: Path
    ) -> None:
        worker = tiny()
        self.start(worker, "say nothing", tmp_path)
        os.kill(worker.pid, signal.SIGKILL)
        event = next_event(worker)
        assert isinstance(event, WorkerFailed)
        assert event.reason.endswith(f"{worker.log_file} does not say why")
        assert " INFO " in worker.log_file.read_text()

    @pytest.mark.parametrize("model", ["two slots fit", "a model too large", "a file that cannot be mapped"])
    def test_memory_that_runs_out_in_prepare_is_told_from_other_failures(
        self, tiny: Callable[..., ProcessWorker], model: str
    ) -> None:
        worker = tiny()
        with pytest.raises(OutOfMemory) as caught:
            worker.prepare(config(model))
        assert "memory ran out with 4 trials at once; lower --cutoff-len" in str(caught.value)
        assert "alloc" not in str(caught.value).lower()
        assert "\n" not in str(caught.value)

    def test_a_worker_that_does_nothing_in_prepare_is_ended(self, tiny: Callable[..., ProcessWorker]) -> None:
        worker = tiny(silence=1.0)
        with pytest.raises(WorkerError, match="did nothing for 1 s while it made model and data ready"):
            worker.prepare(config("hang in prepare"))
        assert not psutil.pid_exists(worker.pid)

    def test_half_of_the_slots_may_fit(self, tiny: Callable[..., ProcessWorker]) -> None:
        assert tiny().prepare(dataclasses.replace(config("two slots fit"), slots=2)).slots == 2

    @pytest.mark.parametrize(("kills", "said"), [([4, 4], False), ([4, 5], True), ([None, None], True)])
    def test_a_sigkill_means_memory_where_the_kernel_counts_one_more_or_nothing(
        self,
        tiny: Callable[..., ProcessWorker],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        kills: list[int | None],
        said: bool,
    ) -> None:
        monkeypatch.setattr("loratune.objectives.workers.process.oom_kills", lambda: kills[0])
        worker = tiny()
        self.start(worker, "hang", tmp_path)
        monkeypatch.setattr("loratune.objectives.workers.process.oom_kills", lambda: kills[1])
        os.kill(worker.pid, signal.SIGKILL)
        event = next_event(worker)
        assert isinstance(event, WorkerFailed)
        assert event.out_of_memory is said
        assert event.killed is not said

    @pytest.mark.parametrize(
        ("act", "reason", "out_of_memory"),
        [
            ("raise", "RuntimeError: the tensors are of different sizes", False),
            ("run out of memory", "MemoryError: no 3 GB more", True),
            ("crash", "killed by SIGSEGV", False),
            ("exit", "exit code 7", False),
        ],
    )
    def test_a_failure_is_told_in_one_line_that_names_the_log(
        self, tiny: Callable[..., ProcessWorker], tmp_path: Path, act: str, reason: str, out_of_memory: bool
    ) -> None:
        worker = tiny()
        self.start(worker, act, tmp_path)
        event = next_event(worker)
        assert isinstance(event, WorkerFailed)
        assert reason in event.reason
        assert str(worker.log_file) in event.reason
        assert "\n" not in event.reason
        assert event.out_of_memory is out_of_memory

    def test_the_log_holds_prints_tracebacks_and_native_crashes(
        self, tiny: Callable[..., ProcessWorker], tmp_path: Path
    ) -> None:
        for act in ("raise", "crash"):
            worker = tiny()
            self.start(worker, act, tmp_path)
            failed = next_event(worker)
        assert isinstance(failed, WorkerFailed)
        assert "Fatal Python error: Segmentation fault" in failed.reason
        log = worker.log_file.read_text()
        assert "loading raise" in log
        assert "Traceback" in log
        assert "tiny_session.py" in log.partition("Segmentation fault")[2]

    @pytest.mark.parametrize("act", ["run out of memory", "fill the disk"])
    def test_the_log_holds_a_line_and_no_traceback_of_what_was_foreseen(
        self, tiny: Callable[..., ProcessWorker], tmp_path: Path, act: str
    ) -> None:
        worker = tiny()
        self.start(worker, act, tmp_path)
        failed = next_event(worker)
        assert isinstance(failed, WorkerFailed)
        assert failed.storage is (act == "fill the disk")
        log = worker.log_file.read_text()
        assert "cannot go on: no " in log
        assert "Traceback" not in log

    def test_errors_of_prepare_cross_as_their_class(self, tiny: Callable[..., ProcessWorker]) -> None:
        worker = tiny()
        with pytest.raises(ModelError, match="'refuse' cannot be packed") as caught:
            worker.prepare(config("refuse"))
        assert type(caught.value) is ModelError
        assert not psutil.pid_exists(worker.pid)

    def test_a_process_that_dies_while_it_prepares_is_an_error(
        self, tiny: Callable[..., ProcessWorker]
    ) -> None:
        with pytest.raises(WorkerError, match=r"exit code 5; .*worker-0\.log says: loading die in prepare"):
            tiny().prepare(config("die in prepare"))

    def test_a_session_that_cannot_be_imported_is_an_error(self, tmp_path: Path) -> None:
        worker = ProcessWorker(0, tmp_path / "log", session="no_such_module:Session")
        with pytest.raises(WorkerError, match="ModuleNotFoundError: No module named 'no_such_module'"):
            worker.prepare(config())

    def test_a_log_that_cannot_be_written_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(WorkerError, match=r"file/log: cannot be written \(.*\); make its folder"):
            ProcessWorker(0, tmp_path / "file" / "log")

    def test_threads_and_device_are_set_before_the_session_is_made(
        self, tiny: Callable[..., ProcessWorker], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-77")
        told = tiny(threads=3, device="cuda:1").prepare(config()).environment
        assert told == {"threads": "3", "devices": "GPU-77", "device": "cuda", "torch": "False"}

    def test_close_ends_a_process_that_does_not_answer(
        self, tiny: Callable[..., ProcessWorker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("loratune.objectives.workers.process.GRACE_SECONDS", 0.1)
        worker = tiny()
        self.start(worker, "hang", tmp_path)
        os.kill(worker.pid, signal.SIGSTOP)
        worker.close()
        assert not psutil.pid_exists(worker.pid)

    @pytest.mark.parametrize("thread", [False, True], ids=["main thread", "a thread that ended"])
    def test_a_worker_ends_when_the_search_is_killed_and_not_before(
        self, tmp_path: Path, thread: bool
    ) -> None:
        with Search(tmp_path, thread=thread) as (search, worker):
            assert not _gone(worker)
            search.kill()
            search.wait()
            until(lambda: _gone(worker), "the worker outlived the search")

    @pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals are Linux's")
    def test_a_worker_that_is_stuck_ends_with_the_search_too(self, tmp_path: Path) -> None:
        with Search(tmp_path, thread=False) as (search, worker):
            worker.suspend()
            search.kill()
            search.wait()
            until(lambda: _gone(worker), "the worker outlived the search")
            assert _gone(worker)

    def test_ctrl_c_on_the_terminal_does_not_reach_a_worker(self, tmp_path: Path) -> None:
        with Search(tmp_path, thread=False) as (search, worker):
            os.killpg(search.pid, signal.SIGINT)
            until((tmp_path / "interrupted").exists, "the search never heard of it")
            assert not _gone(worker)
            assert os.getsid(worker.pid) == worker.pid
            # It would not end by one that is meant for it either: it ignores them.
            status = Path(f"/proc/{worker.pid}/status").read_text()
            ignored = int(re.search(r"^SigIgn:\s*(\w+)$", status, re.MULTILINE)[1], 16)
            assert ignored >> (signal.SIGINT - 1) & 1

    def test_the_search_never_loads_torch(self, tmp_path: Path) -> None:
        program = (
            "import sys; from loratune.objectives.testing import fake; "
            "from loratune.objectives.workers import process; "
            "print({'torch', 'transformers', 'peft', 'accelerate'} & set(sys.modules))"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        assert done.stdout == "set()\n"


def _gone(process: psutil.Process) -> bool:
    """Return whether a process has ended; one that its new parent has not buried yet counts."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Search:
    """A search in a process group of its own, whose worker hangs in a round."""

    def __init__(self, folder: Path, *, thread: bool) -> None:
        program = f"""
            import sys, threading, time
            from pathlib import Path
            sys.path[:0] = [{str(HERE)!r}, {str(HERE.parents[1])!r}]
            import test_process
            from loratune.objectives.workers.process import ProcessWorker

            folder = Path({str(folder)!r})
            made = []
            def start():
                made.append(ProcessWorker(0, folder / "log", session="tiny_session:TinySession"))
                test_process.TestProcess().start(made[0], "hang", folder)
            if {thread}:
                starter = threading.Thread(target=start)
                starter.start()
                starter.join()
                time.sleep(0.2)  # a signal that the thread's end sends would arrive
            else:
                start()
            (folder / "pid").write_text(str(made[0].pid))
            (folder / "in a round").touch()
            try:
                time.sleep(600)
            except KeyboardInterrupt:
                (folder / "interrupted").touch()
                time.sleep(600)
        """
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program)], cwd=folder, start_new_session=True
        )
        self.worker: psutil.Process | None = None

    def __enter__(self) -> tuple[subprocess.Popen[bytes], psutil.Process]:
        until((self.folder / "in a round").exists, "the search never began")
        self.worker = psutil.Process(int((self.folder / "pid").read_text()))
        return self.process, self.worker

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        if self.worker is not None and not _gone(self.worker):
            self.worker.kill()
