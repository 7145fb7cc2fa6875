"""nnclip's own routes: labels for images, cosines of pairs, search in collections.

Axes: N images, M labels, E embedding.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from nnclip.errors import DataError
from nnclip.search.filters import read_filters
from nnclip.search.query import Query, read_query
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
    """What to look for: texts, images, or both."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=True)

    collection: str | None = Field(None, description="Its name; the first if left out.")
    text: str | None = Field(None, description="May hold weights: beach:1 people:-0.4.")
    not_: list[str] = Field([], alias="not", description="What the images should not show.")
    image: str | None = Field(None, description=IMAGE)
    image_weight: float = Field(0.5, ge=0, le=1, description="Of the image, where both are given.")
    like: str | None = Field(None, description="An image of the collection, by its name.")
    k: int = Field(10, ge=1, le=MOST_HITS)
    min_cosine: float | None = Field(None, ge=-1, le=1)
    truncate: bool = Field(False, description="Cut texts that are longer than the model reads.")
    filters: dict[str, Any] = Field(
        {},
        description="under, after, before, camera, near; or a field of a record -> a value, a list "
        "of values, or an object with some of prefix, contains, min, max.",
    )


class Hit(BaseModel):
    """An image that was found."""

    image: str
    cosine: float
    percentile: float | None = Field(description="Per cent of the others that fit less well.")
    probability: float
    record: dict[str, Any]


class SearchAnswer(BaseModel):
    """Hits, best first; `passed` of `images` pass the filters."""

    model: str
    collection: str
    images: int
    passed: int
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
    return answer(
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
    return answer({"model": embedder.name, "data": data})


async def _search(
    desk: Desk, collections: Collections, asked: SearchRequest, request: Request
) -> Response:
    collection = collections.named(asked.collection)
    query = _query(asked)
    embedder = desk.model(asked.model or collections.model_of(collection))
    collections.check(collection, embedder)
    rows: dict[str, Sequence[np.ndarray]] = {}
    headers: dict[str, str] = {}
    if texts := query.of("text"):
        told = await desk.embed_texts(
            request, embedder, texts, ["text"] * len(texts), asked.truncate
        )
        rows["text"], headers = list(told.rows), told.headers
    if images := query.of("image"):
        files = await desk.images.read(images, ["image"])
        rows["image"] = list(await desk.embed_images(request, embedder, files, ["image"]))
    work = collections.search(collection, query, rows, embedder.model.scorer)
    (found,) = await desk.turn(request, ["filters"], 1, work)
    hits = [
        {
            "image": hit.image,
            "cosine": hit.cosine,
            "percentile": hit.percentile,
            "probability": hit.prob,
            "record": hit.record,
        }
        for hit in found.hits
    ]
    told_of = {"images": found.images, "passed": found.passed, "data": hits}
    return answer({"model": embedder.name, "collection": collection, **told_of}, headers)


def _query(asked: SearchRequest) -> Query:
    """The question of a request; Refused where it cannot be asked."""
    given = [] if asked.text is None else [checked_text(asked.text, "text")]
    against = [checked_text(text, f"not[{index}]") for index, text in enumerate(asked.not_)]
    if not given and asked.image is None and asked.like is None and not against:
        raise Refused(400, "found neither text nor image, expected one or both", "text")
    try:
        read_filters(asked.filters)
    except DataError as error:
        raise Refused(400, f"filters.{error}", "filters") from error
    images, like = ([] if it is None else [it] for it in (asked.image, asked.like))
    try:
        query = read_query(
            given, not_=against, images=images, like=like, where=asked.filters, k=asked.k,
            min_cosine=asked.min_cosine, truncate=asked.truncate,
        )  # fmt: skip
    except DataError as error:
        raise Refused(400, str(error), "text") from error
    if not (given and images):
        return query
    shares = {"text": 1 - asked.image_weight, "image": asked.image_weight, "like": 1.0}
    weighed = [replace(term, weight=term.weight * shares[term.kind]) for term in query.terms]
    return replace(query, terms=tuple(term for term in weighed if term.weight))


def answer(content: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    """JSON, arrays included."""
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY, default=str)
    return Response(body, headers=headers, media_type="application/json")
