"""The one way from a request to a model: its name, its turn, its deadline.

Axes: N images, M texts, E embedding.
"""

import asyncio
import logging
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from fastapi import Request

from nnclip.embeddings import unit
from nnclip.errors import ConfigError, DataError, NnclipError
from nnclip.explain.dense import DENSE
from nnclip.image import USUAL_DECODING, Decoding
from nnclip.serve.faults import Refused
from nnclip.serve.inputs import Images
from nnclip.serve.metrics import Metrics
from nnclip.service.embedder import Embedder
from nnclip.service.images import ImageBytes, open_checked
from nnclip.service.limits import ANSWER_SECONDS
from nnclip.service.model_pool import ModelPool
from nnclip.service.turns import BusyError, Turns, Work

logger = logging.getLogger(__name__)

FETCHING = 16  # threads that fetch addresses
LOADING_SECONDS = 2  # after which a client asks again for a model that is being loaded
ROW = re.compile(r"^text \d+ ")  # how a tokenizer calls a text among others
IMAGES, TEXTS = 8, 32  # inputs of one request that are worked on at once
LARGEST = 1024  # pixels of the longer side of an image that is cut into regions
GRADIENTS = 4  # maps, each of which takes some three answers


@dataclass(frozen=True)
class Texts:
    """Texts that were embedded.

    Attributes:
        rows: (M, E) float32.
        tokens: token ids of all of them.
        truncated: how many were cut.
    """

    rows: np.ndarray
    tokens: int
    truncated: int

    @property
    def headers(self) -> dict[str, str]:
        """What an answer says of texts that were cut."""
        return {"x-nnclip-truncated": str(self.truncated)} if self.truncated else {}


