"""How open_clip prepares images: its `preprocess_cfg`, read and written.

Source: https://github.com/mlfoundations/open_clip, src/open_clip/transform.py and factory.py.
"""

from typing import Any

from nnclip.convert.dialect import Settings
from nnclip.errors import CheckpointError, ConfigError
from nnclip.image import Preprocess

FILE = "open_clip_config.json"
KEYS = ("size", "mode", "mean", "std", "interpolation", "resize_mode", "fill_color")
FILTERS = {"bicubic": "bicubic", "bilinear": "bilinear", "random": "bicubic"}
MODES = ("shortest", "squash", "longest")


def read_preprocess(told: Settings, image_size: Any) -> Preprocess:
    """What open_clip makes of a `preprocess_cfg`.

    Its `size` counts for nothing: open_clip replaces it by the size that the image tower takes.

    Args:
        told: the content of `preprocess_cfg`.
        image_size: of `vision_cfg`.

    Raises:
        CheckpointError: a key or a value that is not known.
    """
    told = {key: value for key, value in told.items() if value is not None}
    for key in told:
        if key not in KEYS:
            raise _error(f"found the key {key!r}, expected {', '.join(KEYS)}")
    if told.get("mode", "RGB") != "RGB":
        raise _error(f"mode: found {told['mode']!r}, expected 'RGB'")
    interpolation = _choice(told, "interpolation", FILTERS)
    usual = Preprocess()
    try:
        return Preprocess(
            square_side(f"{FILE}: vision_cfg image_size", image_size),
            _choice(told, "resize_mode", MODES),
            interpolation=FILTERS[interpolation],
            fill=told.get("fill_color", 0),
            mean=three(told.get("mean", usual.mean)),
            std=three(told.get("std", usual.std)),
        )
    except ConfigError as error:
        raise _error(str(error)) from error


def write_preprocess(preprocess: Preprocess) -> dict[str, Any]:
    """The `preprocess_cfg` of it; CheckpointError if open_clip cannot do it."""
    shown = {
        "interpolation": (preprocess.interpolation, ("bicubic", "bilinear")),
        "resize": (preprocess.resize, MODES),
        "size": (preprocess.size or preprocess.resolution, (preprocess.resolution,)),
        "rescale": (preprocess.rescale, (Preprocess().rescale,)),
    }
    for name, (found, known) in shown.items():
        if found not in known:
            raise CheckpointError(
                f"{name} of images: found {found}, but open_clip's code knows only "
                f"{' and '.join(map(str, known))}"
            )
    told: dict[str, Any] = {"mean": list(preprocess.mean), "std": list(preprocess.std)}
    if preprocess.interpolation != "bicubic":
        told["interpolation"] = preprocess.interpolation
    if preprocess.resize != "shortest":
        told["resize_mode"] = preprocess.resize
    if preprocess.fill:
        told["fill_color"] = preprocess.fill
    return told


def square_side(name: str, value: Any) -> int:
    """A size that may be written as one number or as two equal ones; CheckpointError."""
    sides = list(value) if isinstance(value, list | tuple) else [value]
    if len(set(map(str, sides))) != 1 or len(sides) > 2 or not isinstance(sides[0], int):
        raise CheckpointError(f"{name}: found {value!r}, expected the side of a square in pixels")
    return int(sides[0])


def three(value: Any) -> Any:
    """One number for all channels, written three times."""
    return [value] * 3 if isinstance(value, int | float) else value


def _choice(told: Settings, key: str, known: Any) -> str:
    found = told.get(key, next(iter(known)))
    if not isinstance(found, str) or found not in known:
        raise _error(f"{key}: found {found!r}, expected one of {', '.join(known)}")
    return found


def _error(what: str) -> CheckpointError:
    return CheckpointError(f"{FILE}: preprocess_cfg: {what}")
