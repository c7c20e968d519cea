"""What a final evaluation measures beside the losses: likeliest tokens, labels, and what is written."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from loratune.errors import StorageError
from loratune.metrics.labels import predicted
from loratune.objectives.base import RoundProgress
from loratune.objectives.data.answers import find_labels, places_of, prompt_and_answer
from loratune.objectives.training.answering import writing
from loratune.objectives.training.beside import stops_of
from loratune.objectives.training.evaluation import finished
from loratune.objectives.training.session import Session
from loratune.study.budget import ROUNDS
from loratune.study.metric import LEAST_LABELLED, examples_measured
from trained_trials import PARAMS, make_config, run


@pytest.fixture(scope="module", name="labelled")
def make_labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sums, and whether they are even: answers of two kinds."""
    file = tmp_path_factory.mktemp("labelled") / "parity.jsonl"
    lines = [
        json.dumps({"instruction": f"{a}+{b}?", "output": "odd" if (a + b) % 2 else "even"})
        for a in range(20)
        for b in range(20)
    ]
    file.write_text("\n".join(lines))
    return file


@pytest.fixture(scope="module", name="session")
def make_session(tiny_model: Path, labelled: Path):
    session = Session(make_config(tiny_model, labelled, metric="accuracy"))
    yield session
    session.close()


@pytest.fixture(scope="module", name="last")
def make_last(session: Session, tmp_path_factory: pytest.TempPathFactory):
    """The result of a trial's last round, trained alone."""
    return run(session, [1], tmp_path_factory.mktemp("alone"))[1][-1]


def model_of(tiny_model: Path):
    return transformers.AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()


def test_the_tokens_counted_as_right_are_those_that_the_model_itself_finds_likeliest(session, tiny_model):
    model, validation = model_of(tiny_model), session._data.validation
    expected = []
    for index in range(session.facts.budget.final_eval_examples):
        tokens, target = validation.example(index)
        ids = torch.tensor(tokens.astype(np.int64))[None]
        with torch.no_grad():
            guesses = model(input_ids=ids).logits[0].argmax(dim=-1)[:-1].numpy()
        expected.append(int((guesses == tokens[1:])[target[1:]].sum()))
    assert list(session.facts.answers.base_correct) == expected


def test_a_closed_set_of_answers_are_labels_the_most_frequent_first(session):
    answers = session.facts.answers
    assert sorted(answers.labels) == ["even", "odd"]
    for place, (prompt, answer) in zip(answers.of_examples, answers.texts, strict=True):
        assert answer == answers.labels[place]
        a, b = re.search(r"(\d+)\+(\d+)\?", prompt).groups()
        assert answer == ("odd" if (int(a) + int(b)) % 2 else "even")
    found = find_labels(session._data, len(answers.of_examples))
    counts = [found.of_examples.count(place) for place in range(2)]
    assert sum(counts) == session.facts.budget.final_eval_examples


def test_the_right_labels_loss_is_that_of_the_answer_itself(session, last):
    of_examples = session.facts.answers.of_examples
    table = np.asarray(last.measures.label_losses)
    assert table.shape == (len(of_examples), 2)
    right = table[np.arange(len(of_examples)), of_examples]
    expected = np.asarray(last.eval_losses) / np.asarray(session.facts.eval_tokens)
    assert right == pytest.approx(expected, rel=1e-5)
    assert set(predicted(table).tolist()) <= {0, 1}


def test_of_the_base_model_the_same_is_measured_when_a_study_is_made(session, tiny_model):
    answers = session.facts.answers
    table = np.asarray(answers.base_label_losses)
    assert table.shape == (session.facts.budget.final_eval_examples, 2)
    places = np.asarray(answers.of_examples)
    right = np.asarray(session.facts.base_losses) / np.asarray(session.facts.eval_tokens)
    assert table[np.arange(len(places)), places] == pytest.approx(right, rel=1e-5)
    again = Session(dataclasses.replace(session._config, geometry=session.facts.geometry))
    again.close()
    assert again.facts.answers.base_label_losses == ()  # it is stored with the study


def test_on_the_test_set_labels_are_measured_where_they_are_selected_by(session, tmp_path):
    (*_, result) = run(session, [1], tmp_path)[1]
    state = result.file
    found = session.evaluate(state, PARAMS[1], "test")
    test = session._data.test
    assert len(found.losses) == len(found.right) == len(found.measures.label_losses) == len(test)
    labels = find_labels(session._data, session.facts.budget.final_eval_examples)
    for index, place in enumerate(found.right):
        assert labels.tokens[place] == tuple(prompt_and_answer(test, index)[1].tolist())
    own = np.asarray(found.measures.label_losses)[np.arange(len(test)), np.asarray(found.right)]
    assert own == pytest.approx(np.asarray(found.losses) / np.asarray(found.tokens), rel=1e-5)
    assert len(found.measures.correct) == len(test)
    assert np.all(np.asarray(found.measures.correct) <= np.asarray(found.tokens))
    assert session.evaluate(state, PARAMS[1], "validation").measures is None


def test_an_answer_of_the_test_set_that_is_no_label_is_one_past_the_last(session):
    labels = find_labels(session._data, session.facts.budget.final_eval_examples)
    fewer = dataclasses.replace(labels, tokens=labels.tokens[:1])
    places = places_of(fewer, session._data.test, len(session._data.test))
    assert set(places) == {0, 1}


def test_only_the_final_evaluation_measures_more(session, tmp_path):
    results = run(session, [1], tmp_path)[1]
    assert [result.round for result in results if result.measures is not None] == [8]


