"""The one way from a visitor's values to a function of the page: checked by type, files by place.

Gradio looks at a file's path only where the client says that it is a file; so nothing of that is
relied on. Every event and every function for programs passes `CheckedBlocks.process_api`.
"""

import logging
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import gradio as gr
from gradio.block_function import BlockFunction

from nnclip.errors import DataError, NnclipError
from nnclip.service import values
from nnclip.service.images import ImageFile
from nnclip.service.limits import MAX_IMAGES
from nnclip.service.uploads import Uploads

logger = logging.getLogger(__name__)

UNFORESEEN = "the page could not answer this: the log of the server says why"
File = dict[str, str]  # {"path": ...}, all that is left of what a client says about a file


class CheckedBlocks(gr.Blocks):
    """A page whose functions get values of the right types, and only files that were uploaded."""

    def __init__(self, uploads: Uploads, **options: Any) -> None:
        """Make an empty page; `options` are those of `gr.Blocks`."""
        super().__init__(**options)
        self._uploads = uploads

    async def process_api(
        self, block_fn: BlockFunction | int, inputs: list[Any], **rest: Any
    ) -> dict[str, Any]:
        """See `gr.Blocks`; whatever goes wrong ends in a `gr.Error` that says so."""
        function = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        try:
            given = self._checked(function, inputs)
            return await super().process_api(function, given, **rest)
        except gr.Error as error:
            raise _told(function, error.message) from error
        except NnclipError as error:
            raise _told(function, str(error)) from error
        except Exception as error:
            logger.exception("%s failed", function.name)
            raise _told(function, UNFORESEEN) from error

    def _checked(self, function: BlockFunction, inputs: Sequence[Any]) -> list[Any]:
        names = [str(part.label) for part in function.inputs]
        if function.fn is None:
            raise DataError("found an event that the browser answers itself")
        inputs = [*inputs]
        if function.api_visibility == "public":  # a program may leave out the last ones
            inputs += [part.value for part in function.inputs[len(inputs) :]]
        if len(inputs) != len(names):
            raise DataError(
                f"found {len(inputs)} values, expected {len(names)}: {', '.join(names)}"
            )
        return [
            CHECKS[type(part)](value, name, self._uploads)
            for part, name, value in zip(function.inputs, names, inputs, strict=True)
        ]


def image_files(picture: File | None, gallery: Sequence[dict[str, File]] | None) -> list[ImageFile]:
    """The files of a gallery, else of an image, as `CheckedBlocks` hands them on."""
    several = [item["image"] for item in gallery or []]
    chosen = several or ([picture] if picture else [])
    return list(dict.fromkeys(ImageFile.find(file["path"]) for file in chosen))


def chosen(event: gr.EventData, length: int) -> int:
    """Which of so many things a click was on; DataError if on none of them."""
    data = event._data if isinstance(event._data, dict) else {}
    return values.index(data.get("index"), "index", length)


def _told(function: BlockFunction, sentence: str) -> gr.Error:
    """An error for whoever asked: the browser takes its sentence for HTML, a program does not."""
    html = function.api_visibility == "private"
    return gr.Error(escape(sentence) if html else sentence, print_exception=False)


def _file(value: Any, name: str, uploads: Uploads) -> File | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise DataError(f"{name}: found {values.kind(value)}, expected an uploaded file")
    if value.get("path") is None:
        raise DataError(f"{name}: found no path, expected an uploaded file")
    try:
        return {"path": str(uploads.find(value["path"]).path)}
    except DataError as error:
        raise DataError(f"{name}: {error}") from error


def _files(value: Any, name: str, uploads: Uploads) -> list[dict[str, Any]] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise DataError(f"{name}: found {values.kind(value)}, expected a list of uploaded files")
    if len(value) > MAX_IMAGES:
        raise DataError(f"{name}: found {len(value)} images, expected at most {MAX_IMAGES}")
    if not all(item.get("image") for item in value):
        raise DataError(f"{name}: found something that is no image, expected images alone")
    return [{"image": _file(item["image"], name, uploads), "caption": None} for item in value]


def _text(value: Any, name: str, _: Uploads) -> str:
    return values.text(value, name)


def _number(value: Any, name: str, _: Uploads) -> float:
    return values.number(value, name)


def _truth(value: Any, name: str, _: Uploads) -> bool:
    return values.truth(value, name)


# a part of another type cannot be an input until it is named here
CHECKS: dict[type, Callable[[Any, str, Uploads], Any]] = {
    gr.Image: _file,
    gr.Gallery: _files,
    gr.Textbox: _text,
    gr.Dropdown: _text,
    gr.Radio: _text,
    gr.Slider: _number,
    gr.Number: _number,
    gr.Checkbox: _truth,
    gr.Dataset: _number,
}
