"""What Immich's server asks of its machine learning server: embeddings for its smart search."""

from typing import Annotated, Any

import numpy as np
import orjson
import python_multipart  # noqa: F401 - by which FastAPI reads forms; its absence is told better here
from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, ValidationError

from nnclip import __version__
from nnclip.errors import DataError
from nnclip.image import seen_size
from nnclip.serve.asking import Desk
from nnclip.serve.faults import Refused
from nnclip.serve.inputs import checked_text
from nnclip.service.images import ImageBytes, check_size
from nnclip.service.limits import MAX_BYTES

WANTED = "expected {'clip': {'visual' or 'textual': {'modelName': ...}}}"


class Entry(BaseModel):
    """A model for a kind of input; options, a query's language among them, change nothing."""

    model_config = ConfigDict(protected_namespaces=())

    modelName: str  # noqa: N815 - Immich's name
    options: dict[str, Any] = {}


class Clip(BaseModel):
    """One of the two."""

    model_config = ConfigDict(extra="forbid")

    visual: Entry | None = None
    textual: Entry | None = None


class Entries(BaseModel):
    """What is to be done with the image or text."""

    model_config = ConfigDict(extra="forbid")

    clip: Clip


def router(desk: Desk) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["Immich"])

    @routes.get("/")
    async def root() -> dict[str, str]:
        return {"message": f"nnclip {__version__}"}

    @routes.get("/ping", response_class=PlainTextResponse)
    async def ping() -> str:
        return "pong"

    @routes.post("/predict")
    async def predict(
        request: Request,
        entries: Annotated[str, Form(description="JSON")],
        image: Annotated[UploadFile | None, File()] = None,
        text: Annotated[str | None, Form()] = None,
    ) -> Response:
        clip = _entries(entries)
        if image is None and text is None:
            raise Refused(400, "Either image or text must be provided")
        entry = clip.visual if image is not None else clip.textual
        if entry is None:
            given = "an image" if image is not None else "a text"
            raise Refused(422, f"found {given} and no model for it, {WANTED}")
        embedder = desk.model(entry.modelName)
        if image is not None:
            file = await _read(image)
            rows = await desk.embed_images(request, embedder, [file], ["image"])
            width, height = seen_size(file.content)
            return _answer(rows[0], {}, imageHeight=height, imageWidth=width)
        words = checked_text(text, "text", truncate=True)
        found = await desk.embed_texts(request, embedder, [words], ["text"], truncate=True)
        return _answer(found.rows[0], found.headers)

    return routes


def _entries(given: str) -> Clip:
    try:
        clip = Entries.model_validate_json(given).clip
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])[:100]
        said = f"{field}: {first['msg']}" if field else first["msg"]
        raise Refused(422, f"Invalid request format. entries: {said:.200}; {WANTED}") from error
    if clip.visual is None and clip.textual is None:
        raise Refused(422, f"Invalid request format. entries: found neither kind, {WANTED}")
    return clip


async def _read(image: UploadFile) -> ImageBytes:
    content = await image.read(MAX_BYTES + 1)
    try:
        check_size(len(content))
    except DataError as error:
        raise Refused(400, f"image: {error}") from error
    return ImageBytes(content)


def _answer(embedding_E: np.ndarray, headers: dict[str, str], **more: int) -> Response:
    """The array as a string of JSON, which Immich hands on to its database."""
    array = orjson.dumps(np.ascontiguousarray(embedding_E), option=orjson.OPT_SERIALIZE_NUMPY)
    body = orjson.dumps({"clip": array.decode(), **more})
    return Response(body, headers=headers, media_type="application/json")
