"""What is asked of a collection: one object, however it was written.

A text may hold several terms with weights: `beach:1 sunset:0.5 people:-0.4`. A weight stands behind
a colon, at the end or before a blank; behind a digit (`16:9`) a colon is part of the text. A sign
before a letter begins a term as well: `beach +a warm sunset -people`.

Axes: T terms, E embedding.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnclip.errors import ConfigError, DataError
from nnclip.json_text import brief
from nnclip.search.filters import Filter, read_filters

K = 10
AGAINST = -0.5  # weight of what images should not show: what they should show decides
HEAVIEST = 100.0
_SMALLEST = 1e-4  # length of the terms' sum, below which it has no direction
_WEIGHTED = re.compile(r"(.*?[^\s\d:]):([+-]?(?:\d{1,3}(?:\.\d+)?|\.\d+))(?=\s|$)\s*", re.DOTALL)
_SIGNED = re.compile(r"(?:^|(?<=\s))([+-])(?=[^\W\d_])")  # not in "t-shirt", "- ", "-20"


@dataclass(frozen=True)
class Term:
    """Something that images should be like, or unlike.

    Attributes:
        kind: "text"; "image", which is embedded; "like", an image of the collection, which is not
            found itself.
        value: the text or the image.
        weight: of its embedding; below 0: unlike.
    """

    kind: str
    value: Any
    weight: float = 1.0


@dataclass(frozen=True)
class Query:
    """A question.

    Attributes:
        terms: at least one of them with a weight above 0.
        where: filters, all of which an image passes.
        k: how many images, at most.
        min_cosine: images below it are not found; None for no bound.
        truncate: whether texts that are longer than the model reads are cut; else they are errors.
    """

    terms: tuple[Term, ...]
    where: tuple[Filter, ...] = ()
    k: int = K
    min_cosine: float | None = None
    truncate: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.k, int) or isinstance(self.k, bool) or self.k < 1:
            raise ConfigError(f"k {self.k!r:.40}: expected at least 1")
        if self.min_cosine is not None and not -1 <= self.min_cosine <= 1:
            raise ConfigError(f"min_cosine {self.min_cosine}: expected -1 to 1")
        for term in self.terms:
            if not 0 < abs(term.weight) <= HEAVIEST:
                raise DataError(
                    f"{brief(term.value)}: found the weight {term.weight:g}, expected a number "
                    f"from -{HEAVIEST:g} to {HEAVIEST:g} that is not 0"
                )
        if self.terms and all(term.weight < 0 for term in self.terms):
            raise DataError(
                "found only what images should not show, expected also what they should show"
            )

    def of(self, kind: str) -> list[Any]:
        """The values of a kind of term, in their order."""
        return [term.value for term in self.terms if term.kind == kind]

    def combined(self, rows: Mapping[str, Sequence[np.ndarray]]) -> np.ndarray:
        """The direction that is asked for.

        Args:
            rows: kind of term -> (E,) of unit length for each of its values, in their order.

        Returns:
            (E,) float32 of unit length: the sum of the terms' embeddings times their weights.

        Raises:
            DataError: the terms cancel out.
        """
        left = {kind: iter(found) for kind, found in rows.items()}
        parts = [np.float32(term.weight) * next(left[term.kind]) for term in self.terms]
        total_E = np.sum(parts, axis=0, dtype=np.float32)
        length = float(np.linalg.norm(total_E))
        if length < _SMALLEST:
            raise DataError("found terms that cancel out, expected other weights")
        found: np.ndarray = total_E / np.float32(length)
        return found


def read_query(
    text: str | Sequence[str] = (),
    *,
    not_: str | Sequence[str] = (),
    images: Sequence[Any] = (),
    like: Sequence[Any] = (),
    terms: Sequence[Term] = (),
    where: Mapping[str, Any] | None = None,
    k: int = K,
    min_cosine: float | None = None,
    truncate: bool = False,
) -> Query:
    """The question that a command, a program, the page or a request asks.

    Args:
        text: what images should show, with weights or without; several texts count together.
        not_: what they should not show; a weight says how much.
        images: that they should be like.
        like: images of the collection that they should be like.
        terms: more of them.
        where: filters, see `nnclip.search.filters`.
        k: see `Query`.
        min_cosine: see `Query`.
        truncate: see `Query`.

    Raises:
        DataError: nothing to look for, an empty text, or what `read_filters` refuses.
        ConfigError: k or min_cosine cannot be.
    """
    found = [term for it in _listed(text) for term in read_terms(it)]
    found += [against for it in _listed(not_) for against in _against(it)]
    found += [Term("image", image) for image in images] + [Term("like", image) for image in like]
    found += terms
    if not found:
        raise DataError("found an empty query, expected a text or an image")
    return Query(tuple(found), read_filters(where or {}), k, min_cosine, truncate)


def read_terms(text: str) -> list[Term]:
    """The terms of a text; one with the weight 1 where it names no weight.

    >>> [(term.value, term.weight) for term in read_terms("a beach:1 people:-0.4")]
    [('a beach', 1.0), ('people', -0.4)]
    >>> [(term.value, term.weight) for term in read_terms("a beach -people")]
    [('a beach', 1.0), ('people', -0.5)]

    Raises:
        DataError: it is empty.
    """
    if not text.strip():
        raise DataError("found an empty query, expected a text")
    found, at = list[Term](), 0
    while match := _WEIGHTED.match(text, at):
        found += _signed(match[1].strip(), float(match[2]))
        at = match.end()
    if rest := text[at:].strip() if found else text:
        found += _signed(rest)
    return found


def _signed(text: str, weight: float | None = None) -> list[Term]:
    """The terms of a text that signs divide; a weight is the last one's."""
    first, *rest = _SIGNED.split(text)
    if not rest:
        return [Term("text", text, 1.0 if weight is None else weight)]
    values = [("+", first), *zip(rest[::2], rest[1::2], strict=True)]
    terms = [(sign, value.strip()) for sign, value in values if value.strip()]
    weights: list[float | None] = [*[None] * (len(terms) - 1), weight]
    return [_term(*term, given) for term, given in zip(terms, weights, strict=True)]


def _term(sign: str, value: str, weight: float | None) -> Term:
    if weight is None:
        return Term("text", value, AGAINST if sign == "-" else 1.0)
    return Term("text", value, -abs(weight) if sign == "-" else weight)


def _against(text: str) -> list[Term]:
    terms = read_terms(text)
    plain = len(terms) == 1 and terms[0].value == text
    return [Term("text", it.value, AGAINST if plain else -abs(it.weight)) for it in terms]


def _listed(texts: str | Sequence[str]) -> Sequence[str]:
    return (texts,) if isinstance(texts, str) else texts
