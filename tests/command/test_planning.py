"""The plan says what a search would do, in values and in sentences."""

import dataclasses

import pytest
from loratune.app.planning import plan_values as plan
from loratune.app.request import choose_preset, make_config, make_request
from loratune.command.planning import plan_lines, share
from loratune.objectives.memory import Load, ModelShape
from loratune.objectives.methods import methods
from loratune.objectives.testing.fake import FakePlan, FakeWorker
from loratune.study.facts import BadRecord, ColumnUse, Endings, LeftOut
from loratune.study.pruners import PRUNERS


@pytest.fixture
def planned(monkeypatch):
    """Make a plan of the demo's flags on made-up facts: ``planned(pruner="none")``."""

    monkeypatch.setattr("loratune.app.durations.cores", lambda: 8)

    def make(facts_changes=None, trials=100, workers=2, **flags):
        if "pruner" in flags:
            flags["pruner"] = PRUNERS.parse(flags["pruner"])
        request = make_request(None, flags)
        config = make_config(request, choose_preset(request))
        facts = FakeWorker(plan=FakePlan(slots=8)).prepare(config.objective)
        facts = dataclasses.replace(facts, **(facts_changes(facts) if facts_changes else {}))
        return plan(config, facts, trials=trials, workers=workers), facts

    return make


def test_examples_and_steps_are_those_of_the_budget(planned):
    values, facts = planned()
    assert values["examples"] == facts.budget.examples == 8 * 6 * 32
    assert values["optimizer_steps"] == {"4": 384, "8": 192, "16": 96, "32": 48}
    assert values["epochs"] == pytest.approx(1536 / facts.data.train)


def test_the_time_grows_with_trials_and_shrinks_with_workers(planned):
    usual = planned()[0]["hours"]
    assert planned(trials=200)[0]["hours"] == pytest.approx(2 * usual)
    assert planned(workers=4)[0]["hours"] == pytest.approx(usual / 2)
    assert planned(pruner="none")[0]["hours"] > 1.5 * usual


def test_workers_beyond_the_cores_shorten_nothing_but_each_gpu_counts(planned, monkeypatch):
    monkeypatch.setattr("loratune.app.durations.cores", lambda: 2)
    assert planned(workers=9)[0]["hours"] == planned(workers=2)[0]["hours"]

    def on_gpus(count):
        def change(facts):
            return {
                "model": dataclasses.replace(facts.model, device="cuda:0"),
                "environment": {**facts.environment, "gpus": str(count)},
            }

        return change

    both = planned(on_gpus(4), workers=2)[0]["hours"]
    assert planned(on_gpus(4), workers=4)[0]["hours"] == pytest.approx(both / 2)
    assert planned(on_gpus(2), workers=4)[0]["hours"] == pytest.approx(both)


def test_the_time_is_that_of_every_example_trained_and_evaluated(planned):
    values, facts = planned(trials=3, workers=1, pruner="none")
    budget = facts.budget
    seen = budget.examples + (3 * budget.eval_examples + budget.final_eval_examples) / 3
    assert values["hours"] == pytest.approx(3 * seen / facts.rows_per_second / 3600)


def test_the_lines_name_everything_that_a_user_decides_by(planned):
    text = "\n".join(f"{name}: {words}" for name, words in plan_lines(planned()[0]))
    for words in (
        "space: preset tiny",
        "384 at batch 4, 192 at batch 8, 96 at batch 16, 48 at batch 32 steps",
        "1,536 examples",
        "100 trials, 16 at once (2 workers of 8 slots), about",
        "base model: eval loss",
        "learning_rate: 0.0003 to 0.1, log scale",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("trials", "workers", "words"),
    [
        (64, 2, "64 trials, 16 at once (2 workers of 8 slots)"),
        (24, 2, "24 trials, 6 at once (a quarter of all at most, in 2 workers of 8 slots)"),
        (1, 1, "1 trial, 1 at once (a quarter of all at most, in 1 worker of 8 slots)"),
    ],
)
def test_trials_at_once_are_those_that_the_search_will_let_begin(planned, trials, workers, words):
    values, _ = planned(trials=trials, workers=workers)
    assert dict(plan_lines(values))["search"].startswith(words + ", about ")
    assert f" {values['at_once']} at once" in words


