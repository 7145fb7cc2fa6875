"""The first tab: a picture, some categories, how well each fits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from nnclip.errors import DataError, NnclipError
from nnclip.image import open_image
from nnclip.page import rendering
from nnclip.page.grid import grid, grid_component
from nnclip.page.presets import ENGLISH, FRONT, TEMPLATES, Example, presets
from nnclip.service.fetching import fetch_picture
from nnclip.service.languages import choices
from nnclip.service.limits import MAX_PICTURES, MAX_PIXELS, checked_template, checked_texts
from nnclip.service.picture import paths_of
from nnclip.service.shelf import Shelf

EMPTY = "Drop a picture, paste one, or pick an example: the answer appears here as you type."
SHOWN = 1280  # pixels: larger pictures from addresses are made smaller for the browser


@dataclass(frozen=True)
class ZeroShotTab:
    """What other parts of the page read or set."""

    picture: gr.Image
    more: gr.Gallery
    categories: gr.Textbox
    template: gr.Dropdown
    example: gr.Textbox


def zero_shot_tab(
    shelf: Shelf, model: gr.Dropdown, examples: list[Example], allow_urls: bool
) -> ZeroShotTab:
    """Draw the tab and connect it."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=290):
            picture = gr.Image(
                type="filepath",
                label="Picture",
                sources=["upload", "clipboard", "webcam"],
                height=340,
                elem_id="picture",
                buttons=["fullscreen"],
                alt_text="The picture to be classified",
            )
            if allow_urls:
                _address(picture)
            example = _examples(examples[:FRONT], picture)
            with gr.Accordion("Several pictures at once", open=False):
                more = gr.Gallery(
                    interactive=True,
                    label="Pictures",
                    sources=["upload", "clipboard"],
                    file_types=["image"],
                    columns=4,
                    height=200,
                    elem_id="more",
                )
        with gr.Column(scale=3, min_width=250, elem_id="words"):
            categories, template = _questions(shelf, model)
        with gr.Column(scale=4, min_width=290):
            result = gr.HTML(
                rendering.notice(EMPTY), elem_id="result", elem_classes="result", padding=False
            )
    tab = ZeroShotTab(picture, more, categories, template, example)

    def answer(one: dict | None, several: list | None, *words: str) -> str:
        return _answer(shelf, paths_of(one, several), *words)

    changed = [part.change for part in (picture, more, categories, template, model)]
    gr.on(
        changed,
        answer,
        [picture, more, categories, template, model],
        result,
        preprocess=False,
        trigger_mode="always_last",
        show_progress_on=result,
        api_visibility="private",
    )
    return tab


def _answer(shelf: Shelf, files: list[str], lines: str, template: str, model: str) -> str:
    """The result panel: bars for one picture, a heat strip for several, or a sentence."""
    if not files:
        return rendering.notice(EMPTY)
    try:
        if len(files) > MAX_PICTURES:
            raise DataError(f"found {len(files)} pictures, expected at most {MAX_PICTURES}")
        texts = checked_texts(lines)
        found = shelf.get(model).answer(files, texts, checked_template(template))
        if len(files) == 1:
            return rendering.bars(found, texts)
        return rendering.strip(found, files, texts)
    except NnclipError as error:
        return rendering.notice(str(error), "problem")


def _questions(shelf: Shelf, model: gr.Dropdown) -> tuple[gr.Textbox, gr.Dropdown]:
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
            label="Its language", elem_id="language", min_width=120, **_spoken(shelf.languages())
        )
        template = gr.Dropdown(
            list(TEMPLATES),
            value=TEMPLATES[0],
            allow_custom_value=True,
            label="Template for {}",
            elem_id="template",
            min_width=150,
        )
    quietly = {"show_progress": "hidden", "api_visibility": "private"}
    gr.on(
        [preset.input, language.input],
        lambda name, code: "\n".join(presets(code).get(name, ())) or gr.skip(),
        [preset, language],
        categories,
        **quietly,
    )
    model.change(
        lambda name: gr.Dropdown(**_spoken(shelf.languages(name))), model, language, **quietly
    )
    return categories, template


def _spoken(codes: Sequence[str]) -> dict[str, Any]:
    """What a drop-down of a model's languages offers; one that has no choice is not shown."""
    codes = codes or (ENGLISH,)
    return {"choices": choices(codes), "value": codes[0], "visible": len(codes) > 1}


def _examples(examples: list[Example], picture: gr.Image) -> gr.Textbox:
    """Bundled pictures to click on; a hidden text names the one in use, for links."""
    pictures = grid([(str(e.path), e.caption, "") for e in examples], "Examples")
    choice = grid_component(f'<h2 class="label">Examples</h2>{pictures}', elem_id="examples")
    example = gr.Textbox(examples[0].name if examples else "", visible="hidden", elem_id="example")

    def pick(event: gr.EventData) -> tuple[str, str]:
        chosen = examples[event.index]
        return str(chosen.path), chosen.name

    choice.select(pick, None, [picture, example], show_progress="hidden", api_visibility="private")
    picture.input(lambda: "", None, example, show_progress="hidden", api_visibility="private")
    return example


def _address(picture: gr.Image) -> None:
    """A field for an address; only with --allow-urls."""
    with gr.Row(equal_height=True):
        address = gr.Textbox(
            label="Address of a picture", placeholder="https://", elem_id="address", scale=4
        )
        fetch = gr.Button("Fetch", size="sm", scale=1, min_width=80)

    def bring(url: str) -> Image.Image:
        try:
            found = open_image(fetch_picture(url), max_pixels=MAX_PIXELS, as_seen=True)
        except NnclipError as error:
            raise gr.Error(str(error), print_exception=False) from error
        found = found.convert("RGB")
        found.thumbnail((SHOWN, SHOWN))
        return found

    gr.on(
        [fetch.click, address.submit],
        bring,
        address,
        picture,
        concurrency_limit=2,
        concurrency_id="fetch",
        api_visibility="private",
    )
