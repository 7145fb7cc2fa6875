"""The digests of published parameters, written down in the cache when they are first seen.

`digests.json`: name -> origin -> digest. Whatever the source of a name, the parameters are the
same; where they are not, somebody publishes others under that name.
"""

import json
import logging
from pathlib import Path

from nnclip.errors import CheckpointError
from nnclip.weights.digest import file_digest
from nnclip.weights.h5 import write_json

logger = logging.getLogger(__name__)

FILE = "digests.json"


def write_down(cache: Path, name: str, origin: str, path: Path) -> None:
    """Remember the digest of a file of the cache, unless it is known; tell if another differs.

    Args:
        cache: the folder.
        name: of the published model.
        origin: who published the file.
        path: its .h5.
    """
    known = digests(cache)
    if origin in known.get(name, {}):
        return
    try:
        digest = file_digest(path)
    except CheckpointError as error:
        logger.warning("%s: has no digest: %s", name, error)
        return
    for other, theirs in known.get(name, {}).items():
        if theirs != digest:
            logger.warning(
                "%s: the parameters of %s (digest %s) are not those of %s (%s): one of them "
                "publishes others; compare them with `nnclip verify`",
                name,
                origin,
                digest,
                other,
                theirs,
            )
    known.setdefault(name, {})[origin] = digest
    try:
        write_json(cache / FILE, known)
    except OSError as error:  # a cache that is only read; the file itself is there
        logger.info("%s: cannot be written (%s)", cache / FILE, error)


def digests(cache: Path) -> dict[str, dict[str, str]]:
    """Name -> origin -> digest, of what was seen in a cache."""
    try:
        found = json.loads((cache / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        logger.warning("%s: cannot be read (%s): a new record begins", cache / FILE, error)
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: dict(seen) for name, seen in found.items() if isinstance(seen, dict)}
