"""What a session finds when it prepares: shapes, facts, and what is refused before anything is trained."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from loratune.errors import LoratuneError, ModelError
from loratune.objectives.training.session import Session
from loratune.study.config import DataConfig, ObjectiveConfig
from trained_trials import make_config
from transformers import AutoConfig, AutoTokenizer


def test_data_is_cut_at_the_models_context_where_more_was_allowed(tiny_model: Path, tiny_data: Path) -> None:
    config = make_config(tiny_model, tiny_data)
    session = Session(dataclasses.replace(config, data=DataConfig(train=str(tiny_data))))
    session.close()
    assert DataConfig.cutoff_len == 1024
    assert session.facts.data.cutoff_len == 128


def test_the_geometry_does_not_depend_on_the_slots(config: ObjectiveConfig, session: Session) -> None:
    other = Session(dataclasses.replace(config, slots=1))
    assert other.facts.geometry == session.facts.geometry
    assert other.facts.base_losses == session.facts.base_losses
    assert other.facts.slots == 1
    other.close()


def test_another_model_is_not_taken_for_the_studys(config: ObjectiveConfig, session: Session) -> None:
    geometry = dataclasses.replace(session.facts.geometry, dtype="bfloat16")
    with pytest.raises(ModelError, match="float32"):
        Session(dataclasses.replace(config, geometry=geometry))


def test_facts_say_what_was_found(session: Session) -> None:
    facts = session.facts
    assert facts.base_loss == pytest.approx(sum(facts.base_losses) / sum(facts.eval_tokens))
    assert facts.rows_per_second > 0
    assert facts.memory.slots_max > 3
    assert facts.memory.base_bytes == 4 * facts.model.parameters
    assert facts.environment["instruction_set"]
    assert len(facts.geometry.micro_step_lengths) == facts.budget.micro_steps


def test_tokens_that_were_added_without_resizing_are_told_from_another_model(
    tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    model, rows = tmp_path / "model", AutoConfig.from_pretrained(tiny_model).vocab_size
    shutil.copytree(tiny_model, model)
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.add_tokens(["+0?"])
    tokenizer.save_pretrained(model)
    with pytest.raises(ModelError) as caught:
        Session(make_config(model, tiny_data))
    words = str(caught.value)
    assert f"the tokenizer has {rows + 1} tokens, but the model's embedding has {rows} rows" in words
    assert f"uses token {rows} ('+0?')" in words
    assert f"model.resize_token_embeddings({rows + 1})" in words


def test_what_cannot_be_had_is_a_plain_error(tiny_model: Path, tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(LoratuneError, match="nowhere"):
        Session(make_config(tmp_path / "nowhere", tiny_data))
    with pytest.raises(LoratuneError, match=r"nothing\.jsonl"):
        Session(make_config(tiny_model, tmp_path / "nothing.jsonl"))
