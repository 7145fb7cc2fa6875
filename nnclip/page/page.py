"""The page: a header, and one tab for each thing that can be done."""

from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from nnclip.page.api import api_tab
from nnclip.page.compare import compare_tab
from nnclip.page.events import CheckedBlocks
from nnclip.page.explain import explain_tab
from nnclip.page.models import models_part
from nnclip.page.presets import examples
from nnclip.page.search import search_tab
from nnclip.page.sharing import connect_link
from nnclip.page.theme import ICON
from nnclip.page.zero_shot import zero_shot_tab
from nnclip.service.embedded import AnyCollection
from nnclip.service.limits import MAX_QUEUE, MAX_RUNNING
from nnclip.service.model_pool import ModelPool
from nnclip.service.photos import Photos
from nnclip.service.uploads import Uploads

TABS = {
    "zero-shot": "Zero-shot",
    "search": "Search",
    "compare": "Compare",
    "explain": "How it works",
    "api": "API",
}
# an image on the clipboard goes where it would be dropped, whatever has the focus
PASTE = """
() => document.addEventListener('paste', (event) => {
    const file = [...event.clipboardData.files].find((each) => each.type.startsWith('image/'));
    const place = document.querySelector('#picture .upload-container');
    if (!file || !place) return;
    event.preventDefault();
    const data = new DataTransfer();
    data.items.add(file);
    place.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true}));
})
"""
FONTS = Path(__file__).with_name("fonts.js").read_text(encoding="utf-8")
UPLOADS_KEPT = (600, 3600)  # seconds: look every, remove what is older


def build_page(
    pool: ModelPool,
    collections: Sequence[AnyCollection],
    uploads: Uploads,
    photos: Photos,
    url: str,
    allow_urls: bool = False,
    owner: bool = False,
) -> gr.Blocks:
    """All tabs, connected.

    Args:
        pool: the models to choose from.
        collections: the images to search in, one or more.
        uploads: the files that visitors may name.
        photos: the images of collections that they may see.
        url: where the page will be.
        allow_urls: whether visitors may name addresses of images.
        owner: whether nobody but the owner reaches it, who may download models.
    """
    bundled = examples()
    options = {"title": "nnclip", "analytics_enabled": False, "fill_width": True}
    with CheckedBlocks(uploads, delete_cache=UPLOADS_KEPT, **options) as page:
        model, share = _header(pool)
        if owner:
            models_part(page, pool, model)
        with gr.Tabs(elem_id="tabs"):
            tabs = {name: gr.Tab(label, id=name) for name, label in TABS.items()}
            with tabs["zero-shot"]:
                asked = zero_shot_tab(pool, model, bundled, allow_urls)
            with tabs["search"]:
                searched = search_tab(page, pool, model, collections, photos, bundled)
            with tabs["compare"]:
                compare_tab(tabs["compare"], pool, model, asked)
            with tabs["explain"]:
                explain_tab(tabs["explain"], pool, model, bundled)
            with tabs["api"]:
                api_tab(pool, collections, url)
        for script in (PASTE, FONTS):
            page.load(None, js=script, api_visibility="private")
        connect_link(page, tabs, pool, model, share, asked, searched, bundled)
    return page.queue(max_size=MAX_QUEUE, default_concurrency_limit=MAX_RUNNING, api_open=False)


def _header(pool: ModelPool) -> tuple[gr.Dropdown, gr.Button]:
    """Name, sentence, the choice of models and the button that copies the link."""
    with gr.Row(elem_id="header"):
        gr.HTML(
            f'<div class="brand">{ICON.read_text(encoding="utf-8")}<div><h1>nnclip</h1>'
            "<p>Which words fit an image? CLIP for NNabla, on this machine alone.</p></div></div>",
            elem_id="brand",
        )
        model = gr.Dropdown(
            pool.names, value=pool.names[0], label="Model", elem_id="model", min_width=160
        )
        share = gr.Button("Copy link", size="sm", elem_id="share", min_width=110)
    return model, share
