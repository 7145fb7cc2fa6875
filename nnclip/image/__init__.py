"""Pictures: listing, reading, preprocessing and augmentation."""

from nnclip.image.planes import normalise_planes, planes
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
from nnclip.image.tables import (
    PICTURE_SUFFIXES,
    dialect_of,
    picture_files,
    picture_root,
    read_rows,
)

__all__ = [
    "CLIP_MEAN",
    "CLIP_STD",
    "MAX_PIXELS",
    "PICTURE_SUFFIXES",
    "ImageSource",
    "dialect_of",
    "normalise",
    "normalise_planes",
    "open_image",
    "picture_files",
    "picture_root",
    "planes",
    "preprocess",
    "preprocess_batch",
    "random_resized_crop",
    "read_rows",
]
