"""The tab that finds pictures: by words, or by a picture that is like them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
import numpy as np

from demo import rendering
from demo.collection import Collection, Hit
from demo.embedder import Embedder
from demo.grid import grid, grid_component
from demo.limits import MAX_HITS, checked_texts
from demo.presets import Example
from demo.shelf import Shelf
from nnclip.errors import ConfigError, NnclipError

THUMBNAIL = 240  # pixels
AMOUNT = 12
EMPTY = "Describe a picture, and press Enter. Then click a picture to find others like it."
IDEAS = ("an animal on the beach", "something to eat", "a star", "under water", "a woman at work")


@dataclass(frozen=True)
class SearchTab:
    """What other parts of the page read or set."""

    query: gr.Textbox
    collection: gr.Dropdown


def search_tab(
    shelf: Shelf, model: gr.Dropdown, collections: Sequence[Collection], examples: list[Example]
) -> SearchTab:
    """Draw the tab and connect it."""
    by_name = {c.name: c for c in collections}
    captions = {e.path: e.caption for e in examples}
    with gr.Row(equal_height=True):
        query = gr.Textbox(
            label="What to look for", placeholder=IDEAS[0], elem_id="query", scale=5, max_lines=1
        )
        collection = gr.Dropdown(
            list(by_name), value=next(iter(by_name)), label="Pictures", scale=2, min_width=160
        )
        amount = gr.Slider(4, MAX_HITS, AMOUNT, step=4, label="How many", scale=2, min_width=160)
    gr.Examples([[idea] for idea in IDEAS], query, label="Ideas", api_visibility="private")
    hits = grid_component(rendering.notice(EMPTY), elem_id="hits")
    found = gr.State([])  # the paths that `hits` shows

    def show(name: str, amount: int, model: str, text: str, like: Path | None) -> tuple:
        if not text.strip() and like is None:
            return rendering.notice(EMPTY), []
        try:
            embedder = shelf.get(model)
            query_E = vector(embedder, text, like)
            best = find(by_name, embedder, name, query_E, int(amount))
        except NnclipError as error:
            return rendering.notice(str(error), "problem"), []
        return _shown(best, captions), [hit.path for hit in best]

    def by_text(text: str, name: str, amount: int, model: str) -> tuple:
        return show(name, amount, model, text, None)

    def by_picture(event: gr.EventData, paths: list, name: str, amount: int, model: str) -> tuple:
        if not 0 <= event.index < len(paths):
            return gr.skip(), gr.skip()
        return show(name, amount, model, "", paths[event.index])

    inputs, outputs = [query, collection, amount, model], [hits, found]
    options = {"show_progress": "minimal", "api_visibility": "private"}
    gr.on(
        [query.submit, query.change, collection.change, amount.release, model.change],
        by_text, inputs, outputs, trigger_mode="always_last", **options,
    )  # fmt: skip
    hits.select(by_picture, [found, collection, amount, model], outputs, **options)
    return SearchTab(query, collection)


def vector(embedder: Embedder, text: str, like: Path | None = None) -> np.ndarray:
    """(E,) float32 of unit length: the text, or the picture `like` if there is one."""
    if like is not None:
        return embedder.pictures([like])[0]
    return embedder.texts(checked_texts([text]))[0]


def find(
    collections: dict[str, Collection],
    embedder: Embedder,
    name: str,
    query_E: np.ndarray,
    amount: int,
) -> list[Hit]:
    """The best hits of the collection called `name`; ConfigError if there is none."""
    if name not in collections:
        raise ConfigError(f"found no pictures {name!r}, expected one of {', '.join(collections)}")
    return collections[name].search(embedder, query_E, max(1, min(amount, MAX_HITS)))


def _shown(hits: list[Hit], captions: dict[Path, str]) -> str:
    """The grid, with the cosine below each picture."""
    files = [
        (str(hit.path), captions.get(hit.path, hit.path.name), f"{hit.score:.3f}") for hit in hits
    ]
    return grid(files, "Pictures found, best first", THUMBNAIL, "More like this:")
