"""The application: routers of the APIs that are wanted, errors in each one's form."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException

from nnclip import __version__
from nnclip.serve import APIS, health, immich, openai, ours, places, weaviate
from nnclip.serve.asking import Desk
from nnclip.serve.collections import Collections
from nnclip.serve.faults import UNFORESEEN, Refused, invalid, response
from nnclip.serve.listing import listing

ROUTERS = {"openai": openai.router, "weaviate": weaviate.router, "immich": immich.router}


def build_app(desk: Desk, collections: Collections, apis: Sequence[str] = APIS) -> FastAPI:
    """The application without its doors.

    Args:
        desk: what answers.
        collections: what can be searched.
        apis: some of APIS; health and nnclip's own routes are always there.
    """
    app = FastAPI(
        title="nnclip",
        version=__version__,
        summary="Embeddings of images and texts, of unit length",
        docs_url=None,
        redoc_url=None,
        exception_handlers=ERRORS,
    )
    app.include_router(health.router(desk))
    app.include_router(ours.router(desk, collections))
    app.include_router(places.router(desk))
    for name in apis:
        app.include_router(ROUTERS[name](desk))
    app.include_router(_docs(app))
    return app


def _docs(app: FastAPI) -> APIRouter:
    """A page of what can be asked, which needs nothing from other servers."""
    routes = APIRouter()

    @routes.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(listing(app.openapi()))

    return routes


async def _refused(request: Request, error: Any) -> Response:
    return response(request.url.path, error)


async def _invalid(request: Request, error: Any) -> Response:
    return response(request.url.path, invalid(error.errors()))


async def _http(request: Request, error: Any) -> Response:
    sentence = str(error.detail)
    if error.status_code in (404, 405):
        path = f"{request.method} {request.url.path}"
        sentence = f"found no route {path[:100]}, expected one of those at /docs"
    elif error.status_code == 400:
        sentence = f"found a body that cannot be read ({sentence}), expected JSON or a form"
    seconds = 1 if error.status_code == 503 else None
    found = response(request.url.path, Refused(error.status_code, sentence, seconds=seconds))
    found.headers.update(error.headers or {})  # which methods a route takes
    return found


async def _unforeseen(request: Request, error: Any) -> Response:
    return response(request.url.path, Refused(500, UNFORESEEN))


ERRORS: dict[Any, Any] = {
    Refused: _refused,
    RequestValidationError: _invalid,
    HTTPException: _http,
    Exception: _unforeseen,  # Starlette raises it once more, for the log of `ServeDoors`
}
