"""Trials on a base that is quantized while it is loaded: PEFT's QLoRA, and each trial by itself alone."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import peft
import pytest
import torch
import transformers
from loratune.errors import ModelError
from loratune.objectives import quantization, size
from loratune.objectives.testing.reference import Reference
from loratune.objectives.training.model import load_model
from loratune.objectives.training.quantized import weight_bytes
from loratune.objectives.training.session import Session
from loratune.study.budget import ROUNDS
from loratune.study.config import ModelConfig, ObjectiveConfig
from trained_trials import PARAMS, make_config, numbers, run, step

pytest.importorskip("bitsandbytes")

BOUND = 1e-4
"""Largest relative difference of a loss from PEFT's over whole trials, as of an unquantized base."""


def in_bits(model: Path, file: Path, bits: int, **changes: object) -> ObjectiveConfig:
    held = ModelConfig(name_or_path=str(model), device="cpu", quantization_bit=bits)
    return dataclasses.replace(make_config(model, file, **changes), model=held)


@pytest.fixture(scope="module", name="session", params=[4, 8])
def make_session(request: pytest.FixtureRequest, tiny_model: Path, tiny_data: Path):
    session = Session(in_bits(tiny_model, tiny_data, request.param))
    yield session
    session.close()


def layers(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    return {name: it for name, it in model.named_modules() if isinstance(it, torch.nn.Linear)}


def test_the_linear_layers_are_quantized_and_head_embeddings_and_norms_are_not(tiny_model: Path) -> None:
    base = load_model(ModelConfig(name_or_path=str(tiny_model), device="cpu", quantization_bit=4))
    found = layers(base.model)
    assert base.summary.bits == 4
    assert type(found.pop("lm_head")) is torch.nn.Linear
    assert {type(it).__name__ for it in found.values()} == {"Linear4bit"}
    states = [it.weight.quant_state for it in found.values()]
    assert {(it.quant_type, it.nested, it.blocksize) for it in states} == {("nf4", True, 64)}
    assert {it.compute_dtype for it in found.values()} == {torch.float32}
    others = [name for name, it in base.model.named_parameters() if it.dtype != torch.uint8]
    assert others
    assert {base.model.get_parameter(name).dtype for name in others} == {torch.float32}
    assert not [name for name in others if "proj" in name]
    whole = load_model(ModelConfig(name_or_path=str(tiny_model), device="cpu"))
    assert whole.summary.bits is None
    assert base.summary.parameters == whole.summary.parameters


@pytest.mark.parametrize("bits", [4, 8])
def test_the_bytes_foretold_are_those_that_are_held(tiny_model: Path, bits: int) -> None:
    base = load_model(ModelConfig(name_or_path=str(tiny_model), device="cpu", quantization_bit=bits))
    told = quantization.bytes_of_base(size.weight_shapes(tiny_model), 4, bits)
    # Tables of a layer of four bits: 16 values of a weight, 256 of a scale, an offset; all float32.
    tables = 4 * (16 + 256 + 1) * 14 if bits == 4 else 0
    assert weight_bytes(base.model) == told + tables
    whole = load_model(ModelConfig(name_or_path=str(tiny_model), device="cpu"))
    assert weight_bytes(whole.model) == quantization.bytes_of_base(size.weight_shapes(tiny_model), 4)


def test_a_pack_of_three_trains_as_peft_does_on_the_same_quantized_weights(
    session: Session, tiny_model: Path, tmp_path: Path
) -> None:
    bits = session.facts.model.bits
    settings = (
        transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        )
        if bits == 4
        else transformers.BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.0)
    )
    plain = transformers.AutoModelForCausalLM.from_pretrained(
        tiny_model, dtype=torch.float32, device_map={"": "cpu"}, quantization_config=settings
    )
    plain = peft.prepare_model_for_kbit_training(plain, use_gradient_checkpointing=False)
    plain.config.use_cache = False
    ours = run(session, [1, 2, 3], tmp_path)
    facts = session.facts
    for trial, results in ours.items():
        theirs = Reference(
            dataclasses.replace(session._base, model=plain),
            session._data,
            PARAMS[trial],
            seed=0,
            budget=facts.budget,
            geometry=facts.geometry,
        )
        for result in results:
            assert result.train_loss == pytest.approx(theirs.train_round(), rel=BOUND)
            if result.eval_losses is not None:
                losses = theirs.evaluate(len(result.eval_losses))
                torch.testing.assert_close(torch.tensor(result.eval_losses), losses, rtol=BOUND, atol=BOUND)
    assert ours[2][-1].train_loss < ours[2][0].train_loss - 0.1


def test_neighbours_do_not_change_a_trial_on_a_quantized_base_by_one_bit(
    session: Session, tmp_path: Path
) -> None:
    together = run(session, [3, 1, 2], tmp_path / "together")
    for trial, results in together.items():
        alone = run(session, [trial], tmp_path / f"alone-{trial}")[trial]
        assert [numbers(it) for it in results] == [numbers(it) for it in alone]


def test_a_trial_goes_on_in_another_session_as_if_nothing_had_happened(
    session: Session, tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    whole = run(session, [2], tmp_path / "whole")[2]
    config = in_bits(tiny_model, tiny_data, session.facts.model.bits, geometry=session.facts.geometry)
    other = Session(config)
    other.add(2, PARAMS[2], seed=0, attempt=1, resume_from=whole[3].file)
    for index in range(4, ROUNDS):
        assert numbers(step(other, tmp_path / "other")[2]) == numbers(whole[index])
    other.close()


def test_what_was_measured_says_which_library_quantized_the_base(session: Session) -> None:
    assert "bitsandbytes" in session.facts.environment


def test_a_checkpoint_of_four_bits_trains_as_its_base_does_once_quantized(
    tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    loaded = load_model(ModelConfig(name_or_path=str(tiny_model), device="cpu", quantization_bit=4)).model
    stored = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    (stored / "model.safetensors").unlink()
    loaded.save_pretrained(stored)
    assert json.loads((stored / "config.json").read_text())["quantization_config"]["load_in_4bit"]
    found = []
    for config in (in_bits(tiny_model, tiny_data, 4), make_config(stored, tiny_data)):
        session = Session(config)
        session.add(1, PARAMS[1], seed=0, attempt=1)
        found.append([numbers(step(session, tmp_path / "rounds")[1]) for _ in range(2)])
        session.close()
    assert found[0] == found[1]
    with pytest.raises(ModelError, match="is quantized already; leave it out"):
        load_model(ModelConfig(name_or_path=str(stored), device="cpu", quantization_bit=4))


@pytest.mark.parametrize("threshold", [0.0, 6.0])
def test_eight_bits_let_trials_see_each_other_only_where_columns_are_taken_out(threshold: float) -> None:
    from bitsandbytes.nn import Int8Params, Linear8bitLt

    torch.manual_seed(0)
    layer = Linear8bitLt(64, 48, bias=False, has_fp16_weights=False, threshold=threshold)
    layer.weight = Int8Params(torch.randn(48, 64), requires_grad=False, has_fp16_weights=False)
    layer = layer.to("cpu").eval()  # in evaluation mode a CPU rounds inputs as a GPU does
    own, calm, loud = torch.randn(3, 16, 64).unbind()
    loud = loud * 20
    with torch.no_grad():
        beside_calm, beside_loud = (layer(torch.cat([own, other]))[:16] for other in (calm, loud))
    assert torch.equal(beside_calm, beside_loud) is (threshold == 0.0)