@pytest.mark.parametrize(
    ("final", "rung", "pruner", "warned"),
    [
        (384, 96, "halving", []),
        (20, 16, "halving", []),
        (19, 16, "halving", ["19 validation examples can hardly tell trials apart"]),
        (1, 1, "none", ["1 validation example can hardly tell trials apart"]),
        (64, 15, "halving", ["trials are stopped early on 15 validation examples"]),
        (64, 15, "none", []),
    ],
)
def test_validation_sets_that_tell_nothing_apart_are_warned_of(planned, final, rung, pruner, warned):
    def few(facts):
        return {"budget": dataclasses.replace(facts.budget, final_eval_examples=final, eval_examples=rung)}

    lines = plan_lines(planned(few, pruner=pruner)[0])
    found = [words for name, words in lines if name == "warning"]
    assert len(found) == len(warned)
    assert all(words.startswith(start) for words, start in zip(found, warned, strict=True))


def test_what_was_left_out_of_the_data_is_said(planned):
    bad = tuple(BadRecord(file="d.jsonl", line=line, reason="no output") for line in range(1, 8))

    def spoil(facts):
        return {
            "data": dataclasses.replace(
                facts.data,
                bad=7,
                bad_records=bad,
                duplicates=3,
                truncated=2,
                ends_lost=1,
                records=100,
                reasons=(
                    LeftOut(reason="no output", count=6, places=("d.jsonl:1", "d.jsonl:2")),
                    LeftOut(reason="'text' is empty", count=1, places=("d.jsonl:7",)),
                ),
                shortened=LeftOut(reason="turns were cut off", count=1, places=("d.jsonl:9",)),
                columns=(
                    ColumnUse(file="d.jsonl", name="instruction", used_as="prompt"),
                    ColumnUse(file="d.jsonl", name="id", used_as=""),
                    ColumnUse(file="d.jsonl", name="input", used_as="prompt"),
                ),
            )
        }

    values, _ = planned(spoil)
    lines = plan_lines(values)
    (data,) = [words for name, words in lines if name == "data"]
    total = values["data"]["train"] + values["data"]["validation"] + values["data"]["test"]
    for words in (
        "7 bad records left out",
        "3 repeats left out",
        f"2 of {total:,} examples cut to length, where 1 answer lost the end and the stop token with it",
        "of at most 1,024",
    ):
        assert words in data
    assert lines[lines.index(("data", data)) + 1 :][:5] == [
        ("  columns", "prompt: instruction and input; not used: id"),
        ("  6 records", "left out: no output  (d.jsonl:1, d.jsonl:2, …)"),
        ("  1 record", "left out: 'text' is empty  (d.jsonl:7)"),
        ("", "tune plan --json names each"),
        ("  1 record", "turns were cut off  (d.jsonl:9)"),
    ]
    assert len(values["data"]["bad_records"]) == 7
    assert values["data"]["bad_records"][6]["where"] == "d.jsonl:7"


@pytest.mark.parametrize(
    ("model_stops", "name", "words"),
    [
        ((9,), "answers", "an answer ends with <|im_end|> in training, where the model stops by itself"),
        (
            (2,),
            "warning",
            "an answer ends with <|im_end|> in training, but the model's generation config stops",
        ),
    ],
)
def test_a_stop_token_that_the_model_does_not_stop_at_is_warned_of(planned, model_stops, name, words):
    def ended(facts):
        tokens = tuple({9: "<|im_end|>", 2: "</s>"}[token] for token in model_stops)
        endings = Endings(tokens=("<|im_end|>",), ids=(9,), model_ids=model_stops, model_tokens=tokens)
        return {"data": dataclasses.replace(facts.data, endings=endings)}

    values, _ = planned(ended)
    assert values["data"]["stops_differ"] == (name == "warning")
    (found,) = [line for line in plan_lines(values) if line[1].startswith("an answer ends")]
    assert found[0] == name
    assert found[1].startswith(words)


def test_what_the_worker_found_worth_saying_is_a_note(planned):
    said = "Tesla T4 has no bfloat16 of its own, so it trains in float32"
    values, facts = planned(lambda facts: {"notes": (said,)})
    assert values["notes"] == [*facts.budget.notes, said]
    assert ("note", said) in plan_lines(values)


