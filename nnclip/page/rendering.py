"""Answers as HTML: bars, a heat strip, a matrix. All text is escaped here and only here."""

import base64
import io
import re
from collections.abc import Callable, Sequence
from html import escape

import numpy as np
from PIL import Image

from nnclip.service.answers import Answer
from nnclip.service.images import ImageSource, open_checked
from nnclip.service.languages import ENGLISH_NAMES, NAMES
from nnclip.service.lru_cache import LRUCache

SHOWN = 24  # bars
COLUMNS = 12  # of the heat strip
THUMBNAIL = 96  # pixels
COMMAS = r"[,;|、，؛،]"
_thumbnails: LRUCache[str] = LRUCache(2048)


def notice(sentence: str, kind: str = "empty") -> str:
    """A panel that says one sentence; `kind` is "empty" or "problem"."""
    role = ' role="alert"' if kind == "problem" else ""
    return f'<div class="notice {kind}"{role}><p>{escape(_capital(sentence))}</p></div>'


def aside(sentence: str) -> str:
    """A remark; nothing for an empty one."""
    return sentence and f'<p class="aside">{escape(_capital(sentence))}</p>'


def remark(sentence: str) -> str:
    """What to know of a model beside its answer; the owner is told where others are."""
    if not sentence:
        return ""
    return (
        f'<p class="remark">{escape(sentence)}<span class="owners"> “Other models”, above, has '
        "some that know photographs.</span></p>"
    )


def best_first(answer: Answer) -> np.ndarray:
    """The categories of the first image whose bars are shown, by their numbers."""
    return np.argsort(-answer.probabilities[0], kind="stable")[:SHOWN]


def bars(answer: Answer, title: str = "", note: str = "", chosen: bool = False) -> str:
    """The probabilities for the first image, best first, and a note: else how long it took.

    With `chosen`, bars are buttons that choose what `where` shows; the best is chosen first.
    """
    texts = answer.categories
    order = np.argsort(-answer.probabilities[0], kind="stable")
    shares = np.zeros(len(texts)) if answer.empty else answer.probabilities[0]
    rows = "".join(
        f'<li style="--p:{shares[i]:.4f}">{_button(place) if chosen else "<div>"}'
        f'<span class="text" dir="auto">{escape(texts[i])}</span>'
        f'<span class="value">{_value(answer, i)}</span>'
        f"{'</button>' if chosen else '</div>'}</li>"
        for place, i in enumerate(order[:SHOWN])
    )
    more = len(texts) - SHOWN
    rest = answer.probabilities[0, order[SHOWN:]].max(initial=0)
    tail = f"{more:,} more, each {_percent(rest)} at most. " if more > 0 else ""
    heading = f"<h3>{escape(title)}</h3>" if title else ""
    return (
        f'<div class="answer">{heading}{remark(answer.remark)}{_caution(answer)}'
        f'<ol class="bars" aria-label="Probabilities">{rows}</ol>'
        f'<p class="aside">{tail}{escape(note) or _taken(answer)}</p></div>'
    )


def _button(place: int) -> str:
    pressed = "false" if place else "true"
    return f'<button type="button" data-place="{place}" aria-pressed="{pressed}">'


def where(view: Image.Image, maps: Sequence[Image.Image], texts: Sequence[str]) -> str:
    """The square that a model sees, below a map for each of some texts; one is shown."""
    layers = "".join(
        f'<img src="{data_url(layer)}" alt="" data-place="{place}"{" hidden" if place else ""}>'
        for place, layer in enumerate(maps)
    )
    return (
        f'<figure class="where"><div class="layers"><img src="{data_url(view)}" '
        f'alt="What the model sees of the image">{layers}</div><figcaption>'
        f'<p>Where it sees <strong dir="auto" aria-live="polite">{escape(texts[0])}</strong></p>'
        '<p class="scale"><span>least</span><i></i><span>most</span></p>'
        '<p class="aside">Point at another category, or tap it. Each map has its own scale: it '
        "tells where, not how well.</p></figcaption></figure>"
    )


