"""Where in the image a text is found: maps, by several methods. A new one is a file and a row.

    model.explain("photo.jpg", ["a dog", "a ball"])  # (2, G, G)

Axes: T texts, G places along a side, E embedding.
"""

from collections.abc import Callable
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from PIL import Image

from nnclip.engine import CompiledGraph, EmittedGraph
from nnclip.errors import ConfigError
from nnclip.explain import grad_cam, relevance
from nnclip.explain.dense import CLEARCLIP, MASKCLIP, SCLIP
from nnclip.explain.regions import Box, boxes
from nnclip.explain.segments import segment
from nnclip.explain.subject import Subject, check_one_grid, usual_resolution
from nnclip.graph.beside import text_inputs, used_columns
from nnclip.weights.model import ModelWeights

__all__ = [
    "DEFAULT",
    "METHODS",
    "Box",
    "Method",
    "Subject",
    "boxes",
    "explain",
    "explain_text",
    "segment",
    "viewed",
]

DEFAULT = MASKCLIP.name  # the best of `benchmarks/explain.py`

Maps = Callable[[Subject, Image.Image, np.ndarray, int], np.ndarray]
Ask = Callable[[CompiledGraph, np.ndarray, np.ndarray], np.ndarray]


class Method(NamedTuple):
    """A way to find where a text is.

    Attributes:
        name: of the method.
        maps: (subject, image, embeddings of texts (T, E) of unit length, resolution) -> (T, G, G).
        costs: of a map, in answers of the image tower, roughly.
        about: what it does, in a few words.
    """

    name: str
    maps: Maps
    costs: str
    about: str


def _compiled(
    name: str, emit: Callable[[ModelWeights], EmittedGraph], maps: Ask
) -> tuple[str, Maps]:
    """A method that asks one graph."""

    def asked(
        subject: Subject, image: Image.Image, text_TE: np.ndarray, resolution: int
    ) -> np.ndarray:
        graph = subject.graph(name, emit, resolution)
        return maps(graph, subject.prepared(image, resolution), text_TE)

    return name, asked


METHODS = MappingProxyType(
    {
        row.name: row
        for row in (
            Method(
                *_compiled(relevance.NAME, relevance.emit, relevance.maps),
                "2 to 3 a text",
                "attention times its gradient, through all blocks",
            ),
            Method(
                *_compiled(grad_cam.NAME, grad_cam.emit, grad_cam.maps),
                "2 a text",
                "the last places, weighted by their gradients",
            ),
            *(
                Method(*_compiled(it.name, it.emit, it.maps), "1 for all texts", about)
                for it, about in (
                    (MASKCLIP, "values of the last block without attention"),
                    (SCLIP, "the last block's queries and keys ask themselves"),
                    (CLEARCLIP, "its queries ask themselves, without shortcut and MLP"),
                )
            ),
        )
    }
)


def explain(
    subject: Subject,
    image: Image.Image,
    text_TE: np.ndarray,
    method: str,
    resolution: int | None = None,
) -> np.ndarray:
    """Where in an image texts are found.

    Args:
        subject: the model.
        image: any mode and size.
        text_TE: embeddings of texts, of unit length.
        method: a key of METHODS.
        resolution: pixels along a side that the model sees; None for its own, or so many that
            the map has `subject.LEAST_PLACES`. More gives finer maps, by interpolated positions.

    Returns: (T, G, G) float32 over the square that the model sees of the image (see
        `Preprocess`): cosines, or of the methods with gradients numbers from 0 on.

    Raises:
        ConfigError: no such method, one that the tower does not have, or a resolution that it
            cannot have.
    """
    if method not in METHODS:
        raise ConfigError(f"method {method!r}: expected one of {', '.join(METHODS)}")
    check_one_grid(subject)
    size = resolution or usual_resolution(subject.weights.config.image)
    return METHODS[method].maps(subject, image, text_TE, size)


def viewed(subject: Subject, image: Image.Image, resolution: int) -> Image.Image:
    """The square of an image that a model sees, in its colours."""
    preprocess = subject.weights.config.image.preprocess
    mean_311, std_311 = (np.reshape(t, (3, 1, 1)) for t in (preprocess.mean, preprocess.std))
    colours_3RR = subject.prepared(image, resolution)[0] * std_311 + mean_311
    levels = np.clip(colours_3RR / (preprocess.rescale or 1 / 255) + 0.5, 0, 255)
    return Image.fromarray(levels.transpose(1, 2, 0).astype(np.uint8))


def explain_text(subject: Subject, ids_1L: np.ndarray, image_1E: np.ndarray) -> np.ndarray:
    """How much each token of a text has to do with its cosine with an image.

    Args:
        subject: the model.
        ids_1L: token ids of a text, (1, context).
        image_1E: the embedding of an image, of unit length.

    Returns: (L,) float32 from 0 on, for the tokens up to the last that is no padding.
    """
    tower = subject.weights.config.text
    inputs = text_inputs(ids_1L, tower)
    graph = subject.graph("words", relevance.emit_words, subject.weights.config.image.resolution)
    found = graph(**inputs, direction=image_1E)
    row = int(inputs["end"][0].argmax()) if "end" in inputs else -1
    return relevance.rolled_out(found, row, own=False)[: used_columns(inputs, tower)[0]]
