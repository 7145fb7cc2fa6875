"""Images: listing, reading, preprocessing and augmentation."""

from nnclip.image.colours import Colours
from nnclip.image.decoding import OPENAI, USUAL_DECODING, Decoding
from nnclip.image.deprecated import (
    normalise,
    normalise_planes,
    planes,
    preprocess,
    preprocess_batch,
    random_resized_crop,
)
from nnclip.image.formats import image_suffixes
from nnclip.image.listing import NotRead, image_files, picture_files
from nnclip.image.opening import MAX_BYTES, MAX_PIXELS, ImageSource, open_image, seen_size
from nnclip.image.preprocess import CLIP_MEAN, CLIP_STD, Preprocess

__all__ = [
    "CLIP_MEAN",
    "CLIP_STD",
    "MAX_BYTES",
    "MAX_PIXELS",
    "OPENAI",
    "USUAL_DECODING",
    "Colours",
    "Decoding",
    "ImageSource",
    "NotRead",
    "Preprocess",
    "image_files",
    "image_suffixes",
    "normalise",
    "normalise_planes",
    "open_image",
    "picture_files",
    "planes",
    "preprocess",
    "preprocess_batch",
    "random_resized_crop",
    "seen_size",
]
