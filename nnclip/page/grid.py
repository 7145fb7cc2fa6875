"""A grid of images to choose from: real buttons, so that the keyboard works as well."""

from collections.abc import Sequence
from html import escape

import gradio as gr

from nnclip.page.rendering import thumbnail
from nnclip.service.images import ImageSource

_CLICKS = """
element.addEventListener('click', (event) => {
    const button = event.target.closest('button[data-index]');
    if (button) trigger('select', {index: Number(button.dataset.index)});
});
"""


def grid(
    images: Sequence[tuple[ImageSource, str, str]], label: str, size: int = 132, action: str = ""
) -> str:
    """The HTML of a grid.

    Args:
        images: each with its name, and a line to show below it ("": none).
        label: what the whole is called.
        size: pixels of the images.
        action: what a click does, for who cannot see it.
    """
    items = "".join(
        f'<li><button type="button" data-index="{index}" title="{escape(name)}" '
        f'aria-label="{escape(" ".join(filter(None, (action, name, line))))}">'
        f'<img src="{thumbnail(image, size)}" alt="" loading="lazy">'
        f"{f'<span>{escape(line)}</span>' if line else ''}</button></li>"
        for index, (image, name, line) in enumerate(images)
    )
    return f'<ul class="grid" aria-label="{escape(label)}">{items}</ul>'


def grid_component(html: str, elem_id: str) -> gr.HTML:
    """A place for grids; its `select` event carries the `index` of the image."""
    return gr.HTML(html, elem_id=elem_id, js_on_load=_CLICKS, padding=False)
