"""Where the .h5 files of fetched weights are kept in the cache.

A file's .h5 lies in the folder of its origin. A repository of the hub may change: what it became
is named by the digest of the files that were converted, and `revisions.json` beside it says which
revision has which.

    hub/timm--ViT-B-16-SigLIP2/0123456789abcdef.h5
    hub/timm--ViT-B-16-SigLIP2/revisions.json       {"main": "0123456789abcdef.h5"}
"""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

from nnclip.weights.catalogue import HUB, MAIN, Source
from nnclip.weights.h5 import write_json

logger = logging.getLogger(__name__)

HUB_FOLDER = "hub"
REVISIONS = "revisions.json"
BETWEEN = "--"  # between OWNER and NAME, as the hub's own cache has it


def folder_of(source: Source, cache: Path) -> Path:
    """The folder of a source's .h5."""
    if source.repository is None:
        return cache / source.origin
    return cache / HUB_FOLDER / source.repository.replace("/", BETWEEN)


def kept(source: Source, cache: Path) -> Path | None:
    """The .h5 of a source, if the cache has it."""
    folder = folder_of(source, cache)
    if source.repository is None:
        name = source.weights_name
    else:
        name = _revisions(folder).get(source.variant, "")
    path = folder / name
    return path if path.is_file() else None


def note(source: Source, path: Path) -> None:
    """Remember that `path` is what a revision of a repository became."""
    revisions = {**_revisions(path.parent), source.variant: path.name}
    write_json(path.parent / REVISIONS, revisions)


def on_this_machine(cache: Path) -> Iterator[tuple[str, Path]]:
    """Each .h5 of the cache with a name: `hf-hub:OWNER/NAME` as it is fetched, else the path."""
    for path in sorted(cache.glob("*/*.h5")):
        yield str(path), path
    for folder in sorted((cache / HUB_FOLDER).glob("*")):
        repository = HUB + folder.name.replace(BETWEEN, "/", 1)
        for variant, name in sorted(_revisions(folder).items()):
            if (folder / name).is_file():
                yield repository + ("" if variant == MAIN else f"@{variant}"), folder / name


def _revisions(folder: Path) -> dict[str, str]:
    try:
        found = json.loads((folder / REVISIONS).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        logger.warning("%s: cannot be read (%s): a new list begins", folder / REVISIONS, error)
        return {}
    told = found.items() if isinstance(found, dict) else ()
    return {k: v for k, v in told if isinstance(v, str) and v == Path(v).name}
