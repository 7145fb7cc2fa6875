"""Lists of addresses -> images on disk and a table of pairs. What is there is not fetched again.

The table is rewritten at the end from what lies on disk, so a call that was interrupted loses
nothing, and a second one only fetches what is missing.
"""

import csv
import hashlib
import http.client
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from nnclip.errors import DataError
from nnclip.image import dialect_of, open_image
from nnclip.image.tables import open_table
from nnclip.weights.h5 import write_whole

logger = logging.getLogger(__name__)

TABLE, FAILURES = "pairs.csv", "failed.tsv"
BLOCK = 1 << 16


@dataclass(frozen=True)
class FetchOrder:
    """How to fetch.

    Attributes:
        folder: where to; `images/ab/SHA1.jpg` by the address, and the table `pairs.csv`.
        parallel: transfers at once.
        timeout: seconds without a byte that end a transfer.
        most_bytes: larger files are refused.
        least_side: pixels; images with a shorter side are refused.
        again: try what failed in an earlier call too.
    """

    folder: Path
    parallel: int = 50
    timeout: float = 5.0
    most_bytes: int = 20 << 20
    least_side: int = 1
    again: bool = False

    def path(self, url: str) -> Path:
        """Where the image of an address lies."""
        name = hashlib.sha1(url.encode()).hexdigest()
        return self.folder / "images" / name[:2] / f"{name}.jpg"


def read_addresses(path: Path) -> Iterator[tuple[str, str]]:
    """(address, caption) of each line of a tab- or comma-separated list of two columns or more.

    The address is the first field that begins with http, the caption the first other one; lines
    without both, such as a header, are passed over.

    Raises:
        DataError: the file cannot be read, or no line holds an address.
    """
    found = False
    with open_table(path) as file:
        for row in csv.reader(file, dialect_of(file)):
            addresses = [f for f in row if f.startswith(("http://", "https://"))]
            captions = [f.strip() for f in row if f not in addresses and f.strip()]
            if addresses and captions:
                found = True
                yield addresses[0], captions[0]
    if not found:
        raise DataError(f"{path}: found no line with a caption and an address (http...)")


def fetch_pairs(addresses: Path, order: FetchOrder) -> Iterator[str | None]:
    """Fetch every image of a list; yields once per line: None, or why there is no image.

    Raises:
        DataError: the list cannot be read, or the folder not be written.
    """
    failures = order.folder / FAILURES
    try:
        order.folder.mkdir(parents=True, exist_ok=True)
        known = set() if order.again else _known_failures(failures)
        with (
            open(failures, "a", encoding="utf-8") as log,
            ThreadPoolExecutor(order.parallel) as pool,
        ):
            jobs = (
                (url, pool.submit(_fetch, url, order, known))
                for url, _ in read_addresses(addresses)
            )
            waiting = {job: url for url, job in islice(jobs, 4 * order.parallel)}
            while waiting:
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for job in done:
                    url, reason = waiting.pop(job), job.result()
                    if reason is not None and url not in known:
                        log.write(f"{url}\t{reason}\n")
                    yield reason
                waiting |= {job: url for url, job in islice(jobs, len(done))}
        _write_table(addresses, order)
    except OSError as error:
        raise DataError(f"{order.folder}: cannot be written ({error})") from error


def _known_failures(path: Path) -> set[str]:
    if not path.exists():
        return set()
    return {line.split("\t")[0] for line in path.read_text(encoding="utf-8").splitlines()}


def _fetch(url: str, order: FetchOrder, known: set[str]) -> str | None:
    """Fetch one image; returns why there is none."""
    path = order.path(url)
    if path.exists():
        return None
    if url in known:
        return "failed before"
    try:
        content = _download(url, order)
        image = open_image(content)
    except (DataError, OSError, http.client.HTTPException, ValueError) as error:
        return f"{type(error).__name__}: {error}".replace("\n", " ").replace("\t", " ")
    if min(image.size) < order.least_side:
        return f"{image.width} x {image.height} pixels"

    def fill(temporary: str) -> None:
        Path(temporary).write_bytes(content)

    write_whole(path, fill)
    return None


def _download(url: str, order: FetchOrder) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "nnclip"})
    with urllib.request.urlopen(request, timeout=order.timeout) as response:
        content = bytearray()
        while block := response.read1(BLOCK):
            content += block
            if len(content) > order.most_bytes:
                raise DataError(f"more than {order.most_bytes:,} bytes")
        if response.length:
            raise DataError(f"ended {response.length:,} bytes early")
    return bytes(content)


def _write_table(addresses: Path, order: FetchOrder) -> None:
    def fill(temporary: str) -> None:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write("filepath\ttitle\n")
            for url, caption in read_addresses(addresses):
                path = order.path(url)
                if path.exists():
                    words = " ".join(caption.split())
                    file.write(f"{os.path.relpath(path, order.folder)}\t{words}\n")

    write_whole(order.folder / TABLE, fill)
