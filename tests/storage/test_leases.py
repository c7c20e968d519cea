"""Who owns a study: told from ids alone, and held against real processes."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

import pytest
from loratune.errors import StaleOwner, StudyBusy
from loratune.storage import leases
from loratune.storage.leases import Process, standing
from loratune.storage.store import Store
from made_up_studies import IN_A_CHILD

HERE = Process(host="a", pid=10, started=100.0, machine="m1", boot="b1", namespace="pid:[1]", ticks=77)
OWNER = dataclasses.replace(HERE, pid=20, ticks=55, started=50.0)


def nobody(pid):
    return None


def somebody(process):
    return lambda pid: process if pid == process.pid else None


@pytest.mark.parametrize(
    ("owner", "running", "expected"),
    [
        (OWNER, somebody(OWNER), "alive"),
        (OWNER, nobody, "dead"),
        # Another process has the id now.
        (OWNER, somebody(dataclasses.replace(OWNER, ticks=56)), "dead"),
        # The clock was set: the start in seconds moved, the start in ticks did not.
        (OWNER, somebody(dataclasses.replace(OWNER, started=9999.0)), "alive"),
        (dataclasses.replace(OWNER, ticks=None), somebody(OWNER), "alive"),
        (dataclasses.replace(OWNER, ticks=None, started=40.0), somebody(OWNER), "dead"),
        # Not to be seen from here, whatever runs under that id.
        (dataclasses.replace(OWNER, host="b"), nobody, "elsewhere"),
        (dataclasses.replace(OWNER, machine="m2"), somebody(OWNER), "elsewhere"),
        (dataclasses.replace(OWNER, namespace="pid:[2]"), nobody, "elsewhere"),
        # The machine was started again, so it is gone, whatever its container was.
        (dataclasses.replace(OWNER, boot="b0"), somebody(OWNER), "dead"),
        (dataclasses.replace(OWNER, boot="b0", namespace="pid:[2]"), nobody, "dead"),
        # Systems that give no such ids.
        (dataclasses.replace(OWNER, machine="", boot="", namespace=""), somebody(OWNER), "alive"),
    ],
)
def test_an_owner_is_told_by_its_ids(owner, running, expected):
    assert standing(owner, HERE, running) == expected


def test_a_process_is_read_back_as_it_was_written():
    me = leases.here()
    assert Process.of(me.host, me.pid, me.started, me.identity()) == me
    assert me.pid == os.getpid()
    assert standing(me, me, leases.running) == "alive"


def test_a_process_that_has_ended_is_dead_even_before_its_parent_looks():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    owner = leases.running(child.pid)
    assert standing(owner, leases.here(), leases.running) == "alive"
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, not yet reaped: a zombie
    assert standing(owner, leases.here(), leases.running) == "dead"
    child.wait()
    assert standing(owner, leases.here(), leases.running) == "dead"


OWN = """
import signal, sys, time
from loratune.storage.store import Store
if {stubborn!r}:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
store = Store.open({path!r}, mode="write")
if not {stubborn!r}:
    def last_words(*_):
        store.add_event(1, "interrupted")
        store.close()
        sys.exit(0)
    signal.signal(signal.SIGTERM, last_words)
print(store.acquire(1).token, flush=True)
time.sleep(60)
"""


@pytest.fixture
def own(path, make_study):
    """Start a process that owns the study."""
    started = []
    with Store.open(str(path), mode="create") as store:
        make_study(store)

    def start(*, stubborn=False):
        code = OWN.format(path=str(path), stubborn=stubborn)
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        started.append(child)
        assert child.stdout.readline().strip().isdigit()
        return child

    yield start
    for child in started:
        child.kill()
        child.wait()
        child.stdout.close()


def test_a_live_owner_is_named_and_not_displaced(path, own):
    child = own()
    with Store.open(str(path), mode="write") as store:
        with pytest.raises(StudyBusy, match=f"process {child.pid} on this machine.*--take-over"):
            store.acquire(1)
        assert store.lease(1).alive
        assert store.lease(1).pid == child.pid
        with pytest.raises(StaleOwner):
            store.add_event(1, "x")
    assert child.poll() is None


def test_a_killed_owner_is_followed_without_a_word(path, own):
    child = own()
    child.kill()
    child.wait()
    with Store.open(str(path), mode="write") as store:
        assert not store.lease(1).alive
        store.set_trials(1, 40)  # what a resume does before it acquires
        assert store.acquire(1).token == 2
        assert store.lease(1).alive


def test_taking_over_lets_the_owner_write_its_last_words(path, own):
    child = own()
    with Store.open(str(path), mode="write") as store:
        assert store.acquire(1, take_over=True).token == 2
        assert [event.kind for event in store.events(1)] == ["interrupted"]
        assert leases.running(child.pid) is None
        store.add_event(1, "resumed")


def test_an_owner_that_ended_is_followed_though_its_parent_never_looks(path, own):
    """As in a container whose first process waits for nobody: the owner stays behind as a zombie."""
    child = own()
    code = f"""