def test_reasons_that_the_plan_does_not_give_are_counted(planned):
    reasons = tuple(
        LeftOut(reason=f"wrong in way {way}", count=20 - way, places=("d.json: record 5",))
        for way in range(10)
    )
    values, _ = planned(
        lambda facts: {"data": dataclasses.replace(facts.data, bad=155, bad_records=(), reasons=reasons)}
    )
    lines = plan_lines(values)
    assert ("  13 records", "left out: wrong in way 7  (d.json: record 5, …)") in lines
    assert ("  23 records", "left out for 2 more reasons") in lines
    assert ("", "tune plan --json names the first 0") in lines


@pytest.mark.parametrize(
    ("epochs", "words"),
    [
        (0.5, "the last reads 50 % of the training data"),
        (1.016, "the last reads the training data once"),
        (2.5, "the last reads the training data 2.5 times"),
    ],
)
def test_how_often_the_last_step_reads_the_data_is_a_whole_sentence(planned, epochs, words):
    step = {"trials": 1, "examples": 2560, "epochs": epochs}
    values = {**planned()[0], "examples_in_all": 6000, "steps": [step]}
    assert dict(plan_lines(values))["in all"].endswith(words)


def test_the_time_up_to_a_trained_model_is_not_told_as_the_searchs(planned):
    step = {"trials": 1, "examples": 2560, "epochs": 0.5}
    usual = planned()[0]
    climbing = dict(plan_lines({**usual, "examples_in_all": 6000, "steps": [step], "hours": 0.5}))
    assert climbing["search"] == "up to 100 trials, 16 at once (2 workers of 8 slots)"
    assert climbing["time"].startswith(
        "about 30 min for the search and all its steps (rough, an estimate from "
    )
    alone = dict(plan_lines({**usual, "examples_in_all": 6000, "steps": [], "hours": 0.5}))
    assert "16 at once (2 workers of 8 slots), about 30 min (rough" in alone["search"]
    assert "time" not in alone


def test_a_workers_own_memory_is_part_of_what_it_holds(planned):
    def change(facts):
        return {"memory": dataclasses.replace(facts.memory, worker_bytes=400 * 2**20)}

    values, facts = planned(change)
    held = values["memory_bytes"]
    assert held["process"] == 400 * 2**20
    assert held["worker"] == facts.memory.base_bytes + 400 * 2**20 + 8 * facts.memory.slot_bytes
    assert "400 MiB the worker's own" in dict(plan_lines(values))["memory"]


def test_each_gpu_has_memory_of_its_own(planned):
    def on(device):
        def change(facts):
            held = facts.memory.base_bytes + facts.slots * facts.memory.slot_bytes
            return {
                "memory": dataclasses.replace(facts.memory, available_bytes=3 * held // 2),
                "model": dataclasses.replace(facts.model, device=device),
            }

        return dict(plan_lines(planned(change, workers=2)[0]))["memory"]

    assert "does not fit" in on("cpu")
    assert "does not fit" not in on("cuda")


def test_a_plan_that_does_not_fit_into_memory_says_so(planned):
    def small(facts):
        held = facts.memory.base_bytes + facts.slots * facts.memory.slot_bytes
        return {"memory": dataclasses.replace(facts.memory, available_bytes=2 * held - 1)}

    for workers, fits in ((1, True), (2, False)):
        lines = dict(plan_lines(planned(small, workers=workers)[0]))
        assert ("does not fit, lower --slots or --workers" not in lines["memory"]) is fits


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: share(0.354), "35 %"),
        (lambda: share(0.0042), "0.42 %"),
        (lambda: share(2.24), "2.2 times all"),
        (lambda: share(1.0), "1 times all"),
        (lambda: share(262.4), "262 times all"),
    ],
)
def test_a_share_of_the_data_is_short(call, words):
    assert call() == words


