"""Images of every mode and shape, to the bit as open_clip and transformers prepare them."""

import numpy as np
import pytest

from nnclip.errors import DataError
from nnclip.image import Preprocess

pytestmark = pytest.mark.torch
SIZES = ((97, 56), (46, 81), (64, 64), (33, 32), (3, 2), (31, 150), (200, 5))
HALF = (0.5, 0.5, 0.5)


def different(theirs, ours, image):
    """How many values differ; None where both refuse the image."""
    try:
        expected = np.asarray(theirs(image))
    except (ValueError, ZeroDivisionError):  # a side of no pixels
        with pytest.raises(DataError, match="expected 1 to"):
            ours(image)
        return None
    found = ours(image)
    assert found.shape == expected.shape and found.dtype == expected.dtype == np.float32
    return int((found != expected).sum())


@pytest.mark.parametrize("resolution", [32, 31])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("resize", ["shortest", "squash", "longest"])
def test_equal_to_open_clip(picture, mode, resize, interpolation, resolution):
    from open_clip.transform import PreprocessCfg, image_transform_v2

    for fill in (0, 77):
        cfg = PreprocessCfg(
            (resolution, resolution),
            mean=HALF,
            std=HALF,
            interpolation=interpolation,
            resize_mode=resize,
            fill_color=fill,
        )
        ours = Preprocess(
            resolution, resize, interpolation=interpolation, fill=fill, mean=HALF, std=HALF
        )
        theirs = image_transform_v2(cfg, is_train=False)
        for size in SIZES:
            assert not different(theirs, ours, picture(mode, size)), (size, fill)


TRANSFORMERS = {
    "shortest": ({"size": {"shortest_edge": 31}, "crop_size": 31}, {}),
    "larger": ({"size": {"shortest_edge": 40}, "crop_size": 31}, {"size": 40}),
    "smaller": ({"size": {"shortest_edge": 20}, "crop_size": 31}, {"size": 20}),
    "squash": ({"size": {"height": 31, "width": 31}, "do_center_crop": False}, {}),
    "squash larger": ({"size": {"height": 40, "width": 40}, "crop_size": 31}, {"size": 40}),
    "longest": ({"size": {"max_height": 31, "max_width": 31}, "crop_size": 31}, {}),
    "none": ({"do_resize": False, "crop_size": 31}, {}),
    "no rescaling": ({"size": 31, "crop_size": 31, "do_rescale": False}, {"rescale": 1}),
    "no normalising": (
        {"size": 31, "crop_size": 31, "do_normalize": False},
        {"mean": (0, 0, 0), "std": (1, 1, 1)},
    ),
    "to two": (
        {"size": 31, "crop_size": 31, "rescale_factor": 1 / 127.5, "image_mean": 1.0},
        {"rescale": 1 / 127.5, "mean": (1, 1, 1)},
    ),
}


@pytest.mark.parametrize("case", TRANSFORMERS)
def test_equal_to_transformers(picture, mode, case):
    from transformers import CLIPImageProcessorPil

    told, fields = TRANSFORMERS[case]
    word = case.split()[0]
    resize = word if word in ("squash", "longest", "none") else "shortest"
    names = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
    for number, name in enumerate(names) if case == "larger" else ((2, "bilinear"), (3, "bicubic")):
        processor = CLIPImageProcessorPil(resample=number, **told)
        ours = Preprocess(31, resize, interpolation=name, pipeline="transformers", **fields)

        def theirs(image, processor=processor):
            return processor(image, return_tensors="np")["pixel_values"][0]

        for size in SIZES:
            assert not different(theirs, ours, picture(mode, size)), (size, name)


def test_the_torchvision_processors_of_transformers_differ_by_a_few_grey_levels(picture):
    """What docs/models.md says of them."""
    from transformers import CLIPImageProcessor

    ours = Preprocess(31, pipeline="transformers", mean=(0, 0, 0), std=(1, 1, 1))
    fast = CLIPImageProcessor(size=31, crop_size=31, do_normalize=False)
    for size in ((517, 301), (230, 411)):
        image = picture("RGB", size)
        expected = np.asarray(fast(image, return_tensors="np")["pixel_values"][0])
        assert np.abs(ours(image) - expected).max() * 255 < 3