from loratune.storage.store import Store
with Store.open({str(path)!r}, mode="write") as store:
    print(store.acquire(1, take_over=True).token)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "2\n", done.stderr
    assert child.wait() == 0


def test_taking_over_kills_an_owner_that_goes_on(path, own, monkeypatch):
    child = own(stubborn=True)
    monkeypatch.setattr(leases.end, "__kwdefaults__", {"wait": 0.5})
    with Store.open(str(path), mode="write") as store:
        assert leases.running(child.pid) is not None
        assert store.acquire(1, take_over=True).token == 2
        assert leases.running(child.pid) is None


def test_a_stopped_owner_that_wakes_after_it_was_displaced_writes_nothing(path, own, make_study):
    """As a laptop that slept, or a machine that was thought gone."""
    code = f"""
import sys
from loratune.storage.store import Store
store = Store.open({str(path)!r}, mode="write")
store.acquire(1)
print("ready", flush=True)
sys.stdin.readline()
try:
    store.add_event(1, "late")
except Exception as error:
    print(type(error).__name__, flush=True)
"""
    with Store.open(str(path), mode="write") as store:
        child = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGSTOP)
        with store._connections.transaction() as connection:  # seen from elsewhere it would be another's
            connection.exec_driver_sql("UPDATE tune_leases SET host = 'gone'")
        assert store.acquire(1, take_over=True).token == 2
        child.send_signal(signal.SIGCONT)
        assert child.communicate("\n")[0].strip() == "StaleOwner"
        assert store.events(1) == ()
        store.add_event(1, "mine")


RACE = """
import sys
from loratune.errors import StudyBusy
from loratune.storage.store import Store
store = Store.open({path!r}, mode="write")
sys.stdin.readline()
try:
    store.acquire(1)
    print("won", flush=True)
except StudyBusy:
    print("lost", flush=True)
sys.stdin.readline()
"""


def test_of_processes_that_ask_at_once_exactly_one_wins(path, own):
    for _ in range(2):
        children = [
            subprocess.Popen(
                [sys.executable, "-c", RACE.format(path=str(path))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(3)
        ]
        time.sleep(0.5)
        for child in children:
            child.stdin.write("\n")
            child.stdin.flush()
        answers = [child.stdout.readline().strip() for child in children]
        for child in children:
            child.kill()
            child.communicate()
        assert sorted(answers) == ["lost", "lost", "won"]


MAKE = (
    IN_A_CHILD
    + """
import sys
from loratune.storage.store import Store
sys.stdin.readline()
with Store.open({path!r}, mode="create") as store:
    study = store.create_study(name=sys.argv[1], trials=1, config=make_config(), facts=make_facts())
    store.acquire(study.id)
    store.project(study.id, {{}}, {{}})
print("made", flush=True)
"""
)


def test_processes_that_make_the_same_database_at_once_all_succeed(path):
    children = [
        subprocess.Popen(
            [sys.executable, "-c", MAKE.format(path=str(path)), f"study-{index}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(3)
    ]
    time.sleep(1.0)
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    for child in children:
        out, err = child.communicate(timeout=60)
        assert (out.strip(), err) == ("made", "")
    with Store.open(str(path), mode="read") as store:
        assert sorted(study.id for study in store.studies()) == [1, 2, 3]
