"""What numbers among the settings of a run may be."""

from collections.abc import Callable
from typing import NamedTuple


class Range(NamedTuple):
    """Numbers that are allowed, and how a message calls them."""

    said: str
    holds: Callable[[float], bool]


_ABOVE_ZERO = Range("more than 0", lambda value: value > 0)
_AT_LEAST_ZERO = Range("0 or more", lambda value: value >= 0)
_AT_LEAST_ONE = Range("1 or more", lambda value: value >= 1)
_SHARE = Range("0 to 1", lambda value: 0 <= value <= 1)
_BELOW_ONE = Range("0 to 1, not 1 itself", lambda value: 0 <= value < 1)
_FACTOR = Range("above 0, at most 1", lambda value: 0 < value <= 1)
_RATE = Range("0 or more", lambda value: value >= 0 or value == -1)  # -1: not given

LIMITS: dict[str, Range] = {
    **dict.fromkeys(
        (
            "batch_size", "epochs", "keep_last", "log_interval", "model_save_interval",
            "check_interval", "timeout", "keep_together",
        ),
        _ABOVE_ZERO,
    ),
    **dict.fromkeys(
        (
            "lr", "eps", "weight_decay", "clip_norm", "warmup_iter", "max_iter", "val_interval",
            "eval_interval", "max_bad", "image_size", "context_length",
        ),
        _AT_LEAST_ZERO,
    ),
    **dict.fromkeys(("color_jitter", "color_jitter_share", "grayscale", "wise_ft"), _SHARE),
    **dict.fromkeys(("beta1", "beta2", "ema", "caption_dropout"), _BELOW_ONE),
    **dict.fromkeys(("crop_scale", "layer_decay"), _FACTOR),
    **dict.fromkeys(("lr_image", "lr_text"), _RATE),
    "aspect_jitter": _AT_LEAST_ONE,
}  # fmt: skip
