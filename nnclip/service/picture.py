"""What the page's picture inputs hand on: the uploaded files, unopened.

Gradio's own preprocessing opens what it is given before anyone can say no, so the events that take
pictures are declared with `preprocess=False` and read the values here. That a path is an upload,
and no other file of the server, Gradio has checked before.
"""

from typing import Any


def path_of(value: dict[str, Any] | None) -> str | None:
    """The path of a picture input's file, or None if it is empty."""
    return value.get("path") if value else None


def paths_of(picture: dict[str, Any] | None, gallery: list[dict[str, Any]] | None) -> list[str]:
    """The paths of a gallery's pictures, else of the picture input; videos are left out."""
    several = [path_of(item.get("image")) for item in gallery or []]
    return list(dict.fromkeys(filter(None, several or [path_of(picture)])))
