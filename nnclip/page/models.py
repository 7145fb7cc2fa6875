"""Other models, for the owner: a list of what is published, a button that fetches one, its way."""

from collections.abc import Mapping
from html import escape
from typing import Any

import gradio as gr

from nnclip.errors import NnclipError
from nnclip.page.lean import environment_before
from nnclip.page.rendering import aside, notice
from nnclip.service.downloads import Download, published, size_of
from nnclip.service.model_pool import ModelPool
from nnclip.weights.known import KnownModel

SECONDS = 1.0  # between looks at a download
ABOUT = (
    "Downloads come from their publishers (the Hugging Face hub, Zenodo, nnabla.org), are kept in "
    "nnclip's cache and offered under Model. The licence is the publisher's: read it before you "
    "publish anything made with a model. The sizes are about what the file will have."
)
ELSEWHERE = (
    "Without a network: run `nnclip download {name}` on a machine that has one, copy the .h5 file "
    "that it names to this machine, and start the page with -m and that file."
)


def models_part(page: gr.Blocks, pool: ModelPool, model: gr.Dropdown) -> None:
    """Draw it and connect it."""
    listed = {it.name: it for it in published()}
    download = Download(environment_before())
    with gr.Accordion("Other models", open=False, elem_id="models"):
        gr.HTML(f'<p class="aside">{escape(ABOUT)}</p>', padding=False)
        with gr.Row():
            choice = gr.Dropdown(
                list(listed),
                value=next(iter(listed), ""),
                label="Published models",
                scale=5,
                min_width=220,
                elem_id="published",
            )
            get = gr.Button("Download", variant="primary", min_width=110, elem_id="get")
            stop = gr.Button("Stop", min_width=80, elem_id="stop")
        about = gr.HTML(_about(listed, next(iter(listed), "")), padding=False)
        told = gr.HTML("", elem_id="download", padding=False)
        clock = gr.Timer(SECONDS, active=False)

    def look() -> tuple[str, gr.Timer, Any]:
        """How far it is; once it is here, the model to ask from now on."""
        known = listed.get(download.name)
        if download.running or download.path is None:
            return _told(download, known), gr.Timer(active=download.running), gr.skip()
        pool.offer(download.name, str(download.path))
        choices = gr.Dropdown(choices=pool.names, value=download.name)
        return _told(download, known), gr.Timer(active=False), choices

    def fetch(name: str) -> tuple[str, gr.Timer]:
        try:
            download.start(name)
        except NnclipError as error:
            return notice(str(error), "problem"), gr.Timer(active=download.running)
        return _told(download, listed.get(name)), gr.Timer(active=True)

    quietly = {"preprocess": False, "show_progress": "hidden", "api_visibility": "private"}
    choice.change(lambda name: _about(listed, name), choice, about, **quietly)
    get.click(fetch, choice, [told, clock], **quietly)
    stop.click(download.stop, None, None, **quietly)
    clock.tick(look, None, [told, clock, model], **quietly)
    page.load(lambda: gr.Timer(active=download.running), None, clock, **quietly)


def _about(listed: Mapping[str, KnownModel], name: str) -> str:
    """Size, languages and licence of a model."""
    model = listed.get(name)
    if model is None:
        return ""
    size = size_of(model)
    said = "size unknown" if size is None else f"about {_megabytes(size)}"
    languages = {"en": "English", None: "languages unknown"}.get(model.languages)
    languages = languages or f"languages: {model.languages}"
    return aside(f"{said} · {languages} · licence: {model.licence or 'see its page'}")


def _told(download: Download, model: KnownModel | None) -> str:
    if not download.name:
        return ""
    name = escape(download.name)
    if download.path is not None:
        return f'<p class="aside" role="status"><b>{name}</b> is here, and answers from now on.</p>'
    if download.stopped and not download.running:
        kept = _megabytes(download.bytes())
        return (
            f'<p class="aside" role="status">{name}: stopped at {kept}. Download goes on there.</p>'
        )
    if download.error:
        sentence = escape(download.error)
        way = escape(ELSEWHERE.format(name=download.name))
        return (
            f'<div class="notice problem" role="alert"><p>{name}: {sentence}</p>'
            f"<p>Download goes on where it stopped. {way}</p></div>"
        )
    size, here = model and size_of(model), download.bytes()
    share = min(here / size, 0.99) if size else 0.0
    whole = f" of about {_megabytes(size)}" if size else ""
    doing = "converting it" if size and here >= 0.98 * size else "fetching"
    return (
        f'<div role="status"><p class="aside">{name}: {_megabytes(here)}{whole}, {doing} ...</p>'
        f'<progress max="1" value="{share:.3f}" aria-label="Download"></progress></div>'
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"
