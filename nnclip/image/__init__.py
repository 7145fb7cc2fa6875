"""Pictures: reading, preprocessing and augmentation."""

from nnclip.image.preprocess import (
    CLIP_MEAN,
    CLIP_STD,
    MAX_PIXELS,
    ImageSource,
    normalise,
    open_image,
    preprocess,
    preprocess_batch,
    random_resized_crop,
)

__all__ = [
    "CLIP_MEAN",
    "CLIP_STD",
    "MAX_PIXELS",
    "ImageSource",
    "normalise",
    "open_image",
    "preprocess",
    "preprocess_batch",
    "random_resized_crop",
]
