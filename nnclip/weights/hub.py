"""Repositories of the Hugging Face hub: fetched by its own library, into its own cache.

So its variables count: HF_HOME and HF_HUB_CACHE (the cache), HF_TOKEN, HF_ENDPOINT (a mirror),
HF_HUB_OFFLINE. What was interrupted is continued.
"""

import hashlib
import logging
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nnclip.errors import DownloadError
from nnclip.weights.transfer import BLOCK, QUICK, NoPlaceError, no_place

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

logger = logging.getLogger(__name__)

# A folder holds its model in the first of these that is there.
WEIGHTS = (  # timm's folders hold the image tower alone, too, as model.safetensors
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    *(  # where there is no whole one
        name.format(narrow)
        for narrow in ("fp16", "bf16")
        for name in (
            "model.{}.safetensors",
            "model.safetensors.index.{}.json",
            "pytorch_model.{}.bin",
            "pytorch_model.bin.index.{}.json",
        )
    ),
)
README = "README.md"  # tells the licence and the languages
MODULES = "modules.json"  # of sentence-transformers: names folders such as 1_Pooling
# the name of a list of several files: of which, and how narrow they are
INDEX = re.compile(r"(.*)\.(\w+)\.index(\.\w+)?\.json")
_MODULE = re.compile(r"\d+_[^/]+/")


def fetch_snapshot(repository: str, revision: str = "main") -> Path:
    """The folder in the hub's cache that holds a repository's weights and settings.

    Args:
        repository: OWNER/NAME.
        revision: a branch, a tag or a commit. Where the hub is not reached, the cache is taken as
            it is, which a line in the log says.

    Raises:
        DownloadError: the hub is not reached within QUICK seconds and its cache lacks the
            repository, or the hub refuses, or there are no weights.
    """
    from huggingface_hub import errors

    with _answering(repository, revision):
        try:
            files = chosen([file.rfilename for file in _listed(repository, revision)])
            if not files:
                raise _without_weights(repository)
            return _snapshot(repository, revision, files)
        except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, DownloadError):
            raise
        except Exception:
            folder = _cached(repository, revision)
            if folder is None:
                raise
            level = logging.INFO if _offline() else logging.WARNING
            logger.log(level, "%s: the hub does not answer: its cache is used", repository)
            return folder


def digest_of(folder: Path) -> str:
    """What tells the chosen files of a snapshot from others: 16 hexadecimal digits.

    The hub's cache names contents by their hashes and links to them; a file that is no link, as
    there are on Windows, is hashed here.
    """
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    found = hashlib.sha256()
    for name in sorted(chosen(names)):
        path = folder / name
        content = path.resolve().name if path.is_symlink() else sha256(path)
        found.update(f"{name} {content}\n".encode())
    return found.hexdigest()[:16]


def sha256(path: Path) -> str:
    """The hash of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def look_up(repository: str, revision: str = "main") -> tuple[str, int | None]:
    """Name and bytes of a repository's weights; DownloadError as `fetch_snapshot`."""
    with _answering(repository, revision):
        sizes = {file.rfilename: file.size for file in _listed(repository, revision)}
    files = [name for name in chosen(sizes) if not name.endswith((".json", ".md"))]
    if not files:
        raise _without_weights(repository)
    known = [size for size in map(sizes.get, files) if size is not None]
    return files[0], sum(known) if len(known) == len(files) else None


def chosen(names: Collection[str]) -> list[str]:
    """What of a repository's files a conversion needs, weights first; none without weights.

    Of sentence-transformers, whose modules.json names folders such as 2_Dense, theirs, too.
    """
    nested = {match[0] for match in map(_MODULE.match, names) if match}
    folders = ["", *sorted(nested)] if MODULES in names else [""]
    weights: list[str] = []
    for folder in folders:
        first = next((folder + name for name in WEIGHTS if folder + name in names), "")
        weights += _shards(first, names) if INDEX.fullmatch(first) else [first] * bool(first)
    told = [n for n in names if n.endswith(".json") and n[: n.rfind("/") + 1] in folders]
    return [*weights, *told, *({README} & set(names))] if weights else []


def _shards(index: str, names: Collection[str]) -> list[str]:
    """The files of an index of several: model-00001-of-00002.safetensors and so on."""
    found = INDEX.fullmatch(index)
    assert found is not None
    stem, suffix, narrow = found.groups(default="")
    pattern = re.compile(rf"{re.escape(stem + narrow)}-\d+-of-\d+\.{suffix}")
    return sorted(name for name in names if pattern.fullmatch(name))


def _listed(repository: str, revision: str) -> "list[RepoSibling]":
    """The files of a repository, at once or not at all."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=_endpoint())
    found = api.model_info(repository, revision=revision, timeout=QUICK, files_metadata=True)
    return found.siblings or []


def _cached(repository: str, revision: str) -> Path | None:
    """The folder of a revision in the hub's cache, if there are weights in it."""
    from huggingface_hub import try_to_load_from_cache

    names = (try_to_load_from_cache(repository, n, revision=revision) for n in (*WEIGHTS, MODULES))
    return next((Path(found).parent for found in names if isinstance(found, str)), None)


def _snapshot(repository: str, revision: str, files: list[str]) -> Path:
    """Fetch these files; their folder in the hub's cache."""
    from huggingface_hub import snapshot_download

    folder = snapshot_download(
        repository,
        revision=revision,
        allow_patterns=files,
        etag_timeout=QUICK,
        endpoint=_endpoint(),
    )
    return Path(folder)


def _without_weights(repository: str) -> DownloadError:
    return DownloadError(f"{repository}: found none of {', '.join(WEIGHTS)} in it")


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT")  # the library reads it when it is imported only


@contextmanager
def _answering(repository: str, revision: str) -> Iterator[None]:
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
    except errors.RevisionNotFoundError as error:
        raise DownloadError(f"{repository}: the hub has no revision {revision!r} of it") from error
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
