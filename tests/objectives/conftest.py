"""A base model, a tokenizer and data small enough for every test of the room."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import pytest
import torch
from loratune.objectives.data.dataset import Split, TokenizedData
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random Llama of two layers and a tokenizer of single bytes."""
    folder = tmp_path_factory.mktemp("tiny-model")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: index for index, token in enumerate(["<s>", "</s>", "<pad>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocab),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An alpaca file of 150 short sums, answers of one to three characters."""
    file = tmp_path_factory.mktemp("tiny-data") / "sums.jsonl"
    lines = [
        json.dumps({"instruction": f"{a}+{b}?" + "!" * (a % 5), "output": str(a + b)})
        for a in range(15)
        for b in range(10)
    ]
    file.write_text("\n".join(lines))
    return file


@pytest.fixture(scope="session")
def random_data() -> Callable[..., TokenizedData]:
    """Makes tokenized data of random tokens: examples of 4 to 20, targets of 1 to 6 at their end."""

    def make(*, train: int, validation: int, vocab: int, seed: int = 0) -> TokenizedData:
        generator = np.random.default_rng(seed)

        def split(count: int) -> Split:
            lengths = generator.integers(4, 21, count)
            ends = np.cumsum(lengths)
            target = np.zeros(ends[-1], dtype=bool)
            for end, length in zip(ends, lengths, strict=True):
                target[end - generator.integers(1, min(length, 7)) : end] = True
            return Split(
                tokens=generator.integers(1, vocab, ends[-1]).astype(np.int32),
                offsets=np.concatenate([[0], ends]).astype(np.int64),
                target=target,
            )

        return TokenizedData(train=split(train), validation=split(validation), test=split(1), summary=None)

    return make


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., PreTrainedTokenizerFast]:
    """Makes tokenizers of single bytes: one token for each special text, one for each other byte."""

    def make(
        *specials: str, chat_template: str | None = None, bos: bool = True, merges: tuple[str, ...] = ()
    ) -> PreTrainedTokenizerFast:
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        pairs = [(merge[:-1], merge[-1]) for merge in merges]
        tokens = ["<s>", "</s>", *alphabet, *(left + right for left, right in pairs)]
        vocab = {token: index for index, token in enumerate(tokens)}
        tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=pairs))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.decoder = decoders.ByteLevel()
        if bos:
            tokenizer.post_processor = processors.TemplateProcessing(
                single="<s> $A", special_tokens=[("<s>", 0)]
            )
        made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
        made.add_tokens(list(specials), special_tokens=True)
        made.chat_template = chat_template
        return made

    return make