@pytest.mark.parametrize(
    ("length", "cure"),
    [
        (1024, "longer than 1,024 tokens and are cut: give a larger --cutoff-len"),
        (512, "longer than 512 tokens and are cut: that is all that the model takes"),
    ],
)
def test_many_examples_that_are_cut_are_a_note_and_few_are_none(planned, length, cure):
    def notes(truncated: int) -> list[str]:
        def spoil(data):
            changed = {"truncated": truncated, "cutoff_len": length, "ends_lost": 2 * truncated}
            return {"data": dataclasses.replace(data.data, **changed)}

        values, facts = planned(spoil)
        examples = facts.data.train + facts.data.validation + facts.data.test
        data = dict(plan_lines(values))["data"]
        assert ("(an example of several turns has several answers)" in data) == (truncated > 0)
        assert f"{truncated:,} of {examples:,} examples" in data or not truncated
        return [words for name, words in plan_lines(values) if name == "note" and "are cut" in words]

    assert notes(0) == []
    assert notes(10) == []
    (note,) = notes(2000)
    assert cure in note


SHAPE = ModelShape(hidden_size=64, intermediate_size=172, layers=4, heads=4, vocab_size=512, dtype_bytes=4)
LOAD = Load(slots=1, together=1, rows=4, length=64, rank=16, head_positions=64)


def with_methods(available, numbers=200_000):
    """Facts of a model whose ways of training were reckoned, on a device of so many bytes."""
    found = methods(SHAPE, LOAD, numbers=numbers, tied=True, parameters=5_000, context=0)

    def changes(facts):
        memory = dataclasses.replace(facts.memory, methods=found, available_bytes=available)
        return {"memory": memory, "model": dataclasses.replace(facts.model, parameters=numbers)}

    return changes, {one.name: one for one in found}


def test_the_ways_of_training_stand_beside_the_rule_of_thumb_with_what_fits_and_one_advice(planned):
    changes, found = with_methods(10**9)
    values, _ = planned(changes)
    assert [one["name"] for one in values["methods"]] == ["full", "freeze", "lora", "qlora"]
    assert all(one["fits"] for one in values["methods"])
    assert values["recommended"] == "lora"
    full, freeze, lora, qlora = values["methods"]
    assert full["bytes"]["weights"] == full["bytes"]["gradients"] == 4 * 200_000
    assert full["bytes"]["moments"] == 8 * 200_000
    assert freeze["trained_weights"] == 2 * (200_000 - 512 * 64) // 4
    assert lora["bytes"]["weights"] == 4 * 200_000
    assert lora["peak_bytes"] == found["lora"].parts.peak
    quantized = qlora["bytes"]["weights"] - 4 * 512 * 64
    assert quantized / (200_000 - 512 * 64) == pytest.approx(4.127 / 8, rel=1e-3)
    assert full["rule_of_thumb_bytes"] == 18 * 200_000
    text = "\n".join(words for _, words in plan_lines(values))
    assert "LoRA, which fits as it is" in text
    assert "does not fit" not in text


def test_where_lora_does_not_fit_the_base_is_advised_in_4_bits_and_else_another_model(planned):
    _, found = with_methods(0)
    between = (found["lora"].parts.peak + found["qlora"].parts.peak) / 2
    values, _ = planned(with_methods(int(between / 0.8))[0])
    assert values["recommended"] == "qlora"
    assert ("recommended", "QLoRA (--quantization-bit 4), since LoRA on the base as it is does not fit") in (
        plan_lines(values)
    )
    values, _ = planned(with_methods(1000)[0])
    assert values["recommended"] is None
    assert any("none of them fits" in words for _, words in plan_lines(values))


@pytest.mark.parametrize(
    ("bits", "asked", "names", "advice"),
    [
        (4, None, ["qlora"], "QLoRA, which alone can train weights that lie there in 4 bits"),
        (8, None, [], None),
        (4, 4, ["full", "freeze", "lora", "qlora"], "LoRA, which fits as it is"),
    ],
)
def test_weights_that_lie_there_in_few_bits_are_trained_by_adapters_alone(
    planned, bits, asked, names, advice
):
    changes, _ = with_methods(10**9)

    def quantized(facts):
        found = changes(facts)
        return {**found, "model": dataclasses.replace(found["model"], bits=bits)}

    values, _ = planned(quantized, quantization_bit=asked)
    assert [one["name"] for one in values["methods"]] == names
    assert dict(plan_lines(values)).get("recommended") == advice


def test_a_study_of_before_has_no_table_of_methods(planned):
    values, _ = planned()
    assert values["methods"] == []
    assert "recommended" not in [name for name, _ in plan_lines(values)]
