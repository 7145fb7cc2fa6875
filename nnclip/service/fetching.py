"""Fetches an image from an address that a stranger typed, and nothing else.

The server stands inside somebody's network, so an address must not reach what the visitor cannot
reach: only http and https, only hosts all of whose addresses are public, connected to by the very
address that was checked (a second look-up could give another), checked again after each redirect,
limited in size and time.
"""

import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from nnclip.errors import DataError
from nnclip.service.addresses import is_public
from nnclip.service.limits import MAX_BYTES

PORTS = {"http": 80, "https": 443}
REDIRECTS = 3
SECONDS = 10.0
PIECE = 1 << 16
KEPT = "%/:=&?~#+!$,;'@()*[]"  # of an address, beside letters and digits; the rest is escaped
HOST = re.compile(r"[\w.:-]+")  # a name in any script, or an IP address
MOVED = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class Rules:
    """What may be fetched.

    Args:
        allowed: whether an IP address may be connected to.
        max_bytes: of the answer's body.
        seconds: for everything together, redirects included.
    """

    allowed: Callable[[str], bool] = is_public
    max_bytes: int = MAX_BYTES
    seconds: float = SECONDS


def fetch_image(url: str, rules: Rules | None = None) -> bytes:
    """The bytes behind an address; whether they are an image is for the reader to see.

    Raises:
        DataError: the address is not allowed, does not answer, or answers too much or too slowly.
    """
    rules = rules or Rules()
    deadline = time.monotonic() + rules.seconds
    for _ in range(REDIRECTS + 1):
        target = _parsed(url)
        try:
            found = _ask(target, rules, deadline)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, DataError):
                raise
            if time.monotonic() >= deadline:
                raise DataError(f"{target.hostname} took over {rules.seconds:.0f} s") from error
            raise DataError(f"{target.hostname} cannot be reached: {error}") from error
        if isinstance(found, bytes):
            return found
        url = _joined(url, found)
    raise DataError(f"this address redirects more than {REDIRECTS} times")


def _joined(url: str, location: str) -> str:
    """Where a redirect leads; its header is bytes that http.client takes for Latin-1."""
    try:
        return urljoin(url, quote(location.encode("latin-1"), safe=KEPT))
    except ValueError as error:
        raise DataError(f"this address redirects to what is no address: {error}") from error


def _parsed(url: str) -> SplitResult:
    try:
        parts = urlsplit(url.strip())
        _ = parts.port, (parts.hostname or "").encode("idna")
    except ValueError as error:
        raise DataError(f"this is no address: {error}") from error
    if parts.hostname and not HOST.fullmatch(parts.hostname):
        raise DataError("this is no address: found a host with other characters than names have")
    if parts.scheme not in PORTS or not parts.hostname:
        raise DataError("expected an address that begins with https:// or http://")
    if parts.username or parts.password:
        raise DataError("expected an address without a user name")
    return parts


def _address(host: str, port: int, rules: Rules) -> str:
    """The address to connect to; all that the name stands for must be allowed."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise DataError(f"{host} is not known") from error
    addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
    if not all(map(rules.allowed, addresses)):
        raise DataError(f"{host} is not on the public internet, so it is not asked")
    return addresses[0]


def _ask(target: SplitResult, rules: Rules, deadline: float) -> bytes | str:
    """The body of one answer, or where it says to go instead."""
    host = target.hostname or ""
    port = target.port or PORTS[target.scheme]
    address = _address(host, port, rules)
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    raw = socket.create_connection((address, port), timeout=left)
    # a read waits for each piece anew: who sends a byte a second is stopped from outside, by a
    # second handle, since TLS takes the first one away
    with raw.dup() as handle:
        watch = threading.Timer(max(0.0, deadline - time.monotonic()), _hang_up, [handle])
        watch.daemon = True
        watch.start()
        connection = http.client.HTTPConnection(host, port)
        connection.sock, connection.response_class = raw, _Response
        try:
            if target.scheme == "https":
                connection.sock = _secured(raw, host)
            path = quote(target.path or "/", safe=KEPT)
            path += f"?{quote(target.query, safe=KEPT)}" if target.query else ""
            connection.request("GET", path, headers={"User-Agent": "nnclip", "Accept": "image/*"})
            found = _read(connection.getresponse(), host, rules)
        finally:
            watch.cancel()
            connection.close()
    if time.monotonic() >= deadline:  # hanging up looks like the end of the answer
        raise TimeoutError
    return found


class _Response(http.client.HTTPResponse):
    """An answer whose chunks have sizes that are none below zero.

    Python's reader would take such a size for "all that comes", whatever the limit is.
    """

    def _read_next_chunk_size(self) -> int:
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]
        if size < 0:
            raise http.client.HTTPException(f"found a piece of {size} bytes")
        return size


def _secured(raw: socket.socket, host: str) -> socket.socket:
    return ssl.create_default_context().wrap_socket(raw, server_hostname=host)


def _hang_up(raw: socket.socket) -> None:
    with suppress(OSError):
        raw.shutdown(socket.SHUT_RDWR)


def _read(response: http.client.HTTPResponse, host: str, rules: Rules) -> bytes | str:
    if response.status in MOVED and (location := response.getheader("Location")):
        return location
    if response.status != HTTPStatus.OK:
        raise DataError(f"{host} answers {response.status} {response.reason}")
    content = bytearray()
    while piece := response.read(PIECE):
        content += piece
        if len(content) > rules.max_bytes:
            raise DataError(f"{host} sends more than {rules.max_bytes / 2**20:.0f} MB")
    if response.length:  # fewer bytes than were announced
        raise ConnectionError("the answer was cut off")
    return bytes(content)
