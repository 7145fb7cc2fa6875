"""Images and texts as they stand in a request: base64, data: URIs, addresses."""

import asyncio
import binascii
import re
import string
from collections.abc import Sequence
from concurrent.futures import Executor

from nnclip.errors import DataError
from nnclip.serve.faults import Refused
from nnclip.service.fetching import fetch_image
from nnclip.service.images import ImageBytes, check_size
from nnclip.service.limits import MAX_INPUTS, MAX_LETTERS, MAX_REQUEST
from nnclip.service.values import echo, kind, text

DATA = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(;[\w=.+-]+)*?;base64,", re.IGNORECASE)
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
BLANKS = string.whitespace.encode()
ALPHABET = f"{string.ascii_letters}{string.digits}+/".encode()
AT_ONCE = 4  # addresses of one request that are fetched side by side


def is_image(value: object) -> bool:
    """Whether a text can only be an image: a data: URI of one."""
    return isinstance(value, str) and value[:11].lower() == "data:image/"


def checked_count(count: int, param: str) -> None:
    """Refuse a request without inputs, or with too many."""
    if not 0 < count <= MAX_INPUTS:
        raise Refused(400, f"{param}: found {count:,} inputs, expected 1 to {MAX_INPUTS:,}", param)


def checked_text(
    value: object, param: str, truncate: bool = False, may_be_empty: bool = False
) -> str:
    """A text that is worth giving to a tokenizer; with `truncate`, its beginning."""
    found = value if isinstance(value, str) else None
    if found is None:
        ids = isinstance(value, (int, list)) and not isinstance(value, bool)
        named = "token ids" if ids else kind(value)
        raise Refused(
            400,
            f"{param}: found {named}, expected a text: only the model's own tokenizer knows its "
            "token ids (LangChain: check_embedding_ctx_length=False)",
            param,
        )
    try:
        text(found, param)
    except DataError as error:
        raise Refused(400, str(error), param) from error
    if not found.strip() and not may_be_empty:
        raise Refused(400, f"{param}: found an empty text, expected one with words", param)
    if len(found) > MAX_LETTERS:
        if truncate:
            return found[:MAX_LETTERS]
        raise Refused(
            400,
            f"{param}: found {len(found):,} characters, expected at most {MAX_LETTERS:,}",
            param,
        )
    return found


class Images:
    """Reads the images of requests.

    Attributes:
        allow_urls: whether addresses are fetched.
    """

    def __init__(self, allow_urls: bool, threads: Executor) -> None:
        """Fetch in `threads`, if at all."""
        self.allow_urls, self._threads = allow_urls, threads

    async def read(self, values: Sequence[object], names: Sequence[str]) -> list[ImageBytes]:
        """The images that these texts stand for.

        Args:
            values: base64, data: URIs or addresses.
            names: what each is called in an error.

        Raises:
            Refused: one is none of these, is too large, or its address may not or cannot be
                fetched; or all fetched ones together are too large.
        """
        found: list[ImageBytes | None] = []
        addresses: list[tuple[int, str]] = []
        for index, (value, name) in enumerate(zip(values, names, strict=True)):
            if isinstance(value, str) and ADDRESS.match(value):
                self._check_allowed(name)
                addresses.append((index, value))
                found.append(None)
            else:
                found.append(decoded(value, name))
        room = MAX_REQUEST
        for start in range(0, len(addresses), AT_ONCE):
            group = addresses[start : start + AT_ONCE]
            fetched = await asyncio.gather(*(self._fetch(url, names[i]) for i, url in group))
            room -= sum(map(len, fetched))
            if room < 0:
                most = f"{MAX_REQUEST >> 20} MB"
                raise Refused(413, f"found more behind these addresses than {most}, expected less")
            for (index, _), content in zip(group, fetched, strict=True):
                found[index] = ImageBytes(content)
        return [image for image in found if image is not None]

    def _check_allowed(self, param: str) -> None:
        if not self.allow_urls:
            raise Refused(
                400,
                f"{param}: found an address, expected a data: URI or base64: this server fetches "
                "nothing (--allow-urls)",
                param,
                "urls_not_allowed",
            )

    async def _fetch(self, url: str, param: str) -> bytes:
        loop = asyncio.get_running_loop()
        try:
            content = await loop.run_in_executor(self._threads, fetch_image, url)
            check_size(len(content))
        except DataError as error:
            raise Refused(400, f"{param}: {error}", param) from error
        return content


def decoded(value: object, param: str) -> ImageBytes:
    """The image in base64, with a data: prefix or without."""
    if not isinstance(value, str):
        raise Refused(400, f"{param}: found {kind(value)}, expected a data: URI or base64", param)
    if value[:5].lower() == "data:":
        prefix = DATA.match(value[:200])
        if not prefix:
            raise Refused(
                400, f"{param}: found {echo(value)}, expected data:image/...;base64,...", param
            )
        value = value[prefix.end() :]
    try:
        content = _unpacked(value)
        check_size(len(content))
    except (binascii.Error, ValueError) as error:
        if isinstance(error, DataError):
            raise Refused(400, f"{param}: {error}", param) from error
        raise Refused(
            400,
            f"{param}: found {echo(value)}, expected an image in base64 or a data: URI",
            param,
        ) from error
    return ImageBytes(content)


def _unpacked(value: str) -> bytes:
    """The bytes of base64, blanks and line ends within it aside; ValueError if it is none.

    `b64decode` would check it by a regular expression, in more time than it is decoded in.
    """
    packed = value.encode("ascii").translate(None, BLANKS)
    if packed.rstrip(b"=").translate(None, ALPHABET):
        raise ValueError("another character")
    return binascii.a2b_base64(packed)
