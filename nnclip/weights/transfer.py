"""One file over HTTP: resumed where it stopped, tried again where the line breaks."""

import errno
import http.client
import logging
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from nnclip.errors import DownloadError

logger = logging.getLogger(__name__)

BLOCK = 1 << 20  # bytes asked for at once
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)  # statuses that may pass
QUICK = 4.0  # seconds for a first answer, where others can be asked instead


@dataclass(frozen=True)
class Patience:
    """How long a transfer goes on without success.

    Attributes:
        timeout: seconds without a byte until the connection counts as dead.
        attempts: connections in a row that bring nothing new until it gives up.
        pause: seconds before the second of them; doubles each time.
        longest_wait: seconds that a server may ask to wait.
    """

    timeout: float = 30.0
    attempts: int = 5
    pause: float = 1.0
    longest_wait: float = 60.0


def _hasty(patience: Patience) -> Patience:
    """What is left of it as long as nothing comes and others can be asked."""
    return replace(
        patience,
        timeout=min(QUICK, patience.timeout),
        attempts=min(2, patience.attempts),
        longest_wait=min(QUICK, patience.longest_wait),
    )


class NoPlaceError(DownloadError):
    """What was fetched cannot be stored: no other server would help."""


class _BrokenLineError(Exception):
    """The line broke; another attempt may do, after `wait` seconds."""

    def __init__(self, found: str, wait: float = 0.0) -> None:
        super().__init__(found)
        self.wait = wait


