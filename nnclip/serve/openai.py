"""OpenAI's embeddings API, and what infinity, vLLM and Jina added to its requests."""

import base64
import time
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from nnclip.serve.asking import Desk
from nnclip.serve.faults import Refused
from nnclip.serve.inputs import checked_count, checked_text, is_image
from nnclip.service.embedder import Embedder
from nnclip.service.values import echo

STARTED = int(time.time())
OBJECT = {
    "anyOf": [
        {"type": "object", "properties": {name: {"type": "string"}}, "required": [name]}
        for name in ("text", "image")
    ]
}
INPUT = {
    "description": "A text, an image (data: URI, base64 or, where allowed, an address), or a list "
    'of them. An object {"text": ...} or {"image": ...} says which; plain strings are what '
    "`modality` says, else texts, but data:image/ URIs are images.",
    "anyOf": [
        {"type": "string"},
        OBJECT,
        {"type": "array", "items": {"anyOf": [{"type": "string"}, OBJECT]}},
    ],
}
MESSAGES = {
    "description": "vLLM's form: one message of the user, which holds one text or one image_url.",
    "type": "array",
    "items": {"type": "object"},
}
Format = Literal["float", "base64"]


class EmbeddingRequest(BaseModel):
    """What is to be embedded; fields that are not listed change nothing."""

    model_config = ConfigDict(extra="allow", strict=True)

    model: str | None = Field(None, description="One of GET /v1/models; the first if left out.")
    input: Annotated[Any, WithJsonSchema(INPUT)] = None
    messages: Annotated[Any, WithJsonSchema(MESSAGES)] = None
    modality: Literal["text", "image"] | None = Field(None, description="Of plain strings.")
    encoding_format: Format | None = Field(None, description="float, or float32 in base64.")
    embedding_type: Format | None = Field(None, description="Jina's name of encoding_format.")
    dimensions: int | None = Field(None, description="Only the model's own number.")
    normalized: bool = Field(True, description="Embeddings of unit length.")
    truncate: bool = Field(False, description="Cut texts that are too long.")
    user: str | None = None


class Embedding(BaseModel):
    """One embedding."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Token ids of the texts; images have none."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingAnswer(BaseModel):
    """Embeddings, in the order of the inputs."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class Model(BaseModel):
    """A model that can be asked."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class Models(BaseModel):
    """All of them."""

    object: Literal["list"]
    data: list[Model]


def router(desk: Desk) -> APIRouter:
    """The routes, also without /v1 as infinity has them."""
    routes = APIRouter(tags=["OpenAI, infinity, vLLM, Jina"])

    @routes.post("/v1/embeddings", response_model=EmbeddingAnswer)
    @routes.post("/embeddings", response_model=EmbeddingAnswer, include_in_schema=False)
    async def embeddings(asked: EmbeddingRequest, request: Request) -> Response:
        return await _embed(desk, asked, request)

    @routes.get("/v1/models", response_model=Models)
    @routes.get("/models", response_model=Models, include_in_schema=False)
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [_model(name) for name in desk.pool.names]}

    @routes.get("/v1/models/{name:path}", response_model=Model)
    async def model(name: str) -> dict[str, Any]:
        if name not in desk.pool.names:
            expected = ", ".join(desk.pool.names)
            raise Refused(
                404, f"found no model {name!r:.60}, expected one of {expected}", "model",
                "model_not_found",
            )  # fmt: skip
        return _model(name)

    return routes


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": STARTED, "owned_by": "nnclip"}


async def _embed(desk: Desk, asked: EmbeddingRequest, request: Request) -> Response:
    embedder = desk.model(asked.model)
    _check_dimensions(asked.dimensions, embedder)
    kinds, names = _inputs(asked)
    texts = [i for i, (what, _) in enumerate(kinds) if what == "text"]
    images = [i for i, (what, _) in enumerate(kinds) if what == "image"]
    words = [checked_text(kinds[i][1], names[i], asked.truncate) for i in texts]
    files = await desk.images.read([kinds[i][1] for i in images], [names[i] for i in images])
    rows_NE = np.empty((len(kinds), embedder.model.config.embed), np.float32)
    tokens, headers = 0, dict[str, str]()
    if words:
        named = [names[i] for i in texts]
        found = await desk.embed_texts(
            request, embedder, words, named, asked.truncate, asked.normalized
        )
        rows_NE[texts], tokens = found.rows, found.tokens
        headers |= found.headers
    if files:
        named = [names[i] for i in images]
        rows_NE[images] = await desk.embed_images(request, embedder, files, named, asked.normalized)
    if asked.model_extra:
        headers["x-nnclip-ignored"] = (
            echo(", ".join(asked.model_extra)).encode("ascii", "replace").decode()
        )
    return _answered(asked, rows_NE, tokens, headers, embedder.name)


def _answered(
    asked: EmbeddingRequest, rows_NE: np.ndarray, tokens: int, headers: dict[str, str], name: str
) -> Response:
    """The answer, written at once: FastAPI's own way takes a millisecond for each embedding."""
    coded = "base64" in (asked.encoding_format, asked.embedding_type)
    little = rows_NE.astype("<f4")
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(row.tobytes()).decode() if coded else row,
        }
        for index, row in enumerate(little)
    ]
    content = {
        "object": "list",
        "data": data,
        "model": asked.model or name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, headers=headers, media_type="application/json")


