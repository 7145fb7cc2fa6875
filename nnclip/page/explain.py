"""The tab that shows how probabilities come about, with the similarity matrix."""

from collections.abc import Callable

import gradio as gr
import numpy as np

from nnclip.errors import ConfigError, NnclipError
from nnclip.page import rendering
from nnclip.page.presets import Example
from nnclip.service.answers import Answer, classify
from nnclip.service.limits import checked_texts
from nnclip.service.model_pool import ModelPool
from nnclip.service.values import echo

SHOWN = 7  # images and captions
_STEPS = """
## From an image and some words to probabilities

1. **The image becomes numbers.** It is made {size} pixels square; the image tower, a {kind},
   turns it into one list of {embed} numbers, scaled to length 1.
2. **Each text becomes numbers**, too: split into pieces of words (at most {context}), the text
   tower turns it into a list of the same length.
3. **Cosine:** the two lists are multiplied entry by entry and summed. 1 would be the same
   direction, 0 none of it.
4. **Scale:** cosines lie close together, so they are multiplied by a number learned in training,
   here {scale:.1f}{bias}.
5. **Probabilities:** {meaning}.

The model learned from such a matrix: in every row and every column the pair on the diagonal
belongs together.
"""


def _across(answer: Answer) -> np.ndarray:
    return answer.scorer.probabilities(answer.cosines, axis=0)


VIEWS: dict[str, tuple[Callable[[Answer], np.ndarray], Callable[[float], str]]] = {
    "Cosine": (lambda answer: answer.cosines, rendering.decimals(2)),
    "Scaled": (lambda answer: answer.logits, rendering.decimals(1)),
    "Which text for an image": (
        lambda answer: answer.probabilities, "{:.0%}".format,
    ),
    "Which image for a text": (_across, "{:.0%}".format),
}  # fmt: skip


def explain_tab(tab: gr.Tab, pool: ModelPool, model: gr.Dropdown, examples: list[Example]) -> None:
    """Fill the tab and connect it."""
    shown = examples[:SHOWN]
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=290):
            story = gr.Markdown(_story(pool), elem_classes="prose-page")
        with gr.Column(scale=5, min_width=290):
            view = gr.Radio(list(VIEWS), value=next(iter(VIEWS)), label="Show", elem_id="view")
            matrix = gr.HTML(elem_id="matrix", padding=False)
            texts = gr.Textbox(
                "\n".join(e.caption for e in shown), label="Texts of the columns", lines=4
            )

    def draw(view: str, lines: str, model: str) -> tuple[str, str]:
        try:
            words = checked_texts(lines)[: 3 * SHOWN]
            if view not in VIEWS:
                raise ConfigError(f"found no view {echo(view)}, expected one of {', '.join(VIEWS)}")
            values, form = VIEWS[view]
            images = [e.image for e in shown]
            answer = classify(pool.get(model), images, words)
            pictures = [rendering.thumbnail(image) for image in images]
            names = [e.caption for e in shown]
            table = rendering.heat_table(pictures, names, words, values(answer), form)
            return rendering.remark(answer.remark) + table, _story(pool, model)
        except NnclipError as error:
            return rendering.notice(str(error), "problem"), gr.skip()

    triggers = [tab.select, view.change, texts.change, model.change]
    gr.on(
        triggers,
        draw,
        [view, texts, model],
        [matrix, story],
        preprocess=False,
        show_progress_on=matrix,
        api_visibility="private",
    )


def _story(pool: ModelPool, name: str | None = None) -> str:
    """The text, with the model's own numbers."""
    model = pool.get(name).model
    image = model.config.image
    scorer = model.scorer
    return _STEPS.format(
        size=image.resolution,
        kind=image.kind,
        embed=model.config.embed,
        context=model.config.text.context,
        scale=scorer.scale,
        bias=f", and another, {scorer.bias:.1f}, is added" if scorer.bias else "",
        meaning=scorer.loss.meaning.format(logits="these numbers"),
    )
