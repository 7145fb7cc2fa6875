"""What Weaviate's module multi2vec-clip asks of its inference server."""

from typing import Any

import numpy as np
import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from nnclip import __version__
from nnclip.serve.asking import Desk
from nnclip.serve.inputs import checked_count, checked_text, decoded


class VectorizeRequest(BaseModel):
    """Texts and images, either may be left out."""

    texts: list[str] | None = None
    images: list[str] | None = Field(None, description="In base64, without a data: prefix.")


class VectorizeAnswer(BaseModel):
    """Embeddings of unit length, in the order of the inputs."""

    textVectors: list[list[float]]  # noqa: N815 - Weaviate's names
    imageVectors: list[list[float]]  # noqa: N815


def router(desk: Desk) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["Weaviate"])

    @routes.get("/.well-known/live", status_code=204)
    async def live() -> Response:
        return Response(status_code=204)

    @routes.get("/.well-known/ready", status_code=204)
    async def ready() -> Response:
        desk.model(None)
        return Response(status_code=204)

    @routes.get("/meta")
    async def meta() -> dict[str, Any]:
        model = desk.model(None)
        config = model.model.config
        return {
            "name": f"nnclip {__version__}",
            "model": model.name,
            "embedding_size": config.embed,
            "image_resolution": config.image.resolution,
            "text_context": config.text.context,
            "normalized": True,
        }

    @routes.post("/vectorize", response_model=VectorizeAnswer)
    async def vectorize(asked: VectorizeRequest, request: Request) -> Response:
        embedder = desk.model(None)
        texts, images = asked.texts or [], asked.images or []
        checked_count(len(texts) + len(images), "texts and images")
        text_names = [f"texts[{index}]" for index in range(len(texts))]
        image_names = [f"images[{index}]" for index in range(len(images))]
        words = [  # a property without words has a vector too, as that server's have
            checked_text(*pair, truncate=True, may_be_empty=True)
            for pair in zip(texts, text_names, strict=True)
        ]
        files = [decoded(*pair) for pair in zip(images, image_names, strict=True)]
        vectors: dict[str, Any] = {"textVectors": [], "imageVectors": []}
        headers = dict[str, str]()
        if words:  # cut as that server cuts them: Weaviate sends whole articles
            found = await desk.embed_texts(request, embedder, words, text_names, truncate=True)
            vectors["textVectors"], headers = found.rows, found.headers
        if files:
            rows_NE = await desk.embed_images(request, embedder, files, image_names)
            vectors["imageVectors"] = np.ascontiguousarray(rows_NE)
        body = orjson.dumps(vectors, option=orjson.OPT_SERIALIZE_NUMPY)
        return Response(body, headers=headers, media_type="application/json")

    return routes