def strip(answer: Answer, images: Sequence[ImageSource]) -> str:
    """One row per image, one column per text, coloured by probability."""
    texts = answer.categories
    columns = np.sort(np.argsort(-answer.probabilities.max(axis=0), kind="stable")[:COLUMNS])
    table = heat_table(
        [thumbnail(image) for image in images],
        [f"image {index + 1}" for index in range(len(images))],
        [texts[i] for i in columns],
        answer.cosines if answer.empty else answer.probabilities[:, columns],
        decimals(3) if answer.empty else _percent,
    )
    more = len(texts) - len(columns)
    tail = f"The {len(columns)} strongest of {len(texts):,} categories. " if more else ""
    below = f'<p class="aside">{tail}{_taken(answer)}</p>'
    return f'<div class="answer">{remark(answer.remark)}{_caution(answer)}{table}{below}</div>'


def heat_table(
    pictures: Sequence[str],
    names: Sequence[str],
    texts: Sequence[str],
    values_NM: np.ndarray,
    form: Callable[[float], str] | None = None,
) -> str:
    """A table of numbers whose background shows how large they are within the table.

    Args:
        images: the source of an <img> for each row.
        names: what a screen reader calls it.
        texts: the columns.
        values_NM: (N, M).
        form: number -> text; two digits if None.
    """
    form = form or decimals(2)
    low, high = float(values_NM.min()), float(values_NM.max())
    span = high - low or 1.0
    head = "".join(f'<th scope="col"><span dir="auto">{escape(text)}</span></th>' for text in texts)
    body = "".join(
        f'<tr><th scope="row"><img src="{picture}" alt="{escape(name)}"></th>'
        + "".join(
            f'<td style="--p:{(value - low) / span:.3f}"'
            f"{_strong((value - low) / span)}>{form(value)}</td>"
            for value in row
        )
        + "</tr>"
        for picture, name, row in zip(pictures, names, values_NM, strict=True)
    )
    return (
        '<div class="scroller" tabindex="0" role="region" aria-label="Table of images and texts">'
        f'<table class="heat"><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody>'
        "</table></div>"
    )


def thumbnail(image: ImageSource, size: int = THUMBNAIL) -> str:
    """A small image as a data address for an <img>, so that no folder has to be served."""

    def compute(_: list[int]) -> list[str]:
        opened = open_checked(image, longest=size).convert("RGB")
        opened.thumbnail((size, size))
        return [data_url(opened)]

    return _thumbnails.get([(image.key, size)], compute)[0]


def data_url(image: Image.Image) -> str:
    """An image as the source of an <img>."""
    file = io.BytesIO()
    image.save(file, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def decimals(digits: int) -> Callable[[float], str]:
    """What writes a number with so many digits after the point; zero has no sign."""
    return lambda value: f"{round(value, digits) + 0.0:.{digits}f}"


def beside(image: ImageSource, sentence: str) -> str:
    """A small image and a sentence about it."""
    return (
        f'<div class="beside"><img src="{thumbnail(image)}" alt="The image">'
        f"<p>{escape(sentence)}</p></div>"
    )


def languages(codes: Sequence[str]) -> str:
    """In which languages to ask; "" if that is not known."""
    names = [
        f'<span lang="{escape(code)}" dir="auto" data-name="{ENGLISH_NAMES.get(code, "")}">'
        f"{escape(NAMES.get(code, code))}</span>"
        for code in codes
    ]
    return f'<p class="aside">This model understands {", ".join(names)}.</p>' if names else ""


def _caution(answer: Answer) -> str:
    """What is amiss with the categories."""
    said = []
    if answer.empty:
        several = len(re.findall(COMMAS, answer.categories[0])) > 0
        said.append(
            "This is one category: put each on a line of its own."
            if several
            else "One category alone would have 100 %, whatever it is: add others, one per line."
        )
    if answer.left_out:
        named = [f"“{text[:40]}…” ({tokens:,})" for text, tokens in answer.left_out.items()]
        more = f" and {len(named) - 3:,} more" if len(named) > 3 else ""
        said.append(
            f"Left out, because the model reads at most {answer.most} tokens: "
            f"{', '.join(named[:3])}{more}."
        )
    return aside(" ".join(said))


def _value(answer: Answer, place: int) -> str:
    """What stands at the end of a bar."""
    if answer.empty:
        return f"cosine {answer.cosines[0, place]:.3f}"
    return _percent(answer.probabilities[0, place])


def _percent(value: float) -> str:
    if value < 0.0005:
        return "0 %"
    return f"{100 * value:.1f} %"


def _strong(share: float) -> str:
    return ' class="strong"' if share > 0.55 else ""


def _taken(answer: Answer) -> str:
    return f"Computed in {max(1, round(1000 * answer.seconds))} ms."


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
