"""The tab that finds pictures: by words, or by a picture that is like them."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import gradio as gr
import numpy as np

from nnclip.errors import ConfigError, NnclipError
from nnclip.page import rendering
from nnclip.page.grid import grid, grid_component
from nnclip.page.presets import Example, ideas
from nnclip.service.collection import Collection, Hit
from nnclip.service.embedder import Embedder
from nnclip.service.languages import sentence
from nnclip.service.limits import MAX_HITS, checked_texts
from nnclip.service.shelf import Shelf

THUMBNAIL = 240  # pixels
AMOUNT = 12
IDEAS_SHOWN = 20
EMPTY = "Describe a picture to find it, or click one to find others like it."


@dataclass(frozen=True)
class SearchTab:
    """What other parts of the page read or set."""

    query: gr.Textbox
    collection: gr.Dropdown


def search_tab(
    page: gr.Blocks,
    shelf: Shelf,
    model: gr.Dropdown,
    collections: Sequence[Collection],
    examples: list[Example],
) -> SearchTab:
    """Draw the tab and connect it."""
    by_name = {c.name: c for c in collections}
    captions = {e.path: e.caption for e in examples}
    with gr.Row(equal_height=True):
        query = gr.Textbox(
            label="What to look for",
            value="",
            placeholder="Describe a picture",
            elem_id="query",
            scale=5,
            max_lines=1,
        )
        collection = gr.Dropdown(
            list(by_name), value=next(iter(by_name), ""), label="Pictures", scale=2, min_width=160
        )
        amount = gr.Slider(4, MAX_HITS, AMOUNT, step=4, label="How many", scale=2, min_width=160)
    _ideas(shelf, model, query)
    hits = grid_component("", elem_id="hits")
    found = gr.State([])  # the paths that `hits` shows

    def show(name: str, amount: int, model: str, text: str, like: Path | None = None) -> tuple:
        try:
            collection = named(by_name, name)
            if not (text or "").strip() and like is None:
                return _shown(collection.first(amount), captions, EMPTY)
            embedder = shelf.get(model)
            best = collection.search(embedder, vector(embedder, text, like), amount)
            return _shown(best, captions, collection.progress(embedder))
        except NnclipError as error:
            return rendering.notice(str(error), "problem"), []

    def by_text(text: str, name: str, amount: float, model: str) -> tuple:
        return show(name, limited(amount), model, text)

    def by_picture(event: gr.EventData, paths: list, name: str, amount: float, model: str) -> tuple:
        if not 0 <= event.index < len(paths):  # the server was started anew meanwhile
            return rendering.notice(EMPTY), []
        return show(name, limited(amount), model, "", paths[event.index])

    inputs, outputs = [query, collection, amount, model], [hits, found]
    options = {"show_progress_on": hits, "api_visibility": "private"}
    gr.on(
        [page.load, query.submit, query.change, collection.change, amount.release, model.change],
        by_text, inputs, outputs, trigger_mode="always_last", **options,
    )  # fmt: skip
    hits.select(by_picture, [found, collection, amount, model], outputs, **options)
    return SearchTab(query, collection)


def _ideas(shelf: Shelf, model: gr.Dropdown, query: gr.Textbox) -> None:
    """Texts to click on, in the languages that the model knows, and which these are."""
    spoken = shelf.languages()
    chips = gr.Examples(
        [[idea] for idea in ideas(spoken)],
        query,
        label="Ideas",
        examples_per_page=IDEAS_SHOWN,
        api_visibility="private",
    )
    known = gr.HTML(sentence(spoken), elem_id="languages")

    def of_model(name: str) -> tuple[gr.Dataset, str]:
        codes = shelf.languages(name)
        return gr.Dataset(samples=[[idea] for idea in ideas(codes)]), sentence(codes)

    model.change(
        of_model, model, [chips.dataset, known], show_progress="hidden", api_visibility="private"
    )


def vector(embedder: Embedder, text: str, like: Path | None = None) -> np.ndarray:
    """(E,) float32 of unit length: the text, or the picture `like` if there is one."""
    if like is not None:
        return embedder.pictures([like])[0]
    return embedder.texts(checked_texts([text or ""]))[0]


def named(collections: dict[str, Collection], name: str) -> Collection:
    """The collection called `name`; ConfigError if there is none."""
    if not collections:
        raise ConfigError("found no pictures: start the page with --images and a folder of some")
    if name not in collections:
        raise ConfigError(f"found no pictures {name!r}, expected one of {', '.join(collections)}")
    return collections[name]


def limited(amount: float) -> int:
    """How many hits are shown to somebody who asks for `amount`."""
    return max(1, min(int(amount), MAX_HITS))


def _shown(hits: Sequence[Hit], captions: dict[Path, str], sentence: str) -> tuple[str, list[Path]]:
    """A sentence and the grid, with the cosine below each picture; and the paths that it shows."""
    hits = [hit for hit in hits if rendering.can_be_shown(str(hit.path))]
    files = [
        (
            str(hit.path),
            captions.get(hit.path, hit.path.name),
            "" if hit.score is None else f"{hit.score:.3f}",
        )
        for hit in hits
    ]
    above = f'<p class="aside">{escape(sentence)}</p>' if sentence else ""
    html = above + grid(files, "Pictures, best first", THUMBNAIL, "More like this:")
    return html, [hit.path for hit in hits]
