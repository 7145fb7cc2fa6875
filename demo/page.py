"""The page: a header, and one tab for each thing that can be done."""

import gradio as gr

from demo.limits import MAX_QUEUE, MAX_RUNNING
from demo.presets import examples
from demo.shelf import Shelf
from demo.theme import ICON
from demo.zero_shot import zero_shot_tab

TITLE = "nnclip"
UPLOADS_KEPT = (600, 3600)  # seconds: look every, remove what is older


def build_page(shelf: Shelf, allow_urls: bool = False) -> gr.Blocks:
    """All tabs, connected.

    Args:
        shelf: the models to choose from.
        allow_urls: whether visitors may name addresses of pictures.
    """
    with gr.Blocks(
        title=TITLE, analytics_enabled=False, delete_cache=UPLOADS_KEPT, fill_width=True
    ) as page:
        model = _header(shelf)
        with gr.Tabs(elem_id="tabs"), gr.Tab("Zero-shot", id="zero-shot"):
            zero_shot_tab(shelf, model, examples(), allow_urls)
    return page.queue(max_size=MAX_QUEUE, default_concurrency_limit=MAX_RUNNING, api_open=False)


def _header(shelf: Shelf) -> gr.Dropdown:
    """Name, sentence and the choice of models."""
    with gr.Row(elem_id="header"):
        gr.HTML(
            f'<div class="brand">{ICON.read_text()}<div><h1>nnclip</h1>'
            "<p>Which words fit a picture? CLIP for NNabla, on this machine alone.</p></div></div>"
        )
        return gr.Dropdown(
            shelf.names, value=shelf.names[0], label="Model", elem_id="model", min_width=160
        )
