"""The model and the image processor that another library builds of a checkpoint by itself.

It builds them without looking at what nnclip has read: conversions are held against them.
"""

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Built:
    """What a library made.

    Attributes:
        model: a torch module with the checkpoint's weights in float32.
        prepare: an image -> (3, R, R) float32; None if the checkpoint has no processor.
    """

    model: Any
    prepare: Callable[[Image.Image], np.ndarray] | None


@contextmanager
def links_to(files: dict[str, Path]) -> Iterator[Path]:
    """A folder with links to these files under the names that the library looks for."""
    with tempfile.TemporaryDirectory() as name:
        for link, file in files.items():
            (Path(name) / link).symlink_to(file.resolve())
        yield Path(name)


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, libraries print nothing while they build."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
