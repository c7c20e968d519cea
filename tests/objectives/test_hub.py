"""The Hub is asked once for a model that is not here, and not at all for one that is."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from loratune.errors import ModelError
from loratune.objectives.hub import check_hub
from loratune.study.config import ModelConfig

COMMIT = "0123456789" * 4


class Hub:
    """A server in the Hub's place that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                # The library asks for things of its own too.
                if self.path.startswith("/org/tiny/"):
                    outer.asked.append((self.command, self.path))
                self.send_response(outer.status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def do_GET(self) -> None:
                self.do_HEAD()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub()
    threading.Thread(target=made.server.serve_forever, daemon=True).start()
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", made.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", made.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_a_model_that_the_hub_has_is_asked_for_once(hub: Hub) -> None:
    hub.headers = {"X-Repo-Commit": COMMIT, "ETag": '"0"', "Content-Length": "2"}
    check_hub(ModelConfig(name_or_path="org/tiny"))
    check_hub(ModelConfig(name_or_path="org/tiny", revision="v2"))
    assert hub.asked == [
        ("HEAD", "/org/tiny/resolve/main/config.json"),
        ("HEAD", "/org/tiny/resolve/v2/config.json"),
    ]


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (404, "RepoNotFound", "not on the Hub or private"),
        (404, "RevisionNotFound", "has no revision 'v9' on the Hub"),
        (404, "EntryNotFound", "has no config.json on the Hub"),
        (403, "GatedRepo", "is gated"),
    ],
)
def test_what_the_hub_says_no_to_is_said_before_a_worker_starts(
    hub: Hub, status: int, code: str, said: str
) -> None:
    hub.status, hub.headers = status, {"X-Error-Code": code}
    with pytest.raises(ModelError, match=said):
        check_hub(ModelConfig(name_or_path="org/tiny", revision="v9"))
    assert len(hub.asked) == 1


def test_a_hub_in_trouble_is_left_to_the_worker_s_patience(hub: Hub) -> None:
    hub.status = 503
    check_hub(ModelConfig(name_or_path="org/tiny"))
    assert len(hub.asked) == 1


def test_a_model_of_the_cache_is_not_asked_for(hub: Hub, tmp_path: Path) -> None:
    repository = tmp_path / "cache" / "models--org--tiny"
    (repository / "snapshots" / COMMIT).mkdir(parents=True)
    (repository / "snapshots" / COMMIT / "config.json").write_text("{}")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    for revision in (None, "main", COMMIT):
        check_hub(ModelConfig(name_or_path="org/tiny", revision=revision))
    assert hub.asked == []


def test_offline_no_one_is_asked(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set; run `hf download org/tiny`"):
        check_hub(ModelConfig(name_or_path="org/tiny"))
    assert hub.asked == []


def test_a_hub_that_does_not_answer_is_waited_for_as_long_as_the_user_says(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = []

    def ask(*args: Any, timeout: float, **kwargs: Any) -> None:
        waited.append(timeout)
        raise TimeoutError

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", ask)
    monkeypatch.delenv("HF_HUB_ETAG_TIMEOUT", raising=False)
    with pytest.raises(ModelError, match="HF_HUB_ETAG_TIMEOUT=30 waits longer than 4 seconds"):
        check_hub(ModelConfig(name_or_path="org/tiny"))
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "30")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_ETAG_TIMEOUT", 30)
    with pytest.raises(ModelError, match=r"cannot be reached; run `hf download org/tiny` .* folder$"):
        check_hub(ModelConfig(name_or_path="org/tiny"))
    assert waited == [4.0, 30.0]


def _plan(tmp_path: Path, endpoint: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TUNE_", "HF_"))}
    data = tmp_path / "data.jsonl"
    data.write_text("".join(f'{{"instruction": "{at}?", "output": "{at}"}}\n' for at in range(400)))
    return subprocess.run(
        [sys.executable, "-m", "loratune", "plan", "--model", "org/tiny", "--data", str(data)],
        cwd=tmp_path,
        env={**kept, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_command_asks_once_and_says_one_line(hub: Hub, tmp_path: Path) -> None:
    hub.status, hub.headers = 404, {"X-Error-Code": "RepoNotFound"}
    done = _plan(tmp_path, hub.url)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "tune: org/tiny: is no folder, and not on the Hub or private; check the name, or run `hf auth login`"
    ]
    assert hub.asked == [("HEAD", "/org/tiny/resolve/main/config.json")]


def test_without_a_connection_the_command_says_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: whoever connects is refused
        done = _plan(tmp_path, f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "tune: org/tiny: is not in the local cache and the Hub cannot be reached; run `hf download org/tiny` "
        "with a connection, or give a folder"
    ]