def _check_dimensions(dimensions: int | None, embedder: Embedder) -> None:
    """Refuse to shorten embeddings: the first numbers of a CLIP embedding mean nothing alone."""
    own = embedder.model.config.embed
    if dimensions is not None and dimensions != own:
        raise Refused(
            400,
            f"dimensions: found {dimensions}, expected {own} or none: this model was not trained "
            "to be cut",
            "dimensions",
        )


def _inputs(asked: EmbeddingRequest) -> tuple[list[tuple[str, Any]], list[str]]:
    """("text" or "image", value) of every input, and what each is called in an error."""
    if asked.messages is not None:
        if asked.input is not None:
            raise Refused(400, "found input and messages, expected one of them", "messages")
        return [_message(asked.messages)], ["messages"]
    if asked.input is None:
        raise Refused(400, "found no input, expected texts or images", "input")
    several = isinstance(asked.input, list)
    given = asked.input if several else [asked.input]
    checked_count(len(given), "input")
    names = [f"input[{index}]" if several else "input" for index in range(len(given))]
    kinds = [_kind(value, name, asked.modality) for value, name in zip(given, names, strict=True)]
    return kinds, names


def _kind(value: Any, name: str, modality: str | None) -> tuple[str, Any]:
    if isinstance(value, dict):
        found = [key for key in ("text", "image") if value.get(key) is not None]
        if len(found) != 1:
            raise Refused(
                400,
                f'{name}: found {" and ".join(found) or "neither"}, expected {{"text": ...}} or '
                '{"image": ...}',
                name,
            )
        return found[0], value[found[0]]
    image = modality == "image" or (modality is None and is_image(value))
    return "image" if image else "text", value


def _message(messages: Any) -> tuple[str, Any]:
    """The only part of the only message; CLIP embeds texts and images apart."""
    sentence = (
        "messages: expected one message of the user, with one text or one image_url: this model "
        "embeds each apart"
    )
    if not isinstance(messages, list) or len(messages) != 1 or not isinstance(messages[0], dict):
        raise Refused(400, sentence, "messages")
    content = messages[0].get("content")
    if isinstance(content, str):
        return "text", content
    if messages[0].get("role") != "user" or not isinstance(content, list) or len(content) != 1:
        raise Refused(400, sentence, "messages")
    part = content[0] if isinstance(content[0], dict) else {}
    if part.get("type") == "text":
        return "text", part.get("text")
    if part.get("type") != "image_url":
        raise Refused(400, sentence, "messages")
    image = part.get("image_url")
    return "image", image.get("url") if isinstance(image, dict) else image
