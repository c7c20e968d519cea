"""What a worker process finds in its environment."""

from __future__ import annotations

import pytest
from loratune.errors import WorkerError
from loratune.objectives.workers.environment import child_environment


def test_a_device_is_counted_among_the_visible_ones() -> None:
    def visible(device: str | None, **environ: str) -> str | None:
        return child_environment(environ, threads=1, device=device).get("CUDA_VISIBLE_DEVICES")

    assert visible("cuda:2") == "2"
    assert visible("cuda:1", CUDA_VISIBLE_DEVICES="3,5") == "5"
    assert visible("cuda:1", CUDA_VISIBLE_DEVICES="GPU-1, MIG-2/0/1") == "MIG-2/0/1"
    assert visible("cpu", CUDA_VISIBLE_DEVICES="3,5") == ""
    assert visible("cuda") is None
    assert visible(None, CUDA_VISIBLE_DEVICES="3") == "3"
    with pytest.raises(WorkerError, match="cuda:2 is not among CUDA_VISIBLE_DEVICES=3,5"):
        visible("cuda:2", CUDA_VISIBLE_DEVICES="3,5")
    for none in ("", "-1", "-1,0", "0,0", "none"):
        with pytest.raises(
            WorkerError, match=f"cuda:0 is not among CUDA_VISIBLE_DEVICES={none}; name another"
        ):
            visible("cuda:0", CUDA_VISIBLE_DEVICES=none)


def test_a_workers_memory_on_a_gpu_may_grow_in_place_unless_the_user_said_otherwise() -> None:
    def allocator(**environ: str) -> dict[str, str]:
        environment = child_environment(environ, threads=1, device="cuda:0")
        return {name: value for name, value in environment.items() if name.endswith("ALLOC_CONF")}

    assert list(allocator().values()) == ["expandable_segments:True"]
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF"):
        assert allocator(**{name: "max_split_size_mb:64"}) == {name: "max_split_size_mb:64"}


def test_a_worker_on_a_cpu_keeps_the_memory_that_a_micro_step_frees_unless_the_user_said_otherwise() -> None:
    def keeping(device: str | None, **environ: str) -> dict[str, str]:
        environment = child_environment(environ, threads=1, device=device)
        return {name: value for name, value in environment.items() if name.startswith(("MALLOC_", "GLIBC"))}

    assert keeping("cpu") == keeping(None)
    assert set(keeping("cpu")) == {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"}
    assert keeping("cuda:0") == {}
    for own in ({"MALLOC_ARENA_MAX": "2"}, {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}):
        assert keeping("cpu", **own) == own


@pytest.mark.parametrize(
    ("version", "name"),
    [
        ("2.8.1", "PYTORCH_CUDA_ALLOC_CONF"),
        ("2.9.0+cu128", "PYTORCH_ALLOC_CONF"),
        ("2.13.0", "PYTORCH_ALLOC_CONF"),
    ],
)
def test_the_allocator_is_set_by_the_name_that_the_installed_pytorch_reads(
    version: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda package: version)
    assert child_environment({}, threads=1, device=None)[name] == "expandable_segments:True"


def test_a_worker_is_no_member_of_the_group_that_a_launcher_made() -> None:
    launched = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "h", "MASTER_PORT": "1"}
    environment = child_environment({**launched, "HOME": "/home/me"}, threads=1, device=None)
    assert not launched.keys() & environment.keys()
    assert environment["HOME"] == "/home/me"
