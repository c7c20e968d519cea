"""Which token ends an answer in training, where the model stops by itself, and what an export does about it.

Knows nothing of files; ``integrations/peft.py`` does what is said here.
"""

from __future__ import annotations

from collections.abc import Sequence

from .facts import Endings
from .format import counted, join


def stops_differ(endings: Endings) -> bool:
    """Return whether training ends answers with a token at which the model does not stop by itself."""
    return not set(endings.ids) <= set(endings.model_ids)


def eos_token_ids(endings: Endings, base: Sequence[int]) -> list[int]:
    """Return at which tokens an exported model stops: where it was trained to, then where its base does."""
    return list(dict.fromkeys((*endings.ids, *base)))


def ending_sentence(endings: Endings) -> str | None:
    """Return one sentence on the stop token; None where a study says nothing of it."""
    if not endings.ids:
        return None
    trained = " or ".join(endings.tokens)
    if not stops_differ(endings):
        return f"an answer ends with {trained} in training, where the model stops by itself"
    where = f"stops at {join(endings.model_tokens)}" if endings.model_ids else "names no stop"
    own = f" and its tokenizer ends with {endings.tokenizer_token}" if endings.tokenizer_token else ""
    all_of_them = join(tuple(dict.fromkeys((*endings.tokens, *endings.model_tokens))))
    return (
        f"an answer ends with {trained} in training, but the model's generation config {where}{own}; "
        f"the folder that tune export --format peft writes stops at {all_of_them}"
    )


def ending_warnings(endings: Endings) -> tuple[str, ...]:
    """Return what else a user should know of how answers end."""
    found = []
    if endings.added:
        found.append(
            f"the model's chat template ends an answer with no token, so {endings.tokenizer_token} is put "
            "after each; the template in the folder of tune export --format peft does so too"
        )
    if endings.inside:
        found.append(
            f"{counted(endings.inside, 'training example')} {'has' if endings.inside == 1 else 'have'} "
            "a stop token inside an answer, as the text has it: a model learns to stop there"
        )
    if endings.prompts_differ:
        found.append(
            "the chat template in the folder of tune export --format peft tokenizes "
            f"{endings.prompts_differ} of {endings.prompts} made-up prompts otherwise than in training"
        )
    return tuple(found)
