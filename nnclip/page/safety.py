"""What keeps the page from reaching out: Gradio's own fetching, and the browser's.

Gradio downloads whatever address a client sends in place of an uploaded file. Its guard lets all
public addresses through; here none is, because fetching is opt-in and then the work of
nnclip.service.fetching.
"""

from typing import Any

import gradio as gr
from gradio import processing_utils

HEADERS = {
    # Gradio's front end makes functions from strings and sets styles in place
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' "
    "'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "media-src 'self' data: blob:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "font-src 'self' data:; object-src 'none'; base-uri 'self'; form-action 'self'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


async def _refuse(url: str) -> Any:
    raise gr.Error("pictures are uploaded here, not fetched", print_exception=False)


def never_fetch() -> None:
    """Let Gradio fetch nothing for anybody, for the rest of this process."""
    processing_utils.async_ssrf_protected_get = _refuse


class SafeHeaders:
    """ASGI middleware that adds HEADERS to every answer."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._headers = [(k.encode(), v.encode()) for k, v in HEADERS.items()]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on."""

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._headers]
            await send(message)

        await self._app(scope, receive, sending)
