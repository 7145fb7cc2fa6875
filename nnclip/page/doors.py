"""What reaches Gradio, and what does not: names, origins, routes, sizes, files, foreign addresses.

Gradio offers much that this page has no use for: sending requests on to other servers, editing
itself, converting recordings. Only what the page and `gradio_client` ask for is let through.
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import gradio as gr
from gradio import processing_utils
from gradio.route_utils import FnIndexInferError
from starlette.responses import PlainTextResponse

from nnclip.errors import DataError
from nnclip.service.hosts import Hosts
from nnclip.service.limits import MAX_BODY, MAX_BYTES, MAX_IMAGES
from nnclip.service.uploads import Uploads

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

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
MAX_UPLOAD = MAX_IMAGES * (MAX_BYTES + 4096)  # bytes, with what stands round each file
READ = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|robots\.txt|manifest\.json)/?"
    r"|/(assets|static|svelte)/.+"
    rf"|{API}(info|app_id|startup-events|theme\.css|upload_progress|queue/(data|status))/?"
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


class Doors:
    """ASGI middleware round all of Gradio, its own middleware included."""

    def __init__(self, app: Any, hosts: Hosts, uploads: Uploads) -> None:
        """Stand before `app`: answer to these names, give out these files."""
        self._app, self._hosts, self._uploads = app, hosts, uploads
        self._headers = [(k.encode(), v.encode()) for k, v in HEADERS.items()]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._headers]
            await send(message)

        refused = self._refusal(scope)
        if refused is None:
            return await self._app(scope, _limited(receive, _most(scope)), sending)
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        return await _say(sending, *refused)

    def _refusal(self, scope: Message) -> tuple[int, str] | None:
        """Status and sentence for a request that goes no further."""
        sentence = self._hosts.refusal(_values(scope, b"host"), _values(scope, b"origin"))
        if sentence:
            return 403, sentence
        path = scope["path"]
        route = ROUTES.get(scope.get("method", ""))
        if route is None or not route.fullmatch(path):
            return 404, "found nothing here"
        if path.startswith(FILE):
            try:
                self._uploads.find(path.removeprefix(FILE))
            except DataError as error:
                return 403, str(error)
        lengths = _values(scope, b"content-length")
        if lengths and int(lengths[0]) > _most(scope):  # digits, or h11 had refused it
            return 413, f"found {lengths[0]} bytes, expected at most {_most(scope)}"
        return None


def _values(scope: Message, name: bytes) -> list[str]:
    """All values of a header."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _most(scope: Message) -> int:
    """Bytes that the body of a request may have."""
    return MAX_UPLOAD if scope["path"].rstrip("/") == UPLOAD else MAX_BODY


def _limited(receive: Receive, most: int) -> Receive:
    """`receive`, which takes a body that grows too long for one that was broken off."""
    left = most

    async def receiving() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        return message if left >= 0 else {"type": "http.disconnect"}

    return receiving


async def _say(send: Send, status: int, sentence: str) -> None:
    body = f"{sentence}\n".encode()
    kind = (b"content-type", b"text/plain; charset=utf-8")
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [kind, length]})
    await send({"type": "http.response.body", "body": body})
