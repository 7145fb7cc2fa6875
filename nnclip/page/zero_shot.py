"""The first tab: an image, some categories, how well each fits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from nnclip.errors import NnclipError
from nnclip.page import rendering
from nnclip.page.events import File, chosen, image_files
from nnclip.page.grid import grid, grid_component
from nnclip.page.presets import ENGLISH, FRONT, TEMPLATES, Example, presets
from nnclip.page.where import POINTED, finder, where_parts
from nnclip.service.answers import classify
from nnclip.service.fetching import fetch_image
from nnclip.service.images import ImageBytes, open_checked
from nnclip.service.languages import choices
from nnclip.service.model_pool import ModelPool

EMPTY = "Drop an image, paste one, or pick an example: the answer appears here as you type."
SHOWN = 1280  # pixels: larger images from addresses are made smaller for the browser


@dataclass(frozen=True)
class ZeroShotTab:
    """What other parts of the page read or set."""

    picture: gr.Image
    more: gr.Gallery
    categories: gr.Textbox
    template: gr.Dropdown
    example: gr.Textbox


def zero_shot_tab(
    pool: ModelPool, model: gr.Dropdown, examples: list[Example], allow_urls: bool
) -> ZeroShotTab:
    """Draw the tab and connect it."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=290):
            picture = gr.Image(
                type="filepath",
                label="Image",
                sources=["upload", "clipboard", "webcam"],
                height=340,
                elem_id="picture",
                buttons=["fullscreen"],
                alt_text="The image to be classified",
            )
            if allow_urls:
                _address(picture)
            example = _examples(examples[:FRONT], picture)
            with gr.Accordion("Several images at once", open=False):
                more = gr.Gallery(
                    interactive=True,
                    label="Images",
                    sources=["upload", "clipboard"],
                    file_types=["image"],
                    columns=4,
                    height=200,
                    elem_id="more",
                )
        with gr.Column(scale=3, min_width=250, elem_id="words"):
            categories, template = _questions(pool, model)
        with gr.Column(scale=4, min_width=290):
            wanted, places = where_parts()
            result = gr.HTML(
                rendering.notice(EMPTY),
                elem_id="result",
                elem_classes="result",
                padding=False,
                js_on_load=POINTED,
            )
    tab = ZeroShotTab(picture, more, categories, template, example)

    def answer(one: File | None, several: list | None, lines: str, template: str, name: str) -> str:
        if not one and not several:
            return rendering.notice(EMPTY)
        try:
            images = image_files(one, several)
            found = classify(pool.get(name), images, lines, template, strict=False)
            alone = len(images) == 1
            return rendering.bars(found, chosen=True) if alone else rendering.strip(found, images)
        except NnclipError as error:
            return rendering.notice(str(error), "problem")

    asked = [picture, more, categories, template, model]
    answered = gr.on(
        [part.change for part in asked],
        answer,
        asked,
        result,
        preprocess=False,
        trigger_mode="always_last",
        show_progress_on=result,
        api_visibility="private",
    )
    quietly = {"preprocess": False, "show_progress": "hidden", "api_visibility": "private"}
    for then in (answered.then, wanted.change):  # the answer is there before its maps
        then(finder(pool), [*asked, wanted], places, trigger_mode="always_last", **quietly)
    return tab


def _questions(pool: ModelPool, model: gr.Dropdown) -> tuple[gr.Textbox, gr.Dropdown]:
    """Categories, presets, the language of these where a model knows several, and the template."""
    lists = presets()
    usual = next(iter(lists))
    categories = gr.Textbox(
        "\n".join(lists[usual]),
        label="Categories, one per line",
        lines=12,
        max_lines=12,
        elem_id="categories",
    )
    preset = gr.Dropdown(list(lists), value=usual, label="Preset", elem_id="preset")
    with gr.Row():
        language = gr.Dropdown(
            label="Its language", elem_id="language", min_width=120, **_spoken(pool.languages())
        )
        template = gr.Dropdown(
            list(TEMPLATES),
            value=TEMPLATES[0],
            allow_custom_value=True,
            label="Template for {}",
            elem_id="template",
            min_width=150,
        )
    quietly = {"preprocess": False, "show_progress": "hidden", "api_visibility": "private"}
    gr.on(
        [preset.input, language.input],
        lambda name, code: "\n".join(presets(code).get(name, ())) or gr.skip(),
        [preset, language],
        categories,
        **quietly,
    )
    model.change(
        lambda name: gr.Dropdown(**_spoken(pool.languages(name))), model, language, **quietly
    )
    return categories, template


def _spoken(codes: Sequence[str]) -> dict[str, Any]:
    """What a drop-down of a model's languages offers; one that has no choice is not shown."""
    codes = codes or (ENGLISH,)
    return {"choices": choices(codes), "value": codes[0], "visible": len(codes) > 1}


def _examples(examples: list[Example], picture: gr.Image) -> gr.Textbox:
    """Bundled images to click on; a hidden text names the one in use, for links."""
    pictures = grid([(e.image, e.caption, "") for e in examples], "Examples")
    choice = grid_component(f'<h2 class="label">Examples</h2>{pictures}', elem_id="examples")
    example = gr.Textbox(examples[0].name if examples else "", visible="hidden", elem_id="example")

    def pick(event: gr.EventData) -> tuple[str, str]:
        example = examples[chosen(event, len(examples))]
        return str(example.path), example.name

    choice.select(pick, None, [picture, example], show_progress="hidden", api_visibility="private")
    picture.input(lambda: "", None, example, show_progress="hidden", api_visibility="private")
    return example


def _address(picture: gr.Image) -> None:
    """A field for an address; only with --allow-urls."""
    with gr.Row(equal_height=True):
        address = gr.Textbox(
            label="Address of an image", placeholder="https://", elem_id="address", scale=4
        )
        fetch = gr.Button("Fetch", size="sm", scale=1, min_width=80)

    def bring(url: str) -> Image.Image:
        found = open_checked(ImageBytes(fetch_image(url)), longest=SHOWN).convert("RGB")
        found.thumbnail((SHOWN, SHOWN))
        return found

    gr.on(
        [fetch.click, address.submit],
        bring,
        address,
        picture,
        preprocess=False,
        concurrency_limit=2,
        concurrency_id="fetch",
        api_visibility="private",
    )
