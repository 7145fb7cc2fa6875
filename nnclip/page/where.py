"""Where in the image of the first tab a category is: maps that lie over what the model sees."""

from collections.abc import Callable

import gradio as gr
import numpy as np

from nnclip.errors import ConfigError, NnclipError
from nnclip.image.heat import heat
from nnclip.page import rendering
from nnclip.page.events import File, image_files
from nnclip.service.answers import classify
from nnclip.service.model_pool import ModelPool

VIEW, MAP = 320, 64  # pixels: the browser makes maps as large as the view
# which map is shown is the browser's affair: all of them are there
POINTED = """
const point = (event) => {
    const bar = event.target.closest?.('button[data-place]');
    const place = bar?.dataset.place;
    const layers = document.querySelectorAll('#where [data-place]');
    if (![...layers].some((layer) => layer.dataset.place === place)) return;
    layers.forEach((layer) => { layer.hidden = layer.dataset.place !== place; });
    element.querySelectorAll('button[data-place]').forEach((other) => {
        other.setAttribute('aria-pressed', other === bar);
    });
    document.querySelector('#where strong').textContent = bar.querySelector('.text').textContent;
};
for (const kind of ['pointerover', 'focusin', 'click']) element.addEventListener(kind, point);
"""


def where_parts() -> tuple[gr.Checkbox, gr.HTML]:
    """The switch, and the place for the maps."""
    wanted = gr.Checkbox(True, label="Show where in the image", elem_id="show-where")
    return wanted, gr.HTML("", elem_id="where", padding=False)


def finder(pool: ModelPool) -> Callable[..., str]:
    """What draws the maps of the categories whose bars are shown."""

    def where(
        one: File | None, several: list | None, lines: str, template: str, name: str, wanted: bool
    ) -> str:
        try:
            images = image_files(one, several) if wanted else []
            if len(images) != 1:
                return ""
            model = pool.get(name)
            answer = classify(model, images, lines, template, strict=False)
        except NnclipError:
            return ""  # the answer says it
        order = rendering.best_first(answer)
        try:
            found = model.places(images[0], [answer.texts[i] for i in order], VIEW)
        except ConfigError as error:
            return rendering.aside(f"Where in the image: {error}.")
        if not np.isfinite(found.maps).all():
            return ""
        maps = [heat(each, MAP) for each in found.maps]
        return rendering.where(found.view, maps, [answer.categories[i] for i in order])

    return where
