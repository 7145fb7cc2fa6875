"""nnclip's routes for where in an image texts are found: maps, and rough regions.

Axes: M texts, G places along a side, H and W pixels.
"""

import base64
from collections.abc import Sequence
from io import BytesIO
from typing import Literal

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from nnclip.explain import DEFAULT, boxes
from nnclip.explain.regions import mask_of
from nnclip.serve.asking import Desk
from nnclip.serve.faults import Refused
from nnclip.serve.inputs import checked_text
from nnclip.serve.ours import IMAGE, Asked, answer
from nnclip.service.embedder import Embedder
from nnclip.service.images import ImageBytes

MOST_TEXTS = 256  # of a request: an answer holds a map for each
AN_IMAGE = Field(description=f"A {IMAGE}.")


class ExplainRequest(Asked):
    """An image, and the texts to look for in it."""

    image: str = AN_IMAGE
    texts: list[str]
    method: Literal["maskclip", "sclip", "clearclip", "relevance", "grad-cam"] = Field(
        DEFAULT,  # type: ignore[arg-type]
        description="relevance and grad-cam take some three answers for each text.",
    )


class Found(BaseModel):
    """Where a text is found: the middle of the highest place, 0 to 1, and the whole map."""

    index: int
    text: str
    left: float
    top: float
    map: list[list[float]]


class ExplainAnswer(BaseModel):
    """All texts, in order. Maps lie over the square that the model sees of the image."""

    model: str
    method: str
    places: int = Field(description="Along a side of a map.")
    data: list[Found]


class SegmentRequest(Asked):
    """An image, and at least two texts, of which each pixel gets one."""

    image: str = AN_IMAGE
    texts: list[str]


class Region(BaseModel):
    """A connected region of one text, in pixels; `share` of the image, 0 to 1."""

    text: str
    left: int
    top: int
    right: int
    bottom: int
    share: float


class Share(BaseModel):
    """How much of the image a text has, 0 to 1."""

    text: str
    share: float


class SegmentAnswer(BaseModel):
    """Rough regions. `mask` is a PNG in base64 whose pixels are numbers of texts.

    Images are made smaller first, to 1024 pixels along the longer side.
    """

    model: str
    width: int
    height: int
    texts: list[Share]
    boxes: list[Region]
    mask: str


def router(desk: Desk) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["nnclip"])

    @routes.post("/v1/explain", response_model=ExplainAnswer)
    async def explain(asked: ExplainRequest, request: Request) -> Response:
        embedder = desk.model(asked.model)
        image, texts_ME = await _inputs(desk, embedder, request, asked.image, asked.texts, 1)
        maps = await desk.maps(request, embedder, image, texts_ME, asked.method)
        side = maps.shape[-1]
        data = []
        for index, (text, map_GG) in enumerate(zip(asked.texts, maps, strict=True)):
            row, column = divmod(int(map_GG.argmax()), side)
            middle = {"left": (column + 0.5) / side, "top": (row + 0.5) / side}
            data.append({"index": index, "text": text, **middle, "map": map_GG})
        told = {"model": embedder.name, "method": asked.method, "places": side, "data": data}
        return answer(told)

    @routes.post("/v1/segment", response_model=SegmentAnswer)
    async def segment(asked: SegmentRequest, request: Request) -> Response:
        embedder = desk.model(asked.model)
        image, texts_ME = await _inputs(desk, embedder, request, asked.image, asked.texts, 2)
        labels_HW = await desk.regions(request, embedder, image, texts_ME)
        return answer({"model": embedder.name, **_segmented(labels_HW, asked.texts)})

    return routes


async def _inputs(
    desk: Desk, embedder: Embedder, request: Request, image: str, texts: Sequence[str], least: int
) -> tuple[ImageBytes, np.ndarray]:
    """The image, and embeddings (M, E) of the texts."""
    if not least <= len(texts) <= MOST_TEXTS:
        sentence = f"texts: found {len(texts):,}, expected {least} to {MOST_TEXTS}"
        raise Refused(400, sentence, "texts")
    names = [f"texts[{index}]" for index in range(len(texts))]
    checked = [checked_text(*pair) for pair in zip(texts, names, strict=True)]
    (file,) = await desk.images.read([image], ["image"])
    return file, (await desk.embed_texts(request, embedder, checked, names)).rows


def _segmented(labels_HW: np.ndarray, texts: Sequence[str]) -> dict[str, object]:
    shares = np.bincount(labels_HW.ravel(), minlength=len(texts)) / labels_HW.size
    sink = BytesIO()
    mask_of(labels_HW).save(sink, "PNG")
    return {
        "width": labels_HW.shape[1],
        "height": labels_HW.shape[0],
        "texts": [{"text": t, "share": s} for t, s in zip(texts, shares, strict=True)],
        "boxes": [{**box._asdict(), "text": texts[box.text]} for box in boxes(labels_HW)],
        "mask": base64.b64encode(sink.getvalue()).decode(),
    }