class _OneFails(Exception):  # noqa: N818 - says which input
    """An input that cannot be embedded."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index


class Desk:
    """Answers for all APIs.

    Attributes:
        pool: the models.
        images: reads those of requests.
        metrics: what is counted.
        turns: the queue.
        prepared: whether all that was named at the start is loaded.
        closing: whether the server ends.
    """

    def __init__(self, pool: ModelPool, metrics: Metrics, allow_urls: bool = False) -> None:
        """Load nothing yet: `load` does, when a model is first asked for."""
        self.pool, self.metrics, self.turns = pool, metrics, Turns()
        self._fetching = ThreadPoolExecutor(FETCHING, "nnclip-fetching")
        self._loader = ThreadPoolExecutor(1, "nnclip-loading")
        self.images = Images(allow_urls, self._fetching)
        self.prepared = self.closing = False
        self._loads: dict[str, asyncio.Future[Embedder]] = {}

    def load(self, name: str) -> "asyncio.Future[Embedder]":
        """Begin to load a model and to compile it, once; ConfigError if there is none such."""
        there = self.pool.loaded(name)
        loading = self._loads.get(name)
        if loading and (not loading.done() or (there and loading.exception() is None)):
            return loading
        loop = asyncio.get_running_loop()
        self._loads[name] = loading = loop.run_in_executor(self._loader, self._loaded, name)
        return loading

    def _loaded(self, name: str) -> Embedder:
        embedder = self.pool.get(name)
        embedder.warm()
        return embedder

    def model(self, name: str | None) -> Embedder:
        """A model, ready to answer.

        Raises:
            Refused: 404 if there is none of that name, with those that there are; 503 while it is
                being loaded; 500 if it cannot be.
        """
        name = name or self.pool.names[0]
        try:
            loading = self.load(name)
        except ConfigError as error:
            raise Refused(404, str(error), "model", "model_not_found") from error
        if not loading.done():
            raise Refused(
                503, f"the model {name} is being loaded: ask again in {LOADING_SECONDS} s",
                "model", "model_loading", LOADING_SECONDS,
            )  # fmt: skip
        if failed := loading.exception():
            reason = str(failed) if isinstance(failed, NnclipError) else "the log says why"
            raise Refused(500, f"the model {name} cannot be loaded: {reason}", "model")
        return loading.result()

    async def embed_images(
        self,
        request: Request,
        embedder: Embedder,
        images: Sequence[ImageBytes],
        names: Sequence[str],
        normalise: bool = True,
        decoding: Decoding = USUAL_DECODING,
    ) -> np.ndarray:
        """(N, E) float32 of unit length, or features as they are without `normalise`.

        `decoding` says how files are read: for searching, as the collection's were.

        Raises:
            Refused: one of the inputs, called as in `names`, is no image; there is no time or room.
        """
        work = partial(_piece, partial(embedder.image_features, decoding=decoding), images)
        rows = await self.turn(request, names, IMAGES, work)
        return _rows(rows, normalise)

    async def embed_texts(
        self,
        request: Request,
        embedder: Embedder,
        texts: Sequence[str],
        names: Sequence[str],
        truncate: bool = False,
        normalise: bool = True,
    ) -> Texts:
        """The same for texts; those that are too long are refused, or cut with `truncate`."""
        work = partial(_piece, partial(_text_rows, embedder, truncate=truncate), texts)
        found = await self.turn(request, names, TEXTS, work)
        cut = sum(was_cut for _, _, was_cut in found)
        if cut:
            self.metrics.truncated(cut)
        rows = _rows([features for features, _, _ in found], normalise)
        return Texts(rows, sum(tokens for _, tokens, _ in found), cut)

    async def maps(
        self,
        request: Request,
        embedder: Embedder,
        image: ImageBytes,
        texts_ME: np.ndarray,
        method: str,
    ) -> np.ndarray:
        """(M, G, G): where in an image texts are found, see `CLIP.explain`.

        Raises:
            Refused: the input `image` is none; the model has no such maps; there is no time or
                room.
        """

        def work(start: int, stop: int) -> list[np.ndarray]:
            preprocess = embedder.model.config.image.preprocess
            with _of_image(), open_checked(image, preprocess) as opened:
                rows_ME = texts_ME[start:stop]
                return list(embedder.model.explain_embeddings(opened, rows_ME, method))

        names = ["image"] * len(texts_ME)
        piece = len(names) if method in DENSE else GRADIENTS
        return np.stack(await self.turn(request, names, piece, work))

    async def regions(
        self, request: Request, embedder: Embedder, image: ImageBytes, texts_ME: np.ndarray
    ) -> np.ndarray:
        """(H, W): the number of each pixel's text, see `CLIP.segment`; Refused as for `maps`.

        The longer side of the image has at most LARGEST pixels then.
        """

        def work(_start: int, _stop: int) -> list[np.ndarray]:
            with _of_image(), open_checked(image, longest=LARGEST) as opened:
                opened.thumbnail((LARGEST, LARGEST))
                return [embedder.model.segment_embeddings(opened, texts_ME)]

        return np.asarray((await self.turn(request, ["image"], 1, work))[0])

    async def turn(
        self, request: Request, names: Sequence[str], piece: int, work: Work
    ) -> list[Any]:
        """Wait for a request's turns and their values; `names` are its inputs', for errors."""
        count = len(names)
        client = request.client.host if request.client else ""
        began = time.perf_counter()
        try:
            future = asyncio.wrap_future(self.turns.submit(client, count, piece, work))
            found = await asyncio.wait_for(future, ANSWER_SECONDS)
        except BusyError as error:
            status = 429 if error.greedy else 503
            raise Refused(status, str(error), seconds=error.seconds) from error
        except asyncio.TimeoutError as error:
            raise Refused(
                503, f"found no answer within {ANSWER_SECONDS:.0f} s: ask again, or for less at "
                "once", code="timeout", seconds=1,
            ) from error  # fmt: skip
        except _OneFails as error:
            name = names[error.index]
            raise Refused(400, f"{name}: {error}", name) from error
        self.metrics.observe("wait", count, time.perf_counter() - began)
        return found


@contextmanager
def _of_image() -> Iterator[None]:
    """What cannot be done inside is said of the first input."""
    try:
        yield
    except (DataError, ConfigError) as error:
        raise _OneFails(0, str(error)) from error


def _piece(embed: Any, inputs: Sequence[Any], start: int, stop: int) -> list[Any]:
    """Values of some inputs; where they fail together, the first that fails alone is named."""
    try:
        return list(embed(inputs[start:stop]))
    except DataError:
        found = []
        for index in range(start, stop):
            try:
                found += list(embed(inputs[index : index + 1]))
            except DataError as error:
                raise _OneFails(index, ROW.sub("the text ", str(error))) from error
        return found


def _text_rows(
    embedder: Embedder, texts: Sequence[str], truncate: bool
) -> list[tuple[np.ndarray, int, bool]]:
    """Features, token ids and whether it was cut, of each text."""
    if not truncate:
        return [(row, tokens, False) for row, tokens in embedder.text_features(texts)]
    rows = embedder.text_features(texts, truncate=True)
    full = embedder.model.config.text.context
    return [
        (row, tokens, tokens >= full and _too_long(embedder, text))
        for (row, tokens), text in zip(rows, texts, strict=True)
    ]


def _too_long(embedder: Embedder, text: str) -> bool:
    try:
        embedder.model.tokenize([text])
    except DataError:
        return True
    return False


def _rows(features: Sequence[np.ndarray], normalise: bool) -> np.ndarray:
    rows_NE = np.stack(features)
    return unit(rows_NE) if normalise else rows_NE
