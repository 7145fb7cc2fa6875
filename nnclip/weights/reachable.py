"""Ask the sources of published weights whether they answer, without fetching the weights."""

import urllib.error
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException

from nnclip.errors import DownloadError
from nnclip.weights.catalogue import CATALOGUE, Source, sources
from nnclip.weights.hub import look_up
from nnclip.weights.transfer import QUICK

AT_ONCE = 8  # sources asked at the same time
BEGINS = {".h5": (b"\x89HDF",), ".pt": (b"PK\x03\x04",)}  # the first bytes of what is published


@dataclass(frozen=True)
class Answer:
    """What a source of a name said.

    Attributes:
        name: the published model.
        source: who was asked.
        alive: whether it has the file.
        said: what it answered, in words.
    """

    name: str
    source: Source
    alive: bool
    said: str


def ask_all(names: Iterable[str] = CATALOGUE, origin: str | None = None) -> list[Answer]:
    """Ask every source of these names, each for a few bytes; ConfigError for unknown names."""
    questions = [(name, source) for name in names for source in sources(name, origin)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda question: ask(*question), questions))


def ask(name: str, source: Source) -> Answer:
    """Ask one source."""
    try:
        if source.repository is not None:
            file, size = look_up(source.repository, source.revision)
            return Answer(name, source, True, f"{file}, {_megabytes(size)}")
        return Answer(name, source, *_first_bytes(source))
    except DownloadError as error:
        return Answer(name, source, False, str(error))


def _first_bytes(source: Source) -> tuple[bool, str]:
    request = urllib.request.Request(source.url, headers={"Range": "bytes=0-7"})
    try:
        with urllib.request.build_opener().open(request, timeout=QUICK) as response:
            begin, headers = response.read(8), response.headers
            span = headers["Content-Range"] or ""
            size = span.rpartition("/")[2] if span else headers["Content-Length"] or ""
    except urllib.error.HTTPError as refusal:
        return False, f"{refusal.code} {refusal.reason}"
    except (OSError, HTTPException) as error:
        return False, f"no connection ({getattr(error, 'reason', error)})"
    suffix = source.file_name[source.file_name.rfind(".") :]
    if suffix in BEGINS and not begin.startswith(BEGINS[suffix]):
        return False, f"{response.status}, but no {suffix} file: it begins with {begin!r}"
    return True, _megabytes(int(size) if size.isdigit() else None)


def _megabytes(size: int | None) -> str:
    return "of unknown size" if size is None else f"{size / 1e6:,.1f} MB"
