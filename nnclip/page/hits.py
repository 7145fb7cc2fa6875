"""The hits of a search as HTML; gallery.js beside this file makes them move."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from nnclip.errors import DataError
from nnclip.page.rendering import aside, remark
from nnclip.service.embedded import AnyCollection
from nnclip.service.images import Place, image_at
from nnclip.service.photos import SMALL, Photos
from nnclip.service.searched import Found, Hit, Wanted

MOST = 2400  # hits of one question
_SAID = {"taken": "a date", "camera": "a camera"}  # field -> what images lack that say nothing


@dataclass(frozen=True)
class Asked:
    """A question, and its answer.

    Attributes:
        wanted: the question.
        collection: where was looked.
        found: the answer.
        liked: the token of the image that the others should be like, "" for none.
        question: what tells it from other questions, wherever it starts.
        sentence: how far the collection was read, or what can be done here.
        remark: on the model.
    """

    wanted: Wanted
    collection: AnyCollection
    found: Found
    liked: str
    question: str
    sentence: str
    remark: str = ""

    @property
    def next(self) -> int | None:
        """Where the hits after these start; None if there are none."""
        whole = len(self.found.hits) == self.wanted.k and self.wanted.stop < MOST
        return self.wanted.stop if whole else None


def found(asked: Asked, photos: Photos, captions: Mapping[Place, str]) -> str:
    """What was asked, the first hits, and the way to more."""
    more = (
        f'<button type="button" class="more" data-start="{asked.next}">More</button>'
        if asked.next
        else ""
    )
    tiles = _tiles(asked, photos, captions)
    empty = "" if asked.found.hits else f'<div class="notice"><p>{_nothing(asked)}</p></div>'
    said = aside(" ".join(filter(None, [asked.sentence, *_remarks(asked)])))
    return (
        f'<div class="found" data-question="{asked.question}">{remark(asked.remark)}'
        f"{_chips(asked, photos)}{said}"
        f'<ul class="grid" aria-label="Images, best first">{tiles}</ul>{empty}{more}</div>'
    )


def coming(asked: Asked, photos: Photos, captions: Mapping[Place, str]) -> str:
    """The hits after those that are shown."""
    return (
        f'<ul class="page" data-question="{asked.question}" data-start="{asked.wanted.start}" '
        f'data-next="{asked.next or ""}">{_tiles(asked, photos, captions)}</ul>'
    )


def _tiles(asked: Asked, photos: Photos, captions: Mapping[Place, str]) -> str:
    return "".join(
        _tile(asked, hit, photos, captions.get(hit.path, hit.name))
        for hit in asked.found.hits
        if _there(hit)
    )


def _there(hit: Hit) -> bool:
    """Whether the file of a hit is still there."""
    try:
        return image_at(hit.path) is not None
    except DataError:
        return False


def _tile(asked: Asked, hit: Hit, photos: Photos, name: str) -> str:
    token = photos.token(asked.collection, hit)
    score = "" if hit.score is None else f"{hit.score:.3f}"
    told = {
        "token": token,
        "name": hit.name,
        "path": photos.path(asked.collection, hit),
        "facts": _facts(hit, score),
    }
    data = " ".join(f'data-{key}="{escape(value)}"' for key, value in told.items())
    return (
        f'<li class="tile" {data}><button type="button" class="open" title="{escape(name)}" '
        f'aria-label="{escape(name)}"><img src="/photos/{token}/{SMALL}" alt="" loading="lazy">'
        f'</button><p><span>{score}</span><button type="button" class="alike" '
        f'aria-label="More like {escape(name)}">more like this</button></p></li>'
    )


def _facts(hit: Hit, score: str) -> str:
    facts = hit.facts
    size = f"{facts['width']} x {facts['height']}" if {"width", "height"} <= facts.keys() else ""
    taken = str(facts.get("taken", "")).replace("T", " ")
    parts = [taken, str(facts.get("camera", "")), size, f"cosine {score}" if score else ""]
    return " · ".join(filter(None, parts))


def _chips(asked: Asked, photos: Photos) -> str:
    """What the query was taken for, where that is more than one text; the image can be left out."""
    wanted, chips = asked.wanted, []
    if asked.liked:
        name = escape(photos.find(asked.liked).hit.name)
        chips.append(
            f'<span class="chip"><img src="/photos/{asked.liked}/{SMALL}" alt="">like '
            f'<b dir="auto">{name}</b><button type="button" class="unlike" '
            f'aria-label="Not like {name}">×</button></span>'
        )
    texts = [term for term in wanted.terms if term.kind == "text"]
    if len(texts) > 1 or (texts and len(wanted.terms) > 1):
        chips += [
            f'<span class="chip"><b dir="auto">{escape(term.value)}</b> {term.weight:+g}</span>'
            for term in texts
        ]
    return f'<p class="chips">{"".join(chips)}</p>' if chips else ""


def _remarks(asked: Asked) -> list[str]:
    answer = asked.found
    if not asked.wanted.where:
        return []
    remarks = [f"{answer.passed:,} of {answer.images:,} images pass the filters."]
    for name, count in answer.silent.items():
        if count:
            remarks.append(
                f"{count:,} images do not name {_SAID.get(name, name)}, and are left out."
            )
    return remarks


def _nothing(asked: Asked) -> str:
    answer = asked.found
    if not answer.images:
        return "The collection has no images."
    if not answer.passed:
        return "No image passes the filters."
    return "No image has such a cosine." if asked.wanted.min_cosine else "No image is found."
