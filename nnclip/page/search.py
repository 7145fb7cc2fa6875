"""The tab that finds images: by words, by an image, by an image of the collection, by filters."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from nnclip.errors import DataError, NnclipError
from nnclip.page import rendering
from nnclip.page.events import File, image_files
from nnclip.page.hits import MOST, Asked, coming, found
from nnclip.page.presets import Example, ideas
from nnclip.service import values
from nnclip.service.answers import named
from nnclip.service.embedded import AnyCollection
from nnclip.service.embedder import Embedder
from nnclip.service.images import Place
from nnclip.service.model_pool import ModelPool
from nnclip.service.photos import Photos
from nnclip.service.searched import Found, Wanted

PAGE = 24  # hits that come at once
IDEAS_SHOWN = 20
LEAST = -1  # every cosine
EMPTY = "Describe an image to find it, or open one to find others like it."
GALLERY = Path(__file__).with_name("gallery.js").read_text(encoding="utf-8")
# key of a filter -> what the page calls it, and an example
FILTERS = {
    "under": ("Below folder", "2019/summer"),
    "after": ("Taken since", "2019-07"),
    "before": ("Taken before", "2020"),
    "camera": ("Camera", "canon"),
}


@dataclass(frozen=True)
class SearchTab:
    """What other parts of the page read or set."""

    query: gr.Textbox
    collection: gr.Dropdown
    filters: dict[str, gr.Textbox]
    least: gr.Slider
    fold: gr.Accordion  # around filters and least


def search_tab(
    page: gr.Blocks,
    pool: ModelPool,
    model: gr.Dropdown,
    collections: Sequence[AnyCollection],
    photos: Photos,
    examples: list[Example],
) -> SearchTab:
    """Draw the tab and connect it."""
    by_name = {c.name: c for c in collections}
    query, collection = _questions(by_name)
    with gr.Row(equal_height=False):
        image, (fold, filters, least) = _image(), _filters()
    like = gr.Textbox("", label="Like", visible="hidden")  # a token
    known = gr.HTML(rendering.languages(pool.languages()), elem_id="languages", render=False)
    _ideas(pool, model, query, known)
    hits = gr.HTML("", elem_id="hits", js_on_load=GALLERY, padding=False)
    following = gr.HTML("", elem_id="coming", padding=False)
    known.render()
    gr.HTML('<p id="fonts" class="aside"></p>', padding=False)
    ask = _asker(pool, by_name, photos)
    captions: dict[Place, str] = {e.path: e.caption for e in examples}

    def show(*given: Any) -> str:
        try:
            asked = ask(*given)
            return found(asked, photos, captions)
        except NnclipError as error:
            return rendering.notice(str(error), "problem")

    def more(event: gr.EventData, *given: Any) -> str:
        data = event._data if isinstance(event._data, dict) else {}
        start = values.index(data.get("start"), "start", MOST)
        return coming(ask(*given, start=start), photos, captions)

    def alike(event: gr.EventData) -> str:
        token = event._data.get("token") if isinstance(event._data, dict) else None
        if token != "":
            photos.find(token)
        return token or ""

    inputs = [query, image, like, collection, *filters.values(), least, model]
    quietly = {"preprocess": False, "api_visibility": "private"}
    changed = [part.change for part in inputs]
    gr.on(
        [page.load, query.submit, *changed], show, inputs, hits, trigger_mode="always_last",
        show_progress_on=hits, **quietly,
    )  # fmt: skip
    hits.input(more, inputs, following, show_progress="hidden", **quietly)
    hits.select(alike, None, like, show_progress="hidden", **quietly)
    collection.change(lambda: "", None, like, show_progress="hidden", **quietly)
    return SearchTab(query, collection, filters, least, fold)


def _asker(
    pool: ModelPool, by_name: Mapping[str, AnyCollection], photos: Photos
) -> Callable[..., Asked]:
    """What turns the values of the tab into a question and asks it."""

    def ask(
        text: str, image: File | None, like: str, name: str, *rest: Any, start: int = 0
    ) -> Asked:
        *given, least, model = rest
        collection = named(by_name, name)
        liked = photos.find(like) if like else None
        if liked and liked.collection is not collection:
            raise DataError("found an image of another collection, expected one of this")
        where = {key: it.strip() for key, it in zip(FILTERS, given, strict=True) if it.strip()}
        files = image_files(image, None)
        wanted = Wanted(
            text,
            files[0] if files else None,
            liked.hit.image if liked else "",
            where,
            least if least > LEAST else None,
            start,
            min(PAGE, MOST - start),
        )
        embedder = pool.get(model)
        answer = _found(collection, embedder, wanted)
        told = repr((text, files, like, name, rest)).encode("utf-8", "surrogatepass")
        question = hashlib.blake2b(told, digest_size=8).hexdigest()
        sentence = collection.progress(embedder)
        if not wanted.terms and not where:
            sentence = EMPTY
        remark = embedder.remark if wanted.terms else ""
        return Asked(wanted, collection, answer, like, question, sentence, remark)

    return ask


def _found(collection: AnyCollection, embedder: Embedder, wanted: Wanted) -> Found:
    """The answer; an error names a filter as the page does."""
    try:
        return collection.find(embedder, wanted)
    except DataError as error:
        key, colon, rest = str(error).partition(":")
        if key not in FILTERS:
            raise
        raise DataError(FILTERS[key][0] + colon + rest) from error


def _questions(by_name: Mapping[str, AnyCollection]) -> tuple[gr.Textbox, gr.Dropdown]:
    with gr.Row(equal_height=True):
        query = gr.Textbox(
            label="What to look for",
            value="",
            placeholder="a beach -people",
            elem_id="query",
            scale=5,
            max_lines=1,
        )
        collection = gr.Dropdown(
            list(by_name), value=next(iter(by_name), ""), label="Images", scale=2, min_width=160
        )
    return query, collection


def _image() -> gr.Image:
    with gr.Accordion("With an image", open=False, elem_id="with-image"):
        return gr.Image(
            type="filepath",
            label="An image like these",
            sources=["upload", "clipboard"],
            height=170,
            elem_id="query-image",
            buttons=[],
        )


def _filters() -> tuple[gr.Accordion, dict[str, gr.Textbox], gr.Slider]:
    """Folder, dates and camera, as FILTERS names them, and the least cosine."""
    with gr.Accordion("Filters", open=False, elem_id="filters") as fold, gr.Row():
        texts = {
            key: gr.Textbox("", label=label, placeholder=hint, min_width=140, max_lines=1)
            for key, (label, hint) in FILTERS.items()
        }
        least = gr.Slider(LEAST, 1, LEAST, step=0.01, label="Least cosine", min_width=180)
    return fold, texts, least


def _ideas(pool: ModelPool, model: gr.Dropdown, query: gr.Textbox, known: gr.HTML) -> None:
    """Texts to click on, in the languages that the model knows; `known` says which these are."""
    spoken = pool.languages()
    chips = gr.Dataset(
        components=[query],
        samples=[[idea] for idea in ideas(spoken)],
        type="index",
        label="Ideas",
        samples_per_page=IDEAS_SHOWN,
        elem_id="ideas",
    )

    def of_model(name: str) -> tuple[gr.Dataset, str]:
        codes = pool.languages(name)
        return gr.Dataset(samples=[[idea] for idea in ideas(codes)]), rendering.languages(codes)

    def idea(number: float, name: str) -> str:
        texts = ideas(pool.languages(name))
        return texts[values.index(int(number), "Ideas", len(texts))]

    quietly = {"preprocess": False, "show_progress": "hidden", "api_visibility": "private"}
    model.change(of_model, model, [chips, known], **quietly)
    chips.click(idea, [chips, model], query, **quietly)