def transfer(
    url: str,
    partial: Path,
    *,
    hashed: bool = False,
    patience: Patience | None = None,
    quick: bool = False,
) -> None:
    """Bring all of `url` into the file `partial`, going on where an earlier call stopped.

    What is there already is kept only if the server still has the same file: it is asked by
    If-Range with the ETag or date of the first answer, stored beside `partial`.

    Args:
        url: http(s); proxies come from the environment, as in all of urllib.
        partial: the file to fill; stays as it is when the transfer fails, for the next call.
        hashed: the caller compares a hash afterwards, so that a file may also be resumed on a
            server that sends neither ETag nor date.
        patience: when to give up.
        quick: another place can be asked: give up after QUICK seconds, as long as no byte came.

    Raises:
        DownloadError: refused by the server, no progress any more, or, as NoPlaceError, the disk is
            full.
    """
    patience = patience or Patience()
    start, most, failures = _size(partial), -1, 0
    while True:
        limits = _hasty(patience) if quick and _size(partial) <= start else patience
        try:
            return _attempt(url, partial, hashed, limits.timeout)
        except _BrokenLineError as broken:
            size = _size(partial)
            failures = 1 if size > most else failures + 1
            most = max(size, most)
            if broken.wait > limits.longest_wait:
                raise DownloadError(
                    f"{url}: {broken}, and asks to wait {broken.wait:.0f} s; try again then"
                ) from broken
            if failures >= limits.attempts:
                raise DownloadError(
                    f"{url}: {broken}, {failures} times in a row without a new byte; check the "
                    f"connection and the proxy (https_proxy), then try again. {size:,} bytes are "
                    "kept and need not come again"
                ) from broken
            pause = max(broken.wait, patience.pause * 2 ** (failures - 1))
            logger.warning("%s: %s; trying again in %.0f s", url, broken, pause)
            time.sleep(pause)


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn what goes wrong while writing `path` into a DownloadError that says what to do."""
    try:
        yield
    except OSError as error:
        if no_place(error):
            raise _no_room(path, str(error.strerror)) from error
        raise NoPlaceError(
            f"{path}: cannot be written ({error.strerror}); let NNCLIP_CACHE name a folder that can"
        ) from error


def no_place(error: OSError) -> bool:
    """Whether this says that a disk is full."""
    return error.errno in DISK_FULL


def _no_room(path: Path, found: str) -> NoPlaceError:
    return NoPlaceError(
        f"{path}: {found}; free some space, or let NNCLIP_CACHE name a folder on a larger disk. "
        "What came so far is kept and need not come again"
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _attempt(url: str, partial: Path, hashed: bool, timeout: float) -> None:
    """Fetch what `partial` lacks over one connection."""
    validator = partial.with_name(partial.name + ".validator")
    known = validator.read_text(encoding="utf-8") if validator.exists() else ""
    have = _size(partial) if known or hashed else 0
    try:
        response = _request(url, have, known, timeout)
    except urllib.error.HTTPError as refusal:  # 416: the server has no byte `have`
        if refusal.headers.get("Content-Range") == f"bytes */{have}":
            return  # nothing is missing: an earlier call stopped just before the end
        partial.unlink()
        raise _BrokenLineError("what came earlier does not fit the server's file") from refusal
    with response:
        if response.status == 206 and known and _validator(response) not in ("", known):
            partial.unlink()  # this server knows Range but not If-Range
            raise _BrokenLineError("the server has another file now")
        start, total = _span(response, have)
        with storing(partial):
            file = partial.open("r+b" if start else "wb", buffering=0)
        with file:
            if not start:  # the old bytes are gone: now the new name for what comes
                with storing(validator):
                    validator.write_text(_validator(response), encoding="utf-8")
            file.seek(start)
            _receive(response, file, partial, start, total)


def _request(url: str, have: int, validator: str, timeout: float) -> http.client.HTTPResponse:
    """Open `url` from byte `have` on, if the server still has the file of that validator.

    Raises:
        urllib.error.HTTPError: 416 only, if bytes were asked for that the file does not have.
    """
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        if validator:
            request.add_header("If-Range", validator)
    try:
        # an opener of its own: urlopen remembers the proxies of its first call
        return urllib.request.build_opener().open(request, timeout=timeout)
    except urllib.error.HTTPError as refusal:
        if have and refusal.code == 416:
            raise
        found = f"the server answers {refusal.code} {refusal.reason}"
        if refusal.code in TRY_AGAIN:
            raise _BrokenLineError(found, _wait(refusal.headers["Retry-After"])) from refusal
        raise DownloadError(
            f"{url}: {found}; check the address, or let NNCLIP_MIRROR name a server that has it"
        ) from refusal
    except http.client.InvalidURL as error:
        raise DownloadError(f"{url}: not an address ({error})") from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenLineError(f"no connection ({getattr(error, 'reason', error)})") from error


def _wait(said: str | None) -> float:
    """Seconds that Retry-After asks for: a number, or a date; 0 where it says nothing."""
    if said is None:
        return 0.0
    if said.strip().isdigit():
        return float(said)
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except ValueError:
        return 0.0


def _span(response: http.client.HTTPResponse, have: int) -> tuple[int, int | None]:
    """Where the body starts in the file, and how long the file is, if the server says so."""
    if response.status == 206:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers["Content-Range"] or "")
        if span is None or int(span[1]) != have:
            raise DownloadError(
                f"{response.url}: asked for the bytes from {have} on, the server sent "
                f"{response.headers['Content-Range']}; fetch the file by other means"
            )
        return have, None if span[2] == "*" else int(span[2])
    length = response.headers["Content-Length"]
    return 0, int(length) if length else None


def _validator(response: http.client.HTTPResponse) -> str:
    """What If-Range may say about this answer; empty if nothing."""
    etag = response.headers["ETag"] or ""
    return etag if etag.startswith('"') else response.headers["Last-Modified"] or ""


def _receive(
    response: http.client.HTTPResponse, file: BinaryIO, path: Path, start: int, total: int | None
) -> None:
    """Append the body to `file`."""
    if total is not None and (free := shutil.disk_usage(path.parent).free) < total - start:
        raise _no_room(path, f"needs {total - start:,} bytes more, the disk has {free:,} free")
    bar = tqdm(
        total=total,
        initial=start,
        desc=path.name.removesuffix(".part"),
        unit="B",
        unit_scale=True,
        disable=None,  # silent where nobody watches
    )
    at = start
    with bar:
        while at != total:
            try:
                block = response.read1(BLOCK if total is None else min(BLOCK, total - at))
            except (OSError, http.client.HTTPException) as error:
                raise _BrokenLineError(f"the connection broke at byte {at:,} ({error})") from error
            if not block:
                break
            with storing(path):
                _write(file, block)
            at += len(block)
            bar.update(len(block))
    if total is not None and at != total:
        raise _BrokenLineError(f"the connection ended at byte {at:,} of {total:,}")


def _write(file: BinaryIO, block: bytes) -> None:
    # an unbuffered file may take less than it is given, the last time before the disk is full
    view = memoryview(block)
    while view:
        view = view[file.write(view) :]
