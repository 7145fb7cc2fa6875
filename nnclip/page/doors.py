"""What reaches Gradio, and what does not: names, origins, routes, sizes, files, foreign addresses.

Gradio offers much that this page has no use for: sending requests on to other servers, editing
itself, converting recordings. Only what the page and `gradio_client` ask for is let through.
"""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import gradio as gr
from gradio import processing_utils
from gradio.route_utils import FnIndexInferError
from starlette.responses import PlainTextResponse

from nnclip.errors import DataError, NnclipError
from nnclip.service.hosts import Hosts
from nnclip.service.limits import MAX_BODY, MAX_BYTES, MAX_IMAGES
from nnclip.service.photos import LARGE, OPAQUE, SMALL, File, Photos
from nnclip.service.uploads import Uploads
from nnclip.web.doors import Doors, Message, Receive, Send, answer

HEADERS = {
    # Gradio's front end makes functions from strings and sets styles in place
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' "
    "'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "media-src 'self' data: blob:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "font-src 'self' data:; object-src 'none'; base-uri 'self'; form-action 'self'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
API = "/gradio_api/"
FILE = f"{API}file="
UPLOAD = f"{API}upload"
PHOTOS = "/photos/"
AT_ONCE = 4  # photos that are decoded side by side
MAX_UPLOAD = MAX_IMAGES * (MAX_BYTES + 4096)  # bytes, with what stands round each file
READ = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|robots\.txt|manifest\.json)/?"
    r"|/(assets|static|svelte)/.+"
    rf"|{API}(info|app_id|startup-events|theme\.css|upload_progress|queue/(data|status))/?"
    rf"|{PHOTOS}[0-9a-f]{{32}}/({SMALL}|{LARGE}|original)"
    rf"|{API}heartbeat/[^/]+|{API}call/[^/]+/[^/]+|{re.escape(FILE)}.+"
)
WRITTEN = re.compile(rf"{API}(upload|cancel|reset|queue/join|call/[^/]+)/?")
ROUTES = {"GET": READ, "HEAD": READ, "POST": WRITTEN}


async def _mistaken(_: Any, error: Exception) -> PlainTextResponse:
    return PlainTextResponse(f"found a request that makes no sense here: {error!r:.200}\n", 400)


# what Gradio's routes raise at numbers of events that there are not, or at values nested too deep
MISTAKES = dict.fromkeys(
    (LookupError, ValueError, TypeError, RecursionError, FnIndexInferError), _mistaken
)


async def _refuse(url: str) -> Any:
    raise gr.Error("images are uploaded here, not fetched", print_exception=False)


def never_fetch() -> None:
    """Let Gradio fetch nothing for anybody, for the rest of this process.

    Gradio downloads whatever address a client sends in place of an uploaded file. Its guard lets
    all public addresses through; here none is, because fetching is opt-in and then the work of
    nnclip.service.fetching.
    """
    processing_utils.async_ssrf_protected_get = _refuse


class PageDoors(Doors):
    """The doors round all of Gradio, its own middleware included."""

    headers = HEADERS

    def __init__(self, app: Any, hosts: Hosts, uploads: Uploads, photos: Photos) -> None:
        """Stand before `app`: answer to these names, give out these files and photos."""
        super().__init__(app, hosts)
        self._uploads, self._photos = uploads, photos
        self._threads = ThreadPoolExecutor(AT_ONCE)

    def refusal(self, scope: Message) -> tuple[int, str] | None:
        """As for all doors; besides, only routes that the page has, and only its files."""
        return self.strange(scope) or self._closed(scope) or self.too_long(scope)

    def most(self, scope: Message) -> int:
        """Bytes that the body of a request may have."""
        return MAX_UPLOAD if scope["path"].rstrip("/") == UPLOAD else MAX_BODY

    async def enter(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer for photos; hand all else on."""
        if not scope["path"].startswith(PHOTOS):
            return await super().enter(scope, receive, send)
        token, _, form = scope["path"].removeprefix(PHOTOS).partition("/")
        try:
            loop = asyncio.get_running_loop()
            file = await loop.run_in_executor(self._threads, self._photo, token, form)
        except NnclipError as error:
            return await self.say(scope, send, 404, str(error))
        shows = "inline" if file.kind != OPAQUE else "attachment"
        headers = {
            "cache-control": "private, max-age=3600",
            "content-disposition": f"{shows}; filename*=UTF-8''{quote(file.name, safe='')}",
        }
        await answer(send, 200, file.kind, file.content, headers)

    def _photo(self, token: str, form: str) -> File:
        if form == "original":
            return self._photos.original(token)
        return self._photos.small(token, int(form))

    def _closed(self, scope: Message) -> tuple[int, str] | None:
        path = scope["path"]
        route = ROUTES.get(scope.get("method", ""))
        if route is None or not route.fullmatch(path):
            return 404, "found nothing here"
        if path.startswith(FILE):
            try:
                self._uploads.find(path.removeprefix(FILE))
            except DataError as error:
                return 403, str(error)
        return None
