"""nnclip's own routes: labels for images, cosines of pairs, search in collections.

Axes: N images, M labels, E embedding.
"""

from typing import Any

import numpy as np
import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from nnclip.embeddings import unit
from nnclip.errors import DataError
from nnclip.serve.asking import Desk
from nnclip.serve.collections import Collections
from nnclip.serve.faults import Refused
from nnclip.serve.inputs import checked_count, checked_text
from nnclip.service.limits import checked_template

MOST_HITS = 1000
IMAGE = "data: URI, base64 or, where allowed, an address"


class Asked(BaseModel):
    """What all requests have in common."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str | None = Field(None, description="One of GET /v1/models; the first if left out.")


class ClassifyRequest(Asked):
    """Images, and the labels to choose from."""

    images: list[str] = Field(description=f"Each a {IMAGE}.")
    labels: list[str]
    template: str | None = Field(None, description='Around each label: "a photo of a {}".')


class Label(BaseModel):
    """What a model says of one label for one image."""

    label: str
    probability: float
    logit: float
    cosine: float


class Classified(BaseModel):
    """An image: its best label, and all in the order in which they were asked for."""

    index: int
    best: str
    labels: list[Label]


class ClassifyAnswer(BaseModel):
    """All images. `meaning` says how logits become probabilities."""

    model: str
    loss: str
    meaning: str
    data: list[Classified]


class Pair(BaseModel):
    """An image and a text."""

    model_config = ConfigDict(extra="forbid", strict=True)

    image: str = Field(description=IMAGE)
    text: str


class ScoreRequest(Asked):
    """Pairs that are compared."""

    pairs: list[Pair]


class Score(BaseModel):
    """How alike the two of a pair are."""

    index: int
    cosine: float
    logit: float


class ScoreAnswer(BaseModel):
    """All pairs, in order."""

    model: str
    data: list[Score]


class SearchRequest(Asked):
    """What to look for: a text, an image, or both."""

    collection: str | None = Field(None, description="Its name; the first if left out.")
    text: str | None = None
    image: str | None = Field(None, description=IMAGE)
    image_weight: float = Field(0.5, ge=0, le=1, description="Of the image, where both are given.")
    k: int = Field(10, ge=1, le=MOST_HITS)
    filters: dict[str, Any] = Field(
        {},
        description="Field of a record -> a value, a list of values, or an object with some of "
        "prefix, contains, min, max.",
    )


class Hit(BaseModel):
    """An image that was found."""

    image: str
    cosine: float
    probability: float
    record: dict[str, Any]


class SearchAnswer(BaseModel):
    """Hits, best first; `looked_at` of `images` were compared with the filters."""

    model: str
    collection: str
    images: int
    looked_at: int
    data: list[Hit]


def router(desk: Desk, collections: Collections) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["nnclip"])

    @routes.post("/v1/classify", response_model=ClassifyAnswer)
    async def classify(asked: ClassifyRequest, request: Request) -> Response:
        return await _classify(desk, asked, request)

    @routes.post("/v1/score", response_model=ScoreAnswer)
    async def score(asked: ScoreRequest, request: Request) -> Response:
        return await _score(desk, asked, request)

    @routes.post("/v1/search", response_model=SearchAnswer)
    async def search(asked: SearchRequest, request: Request) -> Response:
        return await _search(desk, collections, asked, request)

    return routes


async def _classify(desk: Desk, asked: ClassifyRequest, request: Request) -> Response:
    embedder = desk.model(asked.model)
    checked_count(len(asked.images), "images")
    checked_count(len(asked.labels), "labels")
    names = [f"labels[{index}]" for index in range(len(asked.labels))]
    labels = [checked_text(*pair) for pair in zip(asked.labels, names, strict=True)]
    if twice := next((label for label in labels if labels.count(label) > 1), None):
        raise Refused(400, f"labels: found {twice!r:.60} twice, expected it once", "labels")
    try:
        template = checked_template(asked.template)
    except DataError as error:
        raise Refused(400, f"template: {error}", "template") from error
    places = [f"images[{index}]" for index in range(len(asked.images))]
    files = await desk.images.read(asked.images, places)
    texts = [template.replace("{}", label) for label in labels]
    texts_ME = (await desk.embed_texts(request, embedder, texts, names)).rows
    cosines_NM = await desk.embed_images(request, embedder, files, places) @ texts_ME.T
    scorer = embedder.model.scorer
    logits_NM, probabilities_NM = scorer.logits(cosines_NM), scorer.probabilities(cosines_NM)
    data = [
        {
            "index": index,
            "best": labels[int(np.argmax(cosines))],
            "labels": [
                {"label": label, "probability": p, "logit": logit, "cosine": cosine}
                for label, p, logit, cosine in zip(
                    labels, probabilities_NM[index], logits_NM[index], cosines, strict=True
                )
            ],
        }
        for index, cosines in enumerate(cosines_NM)
    ]
    loss = scorer.loss
    return _answer(
        {"model": embedder.name, "loss": loss.name, "meaning": loss.meaning, "data": data}
    )


async def _score(desk: Desk, asked: ScoreRequest, request: Request) -> Response:
    embedder = desk.model(asked.model)
    checked_count(len(asked.pairs), "pairs")
    image_names = [f"pairs[{index}].image" for index in range(len(asked.pairs))]
    text_names = [f"pairs[{index}].text" for index in range(len(asked.pairs))]
    texts = [checked_text(p.text, name) for p, name in zip(asked.pairs, text_names, strict=True)]
    files = await desk.images.read([pair.image for pair in asked.pairs], image_names)
    texts_NE = (await desk.embed_texts(request, embedder, texts, text_names)).rows
    images_NE = await desk.embed_images(request, embedder, files, image_names)
    cosines = np.einsum("ne,ne->n", images_NE, texts_NE)
    logits = embedder.model.scorer.logits(cosines)
    data = [
        {"index": index, "cosine": cosine, "logit": logit}
        for index, (cosine, logit) in enumerate(zip(cosines, logits, strict=True))
    ]
    return _answer({"model": embedder.name, "data": data})


async def _search(
    desk: Desk, collections: Collections, asked: SearchRequest, request: Request
) -> Response:
    collection = collections.named(asked.collection)
    if asked.text is None and asked.image is None:
        raise Refused(400, "found neither text nor image, expected one or both", "text")
    embedder = desk.model(asked.model or collections.model_of(collection))
    collections.check(collection, embedder)
    query_E = np.zeros(embedder.model.config.embed, np.float32)
    image_weight = asked.image_weight if asked.text is not None else 1.0
    if asked.text is not None:
        words = [checked_text(asked.text, "text")]
        found = await desk.embed_texts(request, embedder, words, ["text"])
        query_E += found.rows[0] * (1 - image_weight if asked.image is not None else 1)
    if asked.image is not None:
        files = await desk.images.read([asked.image], ["image"])
        how = collections.store(collection).manifest.decoding
        rows = await desk.embed_images(request, embedder, files, ["image"], decoding=how)
        query_E += image_weight * rows[0]
    if not query_E.any():
        raise Refused(400, "found a text and an image that cancel out, expected another weight")
    query_E = unit(query_E[None])[0]
    scorer = embedder.model.scorer
    work = collections.search(collection, query_E, asked.k, asked.filters, scorer)
    (found_hits,) = await desk.turn(request, ["filters"], 1, work)
    hits, looked = found_hits
    size = len(collections.store(collection))
    return _answer(
        {
            "model": embedder.name,
            "collection": collection,
            "images": size,
            "looked_at": looked,
            "data": hits,
        }
    )


def _answer(content: dict[str, Any]) -> Response:
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY, default=str)
    return Response(body, media_type="application/json")
