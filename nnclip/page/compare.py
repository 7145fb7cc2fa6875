"""The tab that shows two models, or two precisions of one, side by side."""

from collections.abc import Iterator

import gradio as gr
import numpy as np

from nnclip.errors import NnclipError
from nnclip.page import rendering
from nnclip.page.events import File, image_files
from nnclip.page.zero_shot import ZeroShotTab
from nnclip.service.answers import Answer, classify
from nnclip.service.embedder import Embedder
from nnclip.service.images import ImageFile
from nnclip.service.model_pool import BETWEEN, ModelPool

EMPTY = "Choose an image in the first tab: both answers appear here."


def compare_tab(tab: gr.Tab, pool: ModelPool, model: gr.Dropdown, asked: ZeroShotTab) -> None:
    """Fill the tab and connect it to the first one's image and categories."""
    variants = pool.variants()
    gr.Markdown(
        "The image, categories and template of the first tab, answered by two models or by one "
        "in two number formats: fp32 is exact, bf16 is quicker where the processor has it, int8 is "
        "smaller still; its scales are chosen with the bundled images when it is first asked."
    )
    with gr.Row():
        left = gr.Dropdown(variants, value=variants[0], label="Left", elem_id="left")
        right = gr.Dropdown(variants, value=variants[1 % len(variants)], label="Right")
    summary = gr.HTML(rendering.notice(EMPTY), elem_id="summary", padding=False)
    with gr.Row(equal_height=False):
        answers = [gr.HTML(elem_classes="result", padding=False) for _ in range(2)]

    model.change(  # one that came since is offered, too
        lambda: [gr.Dropdown(choices=pool.variants())] * 2, None, [left, right],
        show_progress="hidden", api_visibility="private",
    )  # fmt: skip

    def compare(
        picture: File | None, lines: str, template: str, *names: str
    ) -> Iterator[tuple[str, ...]]:
        if picture is None:
            yield rendering.notice(EMPTY), "", ""
            return
        try:
            if waited := [name for name in dict.fromkeys(names) if not pool.loaded(name)]:
                yield rendering.notice(_waiting(waited)), "", ""
            images = image_files(picture, None)
            models = [pool.get(name) for name in names]
            both = [classify(model, images, lines, template, strict=False) for model in models]
            notes = [_note(model, images[0]) for model in models]
        except NnclipError as error:
            yield rendering.notice(str(error), "problem"), "", ""
            return
        panels = [
            rendering.bars(answer, name, note)
            for answer, name, note in zip(both, names, notes, strict=True)
        ]
        yield rendering.beside(images[0], difference(*both)), *panels

    gr.on(
        [tab.select, left.change, right.change],
        compare,
        [asked.picture, asked.categories, asked.template, left, right],
        [summary, *answers],
        trigger_mode="always_last",
        preprocess=False,
        show_progress_on=summary,  # a model may have to be loaded first
        api_visibility="private",
    )


def _waiting(names: list[str]) -> str:
    """What has to be loaded first, and why that takes a while."""
    int8 = any(name.endswith(f"{BETWEEN}int8") for name in names)
    scales = " The scales of int8 are chosen with the bundled images, once." if int8 else ""
    return f"Waiting for {' and '.join(names)} to be loaded and compiled.{scales}"


def _note(embedder: Embedder, image: ImageFile) -> str:
    """How quick a model is, and what int8 costs."""
    quick = f"{1000 * embedder.pace(image):.1f} ms an image."
    drift = embedder.model.drift
    if drift is None:
        return quick
    return f"{quick} Cosine with exact embeddings of known images: {drift.mean_cosine:.3f}."


def difference(left: Answer, right: Answer) -> str:
    """One sentence on how far two answers about the same texts lie apart."""
    if left.texts != right.texts:
        return "One of the models cannot read all categories: the answers are not compared."
    apart = np.abs(left.probabilities - right.probabilities)[0]
    same = left.probabilities[0].argmax() == right.probabilities[0].argmax()
    return (
        f"{'The same' if same else 'Another'} category comes first; no probability differs by more "
        f"than {100 * apart.max():.2f} points, no cosine by more than "
        f"{np.abs(left.cosines - right.cosines).max():.4f}."
    )
