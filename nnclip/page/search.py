"""The tab that finds images: by words, or by an image that is like them."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html import escape

import gradio as gr

from nnclip.errors import DataError, NnclipError
from nnclip.host import cores
from nnclip.page import rendering
from nnclip.page.events import chosen
from nnclip.page.grid import grid, grid_component
from nnclip.page.presets import Example, ideas
from nnclip.service import values
from nnclip.service.answers import named, search
from nnclip.service.collection import Hit
from nnclip.service.embedded import AnyCollection
from nnclip.service.images import ImageSource, Place, image_at
from nnclip.service.limits import MAX_HITS
from nnclip.service.model_pool import ModelPool

THUMBNAIL = 240  # pixels
AMOUNT = 12
IDEAS_SHOWN = 20
EMPTY = "Describe an image to find it, or click one to find others like it."


@dataclass(frozen=True)
class SearchTab:
    """What other parts of the page read or set."""

    query: gr.Textbox
    collection: gr.Dropdown


def search_tab(
    page: gr.Blocks,
    pool: ModelPool,
    model: gr.Dropdown,
    collections: Sequence[AnyCollection],
    examples: list[Example],
) -> SearchTab:
    """Draw the tab and connect it."""
    by_name = {c.name: c for c in collections}
    captions: dict[Place, str] = {e.path: e.caption for e in examples}
    with gr.Row(equal_height=True):
        query = gr.Textbox(
            label="What to look for",
            value="",
            placeholder="Describe an image",
            elem_id="query",
            scale=5,
            max_lines=1,
        )
        collection = gr.Dropdown(
            list(by_name), value=next(iter(by_name), ""), label="Pictures", scale=2, min_width=160
        )
        amount = gr.Slider(4, MAX_HITS, AMOUNT, step=4, label="How many", scale=2, min_width=160)
    _ideas(pool, model, query)
    hits = grid_component("", elem_id="hits")
    found = gr.State([])  # the paths that `hits` shows

    def show(query: str | Place, name: str, amount: float, model: str) -> tuple:
        try:
            collection, k = named(by_name, name), values.count(amount, "How many")
            if isinstance(query, str) and not query.strip():
                return _shown(collection.first(k), captions, EMPTY)
            embedder = pool.get(model)
            like = query if isinstance(query, str) else image_at(query)
            best = search(embedder, collection, like, k)
            return _shown(best, captions, collection.progress(embedder))
        except NnclipError as error:
            return rendering.notice(str(error), "problem"), []

    def by_picture(event: gr.EventData, paths: list, name: str, amount: float, model: str) -> tuple:
        if not paths:  # the server was started anew meanwhile
            return rendering.notice(EMPTY), []
        return show(paths[chosen(event, len(paths))], name, amount, model)

    inputs, outputs = [query, collection, amount, model], [hits, found]
    options = {"preprocess": False, "show_progress_on": hits, "api_visibility": "private"}
    gr.on(
        [page.load, query.submit, query.change, collection.change, amount.release, model.change],
        show, inputs, outputs, trigger_mode="always_last", **options,
    )  # fmt: skip
    hits.select(by_picture, [found, collection, amount, model], outputs, **options)
    return SearchTab(query, collection)


def _ideas(pool: ModelPool, model: gr.Dropdown, query: gr.Textbox) -> None:
    """Texts to click on, in the languages that the model knows, and which these are."""
    spoken = pool.languages()
    chips = gr.Dataset(
        components=[query],
        samples=[[idea] for idea in ideas(spoken)],
        type="index",
        label="Ideas",
        samples_per_page=IDEAS_SHOWN,
    )
    known = gr.HTML(rendering.languages(spoken), elem_id="languages")

    def of_model(name: str) -> tuple[gr.Dataset, str]:
        codes = pool.languages(name)
        return gr.Dataset(samples=[[idea] for idea in ideas(codes)]), rendering.languages(codes)

    def idea(number: float, name: str) -> str:
        texts = ideas(pool.languages(name))
        return texts[values.index(int(number), "Ideas", len(texts))]

    quietly = {"preprocess": False, "show_progress": "hidden", "api_visibility": "private"}
    model.change(of_model, model, [chips, known], **quietly)
    chips.click(idea, [chips, model], query, **quietly)


def _opened(hit: Hit) -> ImageSource | None:
    """The image of a hit, its thumbnail made; None if it is gone, or was changed, meanwhile."""
    try:
        image = image_at(hit.path)
        rendering.thumbnail(image, THUMBNAIL)
        return image
    except DataError:
        return None


def _shown(
    hits: Sequence[Hit], captions: Mapping[Place, str], sentence: str
) -> tuple[str, list[Place]]:
    """A sentence and the grid, with the cosine below each image; and the paths that it shows."""
    images, places = [], list[Place]()
    with ThreadPoolExecutor(cores()) as pool:
        opened = list(pool.map(_opened, hits))
    for hit, image in zip(hits, opened, strict=True):
        if image is not None:
            score = "" if hit.score is None else f"{hit.score:.3f}"
            places.append(hit.path)
            images.append((image, captions.get(hit.path, hit.name), score))
    above = f'<p class="aside">{escape(sentence)}</p>' if sentence else ""
    html = above + grid(images, "Images, best first", THUMBNAIL, "More like this:")
    return html, places