def test_neighbours_do_not_change_what_is_measured_by_one_bit(session, last, tmp_path):
    together = run(session, [3, 1, 2], tmp_path)
    assert together[1][-1].measures == last.measures
    assert together[1][-1].eval_losses == last.eval_losses


def test_the_likeliest_answer_is_written_as_the_model_itself_would(session, tiny_model):
    model = model_of(tiny_model)
    pairs = [prompt_and_answer(session._data.validation, index) for index in range(5)]
    stops = sorted(stops_of(session.facts))
    assert stops
    written = finished(
        writing(session._pack, 0, [prompt for prompt, _ in pairs], [9] * 5, stops, rows=3, room=128)
    )
    for (prompt, _), own in zip(pairs, written, strict=True):
        ids = torch.tensor(prompt.astype(np.int64))[None]
        with torch.no_grad():
            found = model.generate(ids, max_new_tokens=9, do_sample=False, eos_token_id=stops, pad_token_id=2)
        expected = found[0, len(prompt) :].tolist()
        assert own == [token for token in expected if token not in stops]


def test_samples_are_what_the_model_itself_writes_and_say_where_they_were_cut(session, tiny_model):
    model, tokenizer = model_of(tiny_model), transformers.AutoTokenizer.from_pretrained(tiny_model)
    stops = sorted(stops_of(session.facts))
    found = session.generate(None, PARAMS[1], count=4, most=5)
    assert found.adapter is None
    ends = []
    for place, sample in enumerate(found.samples):
        prompt, _ = prompt_and_answer(session._data.validation, place)
        ids = torch.tensor(prompt.astype(np.int64))[None]
        with torch.no_grad():
            own = model.generate(ids, max_new_tokens=5, do_sample=False, eos_token_id=stops, pad_token_id=2)
        new = own[0, len(prompt) :].tolist()
        ends.append(new[-1] in stops)
        text = tokenizer.decode([token for token in new if token not in stops], skip_special_tokens=True)
        assert sample.written == (text.strip() if ends[-1] else f"{text.strip()} …".lstrip())
        assert (sample.prompt, sample.right) == session.facts.answers.texts[place]
    assert len(ends) == 4


def test_an_adapter_writes_what_its_trial_would_and_leaves_the_slot_free(session, tmp_path):
    state = run(session, [1], tmp_path)[1][-1].file
    before = session._pack.active
    own = session.generate(state, PARAMS[1], count=6, most=5)
    assert session._pack.active == before
    assert own.adapter == state
    base = session.generate(None, PARAMS[1], count=6, most=5)
    assert [one.written for one in own.samples] != [one.written for one in base.samples]
    with pytest.raises(StorageError, match="params is"):
        session.generate(state, PARAMS[2], count=1, most=5)


def test_an_answer_that_stops_or_has_no_room_is_as_long_as_it_can_be(session):
    prompt, _ = prompt_and_answer(session._data.validation, 0)
    (whole,) = finished(writing(session._pack, 0, [prompt], [6], [], rows=2, room=None))
    assert len(whole) == 6
    (cut,) = finished(writing(session._pack, 0, [prompt], [6], [whole[0]], rows=2, room=None))
    assert cut == []
    (short,) = finished(writing(session._pack, 0, [prompt], [6], [], rows=2, room=len(prompt) + 2))
    assert short == whole[:2]


def test_written_answers_are_marked_where_that_is_asked_for(tiny_model, labelled, tmp_path):
    session = Session(make_config(tiny_model, labelled, metric="exact_match"))
    try:
        (*_, last) = run(session, [1], tmp_path)[1]
    finally:
        session.close()
    marks = last.measures.marks
    assert len(marks) == session.facts.budget.final_eval_examples
    assert set(marks) <= {0.0, 1.0}
    # Labels are measured on the side only where there are enough examples to say something.
    assert last.measures.label_losses is None


def test_labels_that_nobody_asked_for_cost_no_more_than_the_evaluation_itself():
    for size in (16, 384, 1000):
        for labels in range(2, 21):
            assert examples_measured(size, labels, asked=True) == size
            count = examples_measured(size, labels, asked=False)
            assert count * labels <= size
            assert count == 0 or count >= LEAST_LABELLED


def test_answers_of_many_kinds_are_no_labels(tiny_model, tiny_data):
    session = Session(make_config(tiny_model, tiny_data))
    session.close()
    assert session.facts.answers.labels == ()
    assert session.facts.answers.of_examples == ()
    assert len(session.facts.answers.texts) == session.facts.budget.final_eval_examples


@pytest.mark.parametrize("metric", ["accuracy", "exact_match"])
def test_a_last_evaluation_tells_after_every_pass_that_it_goes_on(
    tiny_model, labelled, tmp_path, monkeypatch, metric
):
    """Labels and answers take many passes, and whoever hears of none takes the worker for hung."""
    session = Session(make_config(tiny_model, labelled, metric=metric))
    session.add(1, PARAMS[1], seed=0, attempt=1)
    for _ in range(ROUNDS - 1):
        list(session.train_round(tmp_path))
    monkeypatch.setattr("loratune.objectives.training.session.PROGRESS_SECONDS", -1.0)
    begun, calls, pack = session._passes, [], session._pack

    def count(name):
        method = getattr(pack, name)

        def counted(*given):
            calls.append(name)
            return method(*given)

        monkeypatch.setattr(pack, name, counted)

    count("losses")
    count("next_tokens")
    told = [event for event in session.train_round(tmp_path) if isinstance(event, RoundProgress)]
    session.close()
    evaluating = [event.passes for event in told if event.phase == "eval"]
    assert evaluating == list(range(begun, begun + len(calls) + 1))
    assert len(calls) >= 6  # two of the losses, and those of labels or of what is written
