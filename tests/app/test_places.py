"""A study's workers run on what the machine has now, whatever it had when the study was made."""

import dataclasses

import pytest
from loratune.app.places import check_device, count_workers, find_places, machine_of
from loratune.app.request import choose_preset, make_config, make_request
from loratune.errors import ModelError, UsageError
from loratune.objectives.machine import Machine
from loratune.objectives.testing.fake import FakeWorker
from loratune.study.memory import MemoryFacts


def facts_on(device, *, gpus=None, dtype="bfloat16", **memory):
    request = make_request(None, {})
    facts = FakeWorker().prepare(make_config(request, choose_preset(request)).objective)
    environment = facts.environment if gpus is None else {**facts.environment, "gpus": str(gpus)}
    return dataclasses.replace(
        facts,
        model=dataclasses.replace(facts.model, device=device, device_name="NVIDIA L4"),
        geometry=dataclasses.replace(facts.geometry, dtype=dtype),
        environment=environment,
        memory=dataclasses.replace(facts.memory, **memory),
    )


def with_gpus(count):
    return Machine(gpus=count, ram_bytes=2**40)


def test_the_machine_of_the_study_has_a_worker_on_each_of_its_gpus():
    facts = facts_on("cuda:0", gpus=4)
    for machine in (with_gpus(4), machine_of("auto", facts)):
        places = find_places("auto", facts, machine)
        assert places.gpus == ("cuda:0", "cuda:1", "cuda:2", "cuda:3")
        assert places.note is None
        assert count_workers(None, places, facts, machine, 100, slots=facts.slots) == 4


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (1, "1 GPU is here, 4 GPUs where the study was made; workers share what is here"),
        (8, "8 GPUs are here, 4 GPUs where the study was made; workers share what is here"),
    ],
)
def test_fewer_gpus_are_enough_and_more_are_used_and_it_is_said(now, said):
    facts = facts_on("cuda:0", gpus=4)
    places = find_places("cuda", facts, with_gpus(now))
    assert [places.device(index) for index in range(now)] == [f"cuda:{index}" for index in range(now)]
    assert places.note == said
    assert count_workers(None, places, facts, with_gpus(now), 100, slots=facts.slots) == now
    most = 4 * now
    assert count_workers(most, places, facts, with_gpus(now), 100, slots=facts.slots) == most
    assert {places.device(index) for index in range(most)} == set(places.gpus)
    with pytest.raises(
        UsageError, match=f"--workers {most + 1}: at most 4 share a GPU, and {now} can be used"
    ):
        count_workers(most + 1, places, facts, with_gpus(now), 100, slots=facts.slots)


def test_where_nobody_can_count_the_gpus_are_those_of_the_study():
    facts = facts_on("cuda:0", gpus=2)
    assert find_places("auto", facts, with_gpus(None)).gpus == ("cuda:0", "cuda:1")


def test_a_gpu_that_the_user_named_is_the_only_one():
    facts = facts_on("cuda:0", gpus=1)  # its worker was shown no other
    for machine in (with_gpus(8), with_gpus(None), machine_of("cuda:3", facts)):
        assert find_places("cuda:3", facts, machine).gpus == ("cuda:3",)
    elsewhere = find_places("cuda:3", facts, with_gpus(2))
    assert elsewhere.gpus == ("cuda:0",)
    assert elsewhere.note == "cuda:3, chosen for the study, is not here; using cuda:0"


@pytest.mark.parametrize(
    ("chosen", "dtype"), [("auto", "bfloat16"), ("cuda", "float32"), ("cuda:0", "float32")]
)
def test_without_a_gpu_a_study_of_one_is_refused_in_one_line(chosen, dtype):
    facts = facts_on("cuda:0", gpus=1, dtype=dtype)
    with pytest.raises(
        ModelError, match="the study was made on NVIDIA L4, and no GPU is found here"
    ) as error:
        find_places(chosen, facts, with_gpus(0))
    assert "\n" not in str(error.value)


def test_without_a_gpu_a_study_in_float32_goes_on_on_the_cpu_and_says_so():
    facts = facts_on("cuda:0", gpus=2, dtype="float32")
    places = find_places("auto", facts, with_gpus(0))
    assert places.device(0) == "cpu"
    assert (
        places.note == "the study was made on NVIDIA L4, and no GPU is found here, so it goes on on the CPU"
    )
    assert count_workers(None, places, facts, with_gpus(0), 100, slots=facts.slots) == 1


def test_a_study_of_a_cpu_stays_on_the_cpu_where_a_gpu_has_come():
    places = find_places("auto", facts_on("cpu", dtype="float32"), with_gpus(2))
    assert places.device(0) == places.device(1) == "cpu"
    assert places.note is None


@pytest.mark.parametrize(("gib", "workers"), [(1, 1), (4, 1), (8, 2), (15, 3), (64, 4)])
def test_on_a_cpu_memory_bounds_the_workers_and_their_own_is_counted(gib, workers, monkeypatch):
    monkeypatch.setattr("loratune.app.places.cores", lambda: 4)
    facts = facts_on("cpu", base_bytes=2**30, slot_bytes=2**28, worker_bytes=2**30)
    facts = dataclasses.replace(facts, slots=8)  # 1 + 8 × 0.25 + 1 = 4 GiB a worker
    machine = Machine(gpus=0, ram_bytes=gib * 2**30)
    assert (
        count_workers(None, find_places("auto", facts, machine), facts, machine, 100, slots=facts.slots)
        == workers
    )


def test_memory_is_counted_for_the_trials_that_train_at_once_now(monkeypatch):
    monkeypatch.setattr("loratune.app.places.cores", lambda: 4)
    facts = facts_on("cpu", base_bytes=2**30, slot_bytes=2**28, worker_bytes=2**30)
    facts = dataclasses.replace(facts, slots=8)
    machine = Machine(gpus=0, ram_bytes=12 * 2**30)
    places = find_places("auto", facts, machine)
    found = {slots: count_workers(None, places, facts, machine, 100, slots=slots) for slots in (4, 8, 16, 64)}
    assert found == {4: 4, 8: 3, 16: 2, 64: 1}  # 3, 4, 6 and 18 GiB a worker


def test_a_study_from_before_its_own_memory_was_counted_still_counts():
    assert MemoryFacts(base_bytes=1, slot_bytes=1, available_bytes=1, slots_max=1).worker_bytes == 0


@pytest.mark.parametrize(
    ("chosen", "gpus", "visible", "why"),
    [
        ("cuda:99", 8, None, "there are 8, cuda:0 to cuda:7;"),
        ("cuda:1", 1, "3", "there is only cuda:0 under CUDA_VISIBLE_DEVICES=3;"),
        ("cuda:99", 0, None, "no CUDA GPU is found here;"),
        ("cuda", 0, "", "no CUDA GPU is found here under CUDA_VISIBLE_DEVICES=;"),
    ],
)
def test_a_gpu_that_is_not_there_is_named_beside_those_that_are(chosen, gpus, visible, why):
    with pytest.raises(ModelError) as error:
        check_device(chosen, gpus, visible)
    assert str(error.value) == f"device: {chosen!r} is not there, {why} use --device auto or --device cpu"


@pytest.mark.parametrize(
    ("chosen", "gpus"), [("cuda:7", 8), ("cuda", 1), ("cuda:9", None), ("auto", 0), ("cpu", 0)]
)
def test_what_is_there_or_cannot_be_told_passes(chosen, gpus):
    check_device(chosen, gpus, None)
