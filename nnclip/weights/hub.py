"""Repositories of the Hugging Face hub: fetched by its own library, into its own cache.

So its variables count: HF_HOME and HF_HUB_CACHE (the cache), HF_TOKEN, HF_ENDPOINT (a mirror),
HF_HUB_OFFLINE.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nnclip.errors import DownloadError
from nnclip.weights.transfer import QUICK, NoPlaceError, no_place

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

# A repository holds the model in the first of these that is there; beside it lie its settings.
_OPEN_CLIP, _TRANSFORMERS = ("open_clip_config.json",), ("config.json", "preprocessor_config.json")
WEIGHTS = {
    "open_clip_model.safetensors": _OPEN_CLIP,  # timm's model.safetensors is its image tower alone
    "open_clip_pytorch_model.bin": _OPEN_CLIP,
    "model.safetensors": _TRANSFORMERS,
    "pytorch_model.bin": _TRANSFORMERS,
}


def fetch_repository(repository: str) -> Path:
    """The folder in the hub's cache that holds a repository's weights and settings.

    Args:
        repository: OWNER/NAME. What the cache has of it is taken as it is.

    Raises:
        DownloadError: the hub is not reached within QUICK seconds, refuses, or has no weights
            there.
    """
    with _answering(repository):
        cached = (_cached(repository, name) for name in WEIGHTS)
        weights = next((path for path in cached if path is not None), None)
        if weights is None:
            weights = _fetched(repository, look_up(repository)[0])
        for name in WEIGHTS[weights.name]:
            if _cached(repository, name) is None and _asked(repository, name) is not None:
                _fetched(repository, name)
    return weights.parent


def look_up(repository: str) -> tuple[str, int | None]:
    """Name and bytes of a repository's weights; DownloadError as `fetch_repository`."""
    with _answering(repository):
        for name in WEIGHTS:
            found = _asked(repository, name)
            if found is not None:
                return name, found.size
    raise DownloadError(f"{repository}: found none of {', '.join(WEIGHTS)} in it")


def _asked(repository: str, name: str) -> "HfFileMetadata | None":
    """What the hub says of a file, at once or not at all; None if it has none of that name."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    endpoint = _endpoint()
    try:
        return get_hf_file_metadata(
            hf_hub_url(repository, name, endpoint=endpoint), timeout=QUICK, endpoint=endpoint
        )
    except EntryNotFoundError:
        return None


def _cached(repository: str, name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, name)
    return Path(found) if isinstance(found, str) else None


def _fetched(repository: str, name: str) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(repository, name, etag_timeout=QUICK, endpoint=_endpoint()))


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT")  # the library reads it when it is imported only


@contextmanager
def _answering(repository: str) -> Iterator[None]:
    """Turn what the hub's library raises into a DownloadError of one line."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise DownloadError(
            f"{repository}: the hub wants its terms to be accepted; do so on its page, and let "
            "HF_TOKEN name your token"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise DownloadError(
            f"{repository}: the hub has no such repository, or HF_TOKEN may not see it"
        ) from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "an error")
        raise DownloadError(f"{repository}: the hub answers {status}") from error
    except DownloadError:
        raise
    except Exception as error:  # what its HTTP client, its disk and its other parts raise
        if isinstance(error, OSError) and no_place(error):
            raise NoPlaceError(
                f"{error.filename or repository}: {error.strerror}; let HF_HOME name a folder on a "
                "larger disk"
            ) from error
        reason = "HF_HUB_OFFLINE is set" if _offline() else f"no connection ({_cause(error)})"
        raise DownloadError(f"{repository}: not in the hub's cache, and {reason}") from error


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _cause(error: BaseException) -> str:
    """The first line of what began it."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return (str(error).splitlines() or [type(error).__name__])[0]
