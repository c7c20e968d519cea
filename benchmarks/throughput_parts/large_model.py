"""A model that keeps a CPU busy with arithmetic: 34 million random weights, written where it is asked for.

The other models of the benchmarks are so small that much of their time is overhead, which packing saves.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from loratune.demo import model_path

SHAPE = {
    "model_type": "qwen2",
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
}


def make_large(folder: Path) -> Path:
    """Write the model with the demo's tokenizer into a folder; return the folder."""
    import torch  # here, since the program that asks for it needs none
    import transformers

    transformers.utils.logging.disable_progress_bar()
    vocabulary = transformers.AutoConfig.from_pretrained(model_path()).vocab_size
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(**SHAPE, vocab_size=vocabulary)
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    for file in model_path().glob("tokenizer*"):
        shutil.copy(file, folder / file.name)
    return folder
