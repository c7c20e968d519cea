"""Does the Hub have a model? Asked once and briefly, before a worker starts.

Also says in words what the Hub's errors mean. Knows nothing of folders, and loads no torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from ..errors import ModelError
from ..study.config import ModelConfig

SECONDS = 4.0
"""How long the Hub may take to answer, unless HF_HUB_ETAG_TIMEOUT says otherwise."""


def check_hub(config: ModelConfig) -> None:
    """Raise ``ModelError`` where a Hub's model is neither in the local cache nor to be had.

    One question without retries: without a connection the library's own way to ask takes half a minute. What
    only a download can tell is left to the worker.
    """
    import huggingface_hub.constants  # here, since most commands never ask
    import huggingface_hub.errors

    name, constants = config.name_or_path, huggingface_hub.constants
    try:
        if isinstance(
            huggingface_hub.try_to_load_from_cache(name, "config.json", revision=config.revision), str
        ):
            return
        if constants.HF_HUB_OFFLINE:
            raise ModelError(f"{name}: {not_cached(name)}")
        huggingface_hub.get_hf_file_metadata(
            huggingface_hub.hf_hub_url(name, "config.json", revision=config.revision), timeout=_patience()
        )
    except ModelError:
        raise
    except Exception as error:
        advice = advice_of(error, config)
        if advice is None and not isinstance(error, huggingface_hub.errors.HfHubHTTPError):
            advice = not_cached(name)
            if "HF_HUB_ETAG_TIMEOUT" not in os.environ and "imeout" in type(error).__name__:
                advice += f"; HF_HUB_ETAG_TIMEOUT=30 waits longer than {SECONDS:.0f} seconds for it"
        if advice is not None:
            raise ModelError(f"{name}: {advice}") from error


def advice_of(error: BaseException, config: ModelConfig) -> str | None:
    """Return what an answer of the Hub means and what to do, None where it is none of those known."""
    from huggingface_hub import errors

    chain = list(causes(error))

    def met(*kinds: type[BaseException]) -> bool:
        return any(isinstance(one, kinds) for one in chain)

    if met(errors.GatedRepoError):
        page = f"https://huggingface.co/{config.name_or_path}"
        return f"is gated; ask for access at {page}, then run `hf auth login`"
    if met(errors.RevisionNotFoundError):
        return f"has no revision {config.revision!r} on the Hub; check its branches, tags and commits"
    if met(errors.RepositoryNotFoundError):
        return "is no folder, and not on the Hub or private; check the name, or run `hf auth login`"
    if met(errors.HFValidationError):
        return "is neither a folder nor a Hub id; give a model's folder or an id such as org/name"
    if met(errors.RemoteEntryNotFoundError):
        return "has no config.json on the Hub; choose a model in Transformers' format"
    return None


def not_cached(name: str) -> str:
    """Return what to say of a model that is not here and cannot be fetched now."""
    import huggingface_hub.constants

    offline = huggingface_hub.constants.HF_HUB_OFFLINE
    why = "HF_HUB_OFFLINE is set" if offline else "the Hub cannot be reached"
    return (
        f"is not in the local cache and {why}; run `hf download {name}` with a connection, or give a folder"
    )


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and all that led to it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _patience() -> float:
    import huggingface_hub.constants

    given = "HF_HUB_ETAG_TIMEOUT" in os.environ
    return float(huggingface_hub.constants.HF_HUB_ETAG_TIMEOUT) if given else SECONDS
