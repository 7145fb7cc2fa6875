"""Gradio's picture inputs, handing on the files as they came: demo.limits opens them, with limits.

By themselves they open what they are given before anyone can say no, and show a stack trace. The
instances are changed, not derived from: for each derived class Gradio writes a file beside the
source.
"""

from typing import Any

import gradio as gr


def picture_input(**options: Any) -> gr.Image:
    """A picture input whose value is the path of the uploaded file, or None."""
    picture = gr.Image(type="filepath", image_mode=None, **options)
    picture.preprocess = _path_of  # type: ignore[method-assign]
    return picture


def pictures_input(**options: Any) -> gr.Gallery:
    """An input for several pictures whose value is the list of the files' paths."""
    gallery = gr.Gallery(type="filepath", interactive=True, **options)
    gallery.preprocess = _paths_of  # type: ignore[method-assign]
    return gallery


def _path_of(payload: Any) -> str | None:
    """What Gradio has checked to be an uploaded file."""
    return payload.path if payload is not None else None


def _paths_of(payload: Any) -> list[str]:
    """The same for a gallery; videos are left out."""
    items = payload.root if payload is not None else []
    return [item.image.path for item in items if getattr(item, "image", None) is not None]


def paths(one: str | None, more: list[str] | None) -> list[str]:
    """All pictures that were given, without repetitions."""
    return list(dict.fromkeys([*([one] if one else []), *(more or [])]))
