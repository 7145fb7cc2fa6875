"""Images of every mode, and OpenAI's pipeline in torchvision."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

MODES = (
    *("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"),
    *("I", "F", "I;16"),
)


def _picture(mode: str, size: tuple[int, int], seed: int = 0) -> Image.Image:
    """Random pixels of any mode."""
    rng = np.random.default_rng(seed)
    shape = size[1], size[0]
    if mode in ("I;16", "I", "F"):
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        return Image.fromarray(rng.integers(0, 700, shape).astype(kind))
    rgba = Image.fromarray(rng.integers(0, 256, (*shape, 4), dtype=np.uint8))
    if mode in ("RGBA", "LA"):
        return rgba.convert(mode)
    rgb = rgba.convert("RGB")
    if mode == "LAB":
        return Image.frombytes(mode, size, rgb.tobytes())
    return rgb.convert("P").convert("PA") if mode == "PA" else rgb.convert(mode)


@pytest.fixture(scope="session")
def picture() -> Callable[..., Image.Image]:
    return _picture


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return request.param
