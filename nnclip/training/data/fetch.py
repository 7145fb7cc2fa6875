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
from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from nnclip.errors import DataError
from nnclip.extras import extra
from nnclip.files import shown
from nnclip.image import open_image
from nnclip.sources.bad import Bad
from nnclip.sources.captions import texts_of
from nnclip.sources.rows import URL, URL_CAPTION, column_of, is_address
from nnclip.sources.table import open_table
from nnclip.weights.h5 import write_whole

logger = logging.getLogger(__name__)

TABLE, PARQUET, FAILURES = "pairs.csv", "pairs.parquet", "failed.tsv"
BLOCK = 1 << 16
FIRST = 1000  # rows that are looked at before any is fetched
SHOWN = 3  # pairs that a survey keeps


@dataclass(frozen=True)
class FetchOrder:
    """What to fetch, and how.

    Attributes:
        folder: where to; `images/ab/SHA1.jpg` by the address, and the table `pairs.csv`.
        parallel: transfers at once.
        timeout: seconds without a byte that end a transfer.
        most_bytes: larger files are refused.
        least_side: pixels; images with a shorter side are refused.
        again: try what failed in an earlier call too.
        url_column: of addresses, by name or number; "" for the only one that can be meant.
        caption_column: of captions, in the same way.
        separator: of the list's columns; "" to tell it by the header.
        max_bad: rows that may be left out because they cannot be understood.
        parquet: write `pairs.parquet`, too, with the addresses.
    """

    folder: Path
    parallel: int = 50
    timeout: float = 5.0
    most_bytes: int = 20 << 20
    least_side: int = 1
    again: bool = False
    url_column: str = ""
    caption_column: str = ""
    separator: str = ""
    max_bad: int = 1000
    parquet: bool = False

    def path(self, url: str) -> Path:
        """Where the image of an address lies."""
        name = hashlib.sha1(url.encode()).hexdigest()
        return self.folder / "images" / name[:2] / f"{name}.jpg"


def read_addresses(path: Path, order: FetchOrder, say: bool = False) -> Iterator[tuple[str, str]]:
    """(address, caption) of each row of a list: any table, see `nnclip.sources.rows.column_of`.

    Args:
        path: of the list.
        order: names its columns.
        say: log what was understood, and what was left out.

    Raises:
        DataError: the file cannot be read, no column or several may be meant, no row holds an
            address, or too many cannot be understood.
    """
    table = open_table(path, order.separator, (order.url_column, order.caption_column))
    url = column_of(table, URL, order.url_column)
    caption = column_of(table, URL_CAPTION, order.caption_column, (url,))
    if say:
        columns = f"addresses from column {shown(url)}, captions from column {shown(caption)}"
        logger.info("%s: found %s: %s", shown(path), table.told, columns)
    good, empty, bad = 0, 0, Bad()
    for number, cells in table.rows(bad, (url, caption)):
        address, captions = str(cells.get(url) or "").strip(), texts_of(cells.get(caption))
        if not is_address(address) or captions is None:
            what = "caption that is no text" if captions is None else "cell that is no address"
            bad.note(f"row with a {what}", path, f"row {number}")
        elif captions:
            good += 1
            yield address, captions[0].strip()
        else:
            empty += 1
        bad.check(path, order.max_bad)
    if not good:
        told = f" ({bad})" if bad else ""
        raise DataError(f"{shown(path)}: found no line with a caption and an address{told}")
    bad.check(path, order.max_bad, good)
    left_out = [f"{empty:,} without a caption"] * bool(empty) + [str(bad)] * bool(bad)
    if say and left_out:
        logger.warning("%s: left out: %s", shown(path), ", ".join(left_out))


@dataclass(frozen=True)
class Survey:
    """What a list holds.

    Attributes:
        addresses: rows of the list.
        there: images that lie in the folder already.
        failed: addresses that an earlier call could not fetch, and this one would not try.
        first: some of the pairs: address, caption.
    """

    addresses: int
    there: int
    failed: int
    first: tuple[tuple[str, str], ...]


def survey(addresses: Path, order: FetchOrder) -> Survey:
    """Read a list whole, and fetch nothing; errors as for `fetch_pairs`."""
    known = set() if order.again else _known_failures(order.folder / FAILURES)
    first: list[tuple[str, str]] = []
    count = there = failed = 0
    for url, caption in read_addresses(addresses, order, say=True):
        count += 1
        is_there = order.path(url).exists()
        there, failed = there + is_there, failed + (url in known and not is_there)
        if len(first) < SHOWN:
            first.append((url, caption))
    return Survey(count, there, failed, tuple(first))


def fetch_pairs(addresses: Path, order: FetchOrder) -> Iterator[str | None]:
    """Fetch every image of a list; yields once per line: None, or why there is no image.

    Raises:
        DataError: the list cannot be read, or the folder not be written.
    """
    failures = order.folder / FAILURES
    deque(islice(read_addresses(addresses, order), FIRST), 0)  # before anything is made
    try:
        order.folder.mkdir(parents=True, exist_ok=True)
        known = set() if order.again else _known_failures(failures)
        with (
            open(failures, "a", encoding="utf-8") as log,
            ThreadPoolExecutor(order.parallel) as pool,
        ):
            jobs = (
                (url, pool.submit(_fetch, url, order, known))
                for url, _ in read_addresses(addresses, order, say=True)
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
    rows = [
        (os.path.relpath(order.path(url), order.folder), " ".join(caption.split()), url)
        for url, caption in read_addresses(addresses, order)
        if order.path(url).exists()
    ]

    def fill(temporary: str) -> None:
        with open(temporary, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, csv.excel_tab, lineterminator="\n")
            writer.writerows([("filepath", "title"), *(row[:2] for row in rows)])

    def fill_parquet(temporary: str) -> None:
        with extra():
            import pyarrow as pa
            import pyarrow.parquet as pq
        columns = zip(("filepath", "title", "url"), zip(*rows, strict=True), strict=True)
        pq.write_table(pa.table({name: list(cells) for name, cells in columns}), temporary)

    write_whole(order.folder / TABLE, fill)
    if order.parquet and rows:
        write_whole(order.folder / PARQUET, fill_parquet)
