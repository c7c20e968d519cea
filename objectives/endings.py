"""How answers end in training, and where the model stops when it writes: a value that is stored with a study.

Knows nothing of how that was found.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Endings:
    """What ends answers; of a study made before this was recorded, empty."""

    tokens: tuple[str, ...] = ()
    """Tokens that end the answers of the training examples, the most frequent first."""
    ids: tuple[int, ...] = ()
    """Their ids."""
    added: bool = False
    """Whether the model's chat template ends answers with none, so that the tokenizer's is put there."""
    inside: int = 0
    """Training examples, plain text aside, with a stop token inside an answer, as their text has it."""
    model_tokens: tuple[str, ...] = ()
    """Tokens at which the model's generation configuration stops."""
    model_ids: tuple[int, ...] = ()
    """Their ids."""
    tokenizer_token: str = ""
    """The tokenizer's end of a sequence, empty where it has none."""
    tokenizer_class: str = ""
    """Its class in Transformers."""
    chat_template: str = ""
    """A template in Jinja that writes what was trained on; empty where the tokenizer's own does."""
    prompts: int = 0
    """Made-up prompts that the template which an export carries was tried on."""
    prompts_differ: int = 0
    """Those of them that it tokenizes otherwise than in training."""
