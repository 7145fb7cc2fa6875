"""What reaches Gradio, and what does not: names, origins, routes, sizes, files, foreign addresses.

Gradio offers much that this page has no use for: sending requests on to other servers, editing
itself, converting recordings. Only what the page and `gradio_client` ask for is let through.
"""

import re
from typing import Any

import gradio as gr
from gradio import processing_utils
from gradio.route_utils import FnIndexInferError
from starlette.responses import PlainTextResponse

from nnclip.errors import DataError
from nnclip.service.hosts import Hosts
from nnclip.service.limits import MAX_BODY, MAX_BYTES, MAX_IMAGES
from nnclip.service.uploads import Uploads
from nnclip.web.doors import Doors, Message

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


class PageDoors(Doors):
    """The doors round all of Gradio, its own middleware included."""

    headers = HEADERS

    def __init__(self, app: Any, hosts: Hosts, uploads: Uploads) -> None:
        """Stand before `app`: answer to these names, give out these files."""
        super().__init__(app, hosts)
        self._uploads = uploads

    def refusal(self, scope: Message) -> tuple[int, str] | None:
        """As for all doors; besides, only routes that the page has, and only its files."""
        return self.strange(scope) or self._closed(scope) or self.too_long(scope)

    def most(self, scope: Message) -> int:
        """Bytes that the body of a request may have."""
        return MAX_UPLOAD if scope["path"].rstrip("/") == UPLOAD else MAX_BODY

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
