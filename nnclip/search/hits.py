"""What a query found."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Hit:
    """An image that was found.

    Attributes:
        record: what is known of it.
        cosine: with what was asked.
        percentile: how many per cent of the collection's other images fit less well; None where it
            has one image.
        prob: how likely it is meant, by the model's loss.
    """

    record: Any
    cosine: float
    percentile: float | None
    prob: float

    @property
    def image(self) -> Any:
        """Its name, or its whole record where that has none."""
        named = isinstance(self.record, dict) and "image" in self.record
        return self.record["image"] if named else self.record


@dataclass(frozen=True)
class Answer:
    """What a query found.

    Attributes:
        hits: the best first.
        images: how many the collection has.
        passed: how many of them pass the filters.
        silent: fields that filters look at -> how many images say nothing there.
    """

    hits: list[Hit]
    images: int
    passed: int
    silent: dict[str, int] = field(default_factory=dict)


def as_dicts(answer: Answer) -> list[dict[str, Any]]:
    """The hits as `ImageSearch.search` gives them."""
    return [
        {
            "image": hit.image,
            "prob": hit.prob,
            "cosine": hit.cosine,
            "percentile": hit.percentile,
        }
        for hit in answer.hits
    ]
