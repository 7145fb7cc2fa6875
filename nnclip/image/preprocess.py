"""How an image becomes the input of a tower: one object, which a model's file carries.

Array axes: N batch, 3 the channels red, green, blue, R the resolution.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from nnclip.errors import ConfigError, DataError
from nnclip.image.checks import LARGEST, Triple, check_choice, is_number, triple, whole
from nnclip.image.decoding import USUAL_DECODING, Decoding
from nnclip.image.extent import extent_of
from nnclip.image.geometry import (
    FloatBox,
    Range,
    Size,
    central_box,
    random_crop_box,
    resized_size,
)
from nnclip.image.opening import MAX_PIXELS, ImageSource, open_image
from nnclip.image.packing import bits_of, grid_of, packed, packed_side
from nnclip.json_text import brief

CLIP_MEAN: Triple = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Triple = (0.26862954, 0.26130258, 0.27577711)
TO_ONE = 1 / 255  # what 0..255 is multiplied by to be 0..1
RESIZES = ("shortest", "longest", "squash", "none", "patches")
PIPELINES = ("torchvision", "transformers")
INTERPOLATIONS = {mode.name.lower(): mode for mode in Image.Resampling}
NARROWEST = 3 / 4  # width / height of a random crop
MOST_PATCHES = 1024
LEAST_STD = 1e-6  # what is divided by less is noise
KEYS = {  # field -> the key of a file's metadata
    "resolution": "resolution",
    "mean": "mean",
    "std": "std",
    "resize": "preprocess_resize",
    "size": "preprocess_size",
    "interpolation": "preprocess_interpolation",
    "fill": "preprocess_fill",
    "rescale": "preprocess_rescale",
    "pipeline": "preprocess_pipeline",
    "patch": "preprocess_patch",
    "patches": "preprocess_patches",
}
PREPROCESS_KEYS = frozenset(KEYS.values())
ALWAYS = ("resolution", "mean", "std")  # fields that every file tells, as nnclip always did


@dataclass(frozen=True)
class Preprocess:
    """Resizes, crops, rescales and normalises, as the code does that a model was trained with.

    The default is OpenAI's pipeline, to the bit.

    Attributes:
        resolution: R, pixels along a side of the result.
        resize: "shortest" makes the shorter side `size` pixels long, "longest" the longer one,
            "squash" both, whatever the image's shape; "none" leaves the image. Then the centre is
            cropped, or filled up, to R x R. "patches" keeps the shape, and packs what it makes
            into R x R pixels, see `packing`.
        size: pixels; None for R.
        interpolation: a name of Pillow's filters, a key of INTERPOLATIONS.
        fill: 0 to 255, of each channel around an image that is smaller than R.
        rescale: what 0..255 is multiplied by; 1 where the model takes such values.
        mean: per channel, subtracted from what was rescaled; zeros to leave that out.
        std: per channel, then divided by; ones to leave that out.
        pipeline: whose order and rounding. "torchvision" (OpenAI, open_clip): RGB after the crop,
            halves of a pixel to the even side. "transformers" (its processors on Pillow): RGB
            first, halves of a pixel down.
        patch: of "patches": pixels along a side of a patch; else 0.
        patches: of "patches": the most that an image has, which tells R; else 0.

    Raises:
        ConfigError: a value is none of these.
    """

    resolution: int = 224
    resize: str = "shortest"
    size: int | None = None
    interpolation: str = "bicubic"
    fill: int = 0
    rescale: float = TO_ONE
    mean: Triple = CLIP_MEAN
    std: Triple = CLIP_STD
    pipeline: str = "torchvision"
    patch: int = 0
    patches: int = 0

    def __post_init__(self) -> None:
        """Check the values; bring equal ones to one form."""
        check_choice("resize", self.resize, RESIZES)
        check_choice("interpolation", self.interpolation, tuple(INTERPOLATIONS))
        check_choice("pipeline", self.pipeline, PIPELINES)
        if not is_number(self.rescale) or not 0 < self.rescale <= LARGEST:
            raise ConfigError(f"rescale: found {brief(self.rescale)}, expected a number above 0")
        resolution = whole("resolution", self.resolution, 1)
        self._check_patches(resolution)
        size = resolution if self.size is None else whole("size", self.size, 1)
        fill = whole("fill", self.fill, 0, 255)
        filled = self.resize in ("longest", "none") or size < resolution
        checked = {
            "resolution": resolution,
            "size": None if size == resolution or self.resize in ("none", "patches") else size,
            "fill": fill if filled else 0,
            "rescale": float(self.rescale),
            "mean": triple("mean", self.mean, 0),
            "std": triple("std", self.std, LEAST_STD),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def _check_patches(self, resolution: int) -> None:
        if self.resize != "patches":
            for name in ("patch", "patches"):
                whole(name, getattr(self, name), 0, 0)
            return
        patches = whole("patches", self.patches, 1, MOST_PATCHES)
        patch = whole("patch", self.patch, math.isqrt(bits_of(patches)) + 1)
        side = patch * packed_side(patches)
        if resolution != side:
            raise ConfigError(
                f"resolution: found {resolution}, expected {side}, which holds {patches} patches "
                f"of {patch} pixels"
            )

    @classmethod
    def of_patches(cls, patch: int, patches: int, **more: Any) -> "Preprocess":
        """The one of images that keep their shape; ConfigError as for the class."""
        side = whole("patch", patch, 1) * packed_side(whole("patches", patches, 1, MOST_PATCHES))
        return cls(side, "patches", patch=patch, patches=patches, **more)

    def __call__(self, image: Image.Image, out: np.ndarray | None = None) -> np.ndarray:
        """The input of an image tower.

        Transparency is dropped, as all pipelines do. Where RGB comes last, palette and 1-bit images
        are resized without interpolation, because Pillow does so.

        Args:
            image: any mode that Pillow converts to RGB; its EXIF rotation is ignored, see
                `open_image`.
            out: (3, R, R) float32 to write into.

        Returns:
            (3, R, R) float32, about -1.8..2.2 with CLIP's mean and std.

        Raises:
            DataError: not an image, or so narrow that it cannot be resized.
        """
        return self.normalise_image(self.square(image), out)

    def open(
        self,
        source: ImageSource,
        decoding: Decoding = USUAL_DECODING,
        *,
        crop: float | None = None,
        max_pixels: int = MAX_PIXELS,
        name: str = "",
    ) -> Image.Image:
        """An image file, decoded to no more pixels than this needs; see `open_image`.

        Args:
            source: the file.
            decoding: how; to the bit as every pixel would have it with `exact`.
            crop: least share of the area that `random_crop` is going to keep; None for a call.
            max_pixels: see `open_image`.
            name: see `open_image`.
        """
        return open_image(
            source,
            side=None if decoding.exact else self._side(crop),
            of="shortest" if crop else self.resize,
            as_seen=decoding.as_seen,
            max_pixels=max_pixels,
            name=name,
        )

    def _side(self, crop: float | None) -> int | None:
        """What a side of the whole image becomes; None where a reduced image would not do."""
        if self.resize in ("none", "patches") or self.interpolation == "nearest":
            return None
        if crop is None:
            return self.size or self.resolution
        return math.ceil(self.resolution / math.sqrt(crop * NARROWEST))

    def planes(
        self, content: bytes, decoding: Decoding = USUAL_DECODING, *, name: str = ""
    ) -> np.ndarray:
        """The bytes of an image file -> (3, R, R) uint8, which `normalise` turns into values.

        For decoding in one process and computing in another: bytes are a quarter of floats.

        Raises:
            DataError: not an image, a damaged one, or one that is too large.
        """
        square = self.square(self.open(content, decoding, name=name))
        return np.stack([np.asarray(channel) for channel in square.split()])

    def normalise(self, planes_N3RR: np.ndarray) -> np.ndarray:
        """(N, 3, R, R) uint8 from `planes` -> float32, equal to those of a call."""
        x_N3RR = np.empty(planes_N3RR.shape, np.float32)
        for c, values in enumerate(self._values()):
            x_N3RR[:, c] = values[planes_N3RR[:, c]]
        return x_N3RR

    def normalise_image(self, image: Image.Image, out: np.ndarray | None = None) -> np.ndarray:
        """An image of any size -> (3, H, W) float32, its values looked up in a table of 256.

        Args:
            image: converted to RGB if it is not.
            out: (3, H, W) float32 to write into.

        Raises:
            DataError: not an image, or one that cannot be read.
        """
        _check_image(image)
        if out is None:
            out = np.empty((3, image.height, image.width), np.float32)
        for values, channel, plane in zip(
            self._values(), image.convert("RGB").split(), out, strict=True
        ):
            np.take(values, np.asarray(channel), out=plane, mode="clip")
        return out

    def square(self, image: Image.Image) -> Image.Image:
        """The RGB image of R x R pixels; DataError as for a call."""
        _check_image(image)
        extent = extent_of(image)
        if self.pipeline == "transformers":
            image = image.convert("RGB")
        if self.resize == "patches":
            return self._packed(image, extent.stored, None if extent.whole else extent.content)
        size = self.size or self.resolution
        wanted = resized_size(extent.stored, size, self.resize, self.pipeline)
        if not 0 < wanted[0] * wanted[1] <= MAX_PIXELS:
            raise DataError(
                f"an image of {image.width} x {image.height} pixels would have {wanted[0]} x "
                f"{wanted[1]} when resized, expected 1 to {MAX_PIXELS} in all: crop it first"
            )
        box = left, top, right, bottom = central_box(wanted, self.resolution, self.pipeline)
        around = [max(0, n) for n in (-left, -top, right - wanted[0], bottom - wanted[1])]
        if not extent.whole and not any(around):  # then margins need not be resized
            return self._resized_part(image, extent.part(box, wanted))
        if self.resize != "none":
            how = INTERPOLATIONS[self.interpolation]
            image = image.resize(wanted, how, box=None if extent.whole else extent.content)
        if self.fill and any(around):
            image = _filled(image, (around[0], around[1], around[2], around[3]), self.fill)
            left, top = left + around[0], top + around[1]
        box = left, top, left + self.resolution, top + self.resolution
        return image.crop(box).convert("RGB")  # outside the image, crop gives zeros

    def _packed(self, image: Image.Image, stored: Size, box: FloatBox | None) -> Image.Image:
        """The grid of an image of size `stored`, whose content is this box, as a square."""
        columns, rows = grid_of(stored, self.patch, self.patches)
        size = columns * self.patch, rows * self.patch
        resized = image.resize(size, INTERPOLATIONS[self.interpolation], box=box)
        return packed(resized.convert("RGB"), self.patch, self.patches)

    def _resized_part(self, image: Image.Image, part: FloatBox) -> Image.Image:
        side = self.resolution, self.resolution
        return image.resize(side, INTERPOLATIONS[self.interpolation], box=part).convert("RGB")

    def random_crop(
        self,
        image: Image.Image,
        rng: np.random.Generator,
        scale: Range = (0.9, 1.0),
        ratio: Range = (3 / 4, 4 / 3),
    ) -> Image.Image:
        """The augmentation of CLIP's training: a random part of the image, resized to a square.

        Args:
            image: any mode that Pillow converts to RGB.
            rng: the only source of chance: the same state gives the same crop.
            scale: the least and the greatest share of the image's area.
            ratio: the least and the greatest width / height of the part.

        Returns:
            An RGB image of R x R pixels, for `normalise_image`. The part is squashed whatever
            `resize` says, as in open_clip, and interpolated as `interpolation` says; only
            "patches" keeps its shape.

        Source: Radford et al. 2021, section 2.4; the ranges are open_clip's and torchvision's.
        """
        _check_image(image)
        extent = extent_of(image)
        if self.pipeline == "transformers":
            image = image.convert("RGB")
        box = random_crop_box(extent.stored, rng, scale, ratio)
        if self.resize == "patches":
            size = box[2] - box[0], box[3] - box[1]
            if extent.whole:
                return self._packed(image.crop(box), size, None)
            return self._packed(image, size, extent.part(box, extent.stored))
        if not extent.whole:
            return self._resized_part(image, extent.part(box, extent.stored))
        side = self.resolution, self.resolution
        return image.crop(box).resize(side, INTERPOLATIONS[self.interpolation]).convert("RGB")

    def at(self, resolution: int) -> "Preprocess":
        """The same for another resolution; `size` keeps its ratio to it.

        Raises:
            ConfigError: images keep their shape.
        """
        if resolution == self.resolution:
            return self
        if self.resize == "patches":
            raise ConfigError(
                f"--image-size: found {resolution}, expected none, since images of this model keep "
                f"their shape: each has at most {self.patches} patches of {self.patch} pixels"
            )
        size = None if self.size is None else round(self.size * resolution / self.resolution)
        return replace(self, resolution=resolution, size=size)

    def metadata(self) -> dict[str, Any]:
        """What a file says of it: what is not as in OpenAI's pipeline, and what ALWAYS names."""
        usual = Preprocess(self.resolution)
        fields = {name: getattr(self, name) for name in KEYS}
        return {
            KEYS[name]: list(value) if isinstance(value, tuple) else value
            for name, value in fields.items()
            if name in ALWAYS or value != getattr(usual, name)
        }

    @classmethod
    def from_metadata(
        cls, metadata: Mapping[str, Any], default: "Preprocess | None" = None
    ) -> "Preprocess":
        """What `metadata` wrote; for what it leaves out, see there.

        Args:
            metadata: of a file.
            default: of ALWAYS, where the file comes from elsewhere and does not tell them.

        Raises:
            ConfigError: a value that cannot be, by its key.
        """
        fields = {name: getattr(default or cls(), name) for name in ALWAYS}
        fields |= {name: metadata[key] for name, key in KEYS.items() if key in metadata}
        try:
            return cls(**fields)
        except ConfigError as error:
            name, _, rest = str(error).partition(":")
            raise ConfigError(f"metadata {KEYS[name]}:{rest}") from error

    def steps(self) -> list[str]:
        """What is done, in order, for people."""
        side, r = self.size or self.resolution, self.resolution
        by = f"with Pillow's {self.interpolation.upper()}"
        scale = "divide by 255" if self.rescale == TO_ONE else f"multiply by {self.rescale:.9g}"
        values = [scale, "subtract mean, divide by std"]
        if self.resize == "patches":
            return ["convert to RGB", *self._packing_steps(by), *values]
        resized = {
            "shortest": [f"resize {by} so that the shorter side has {side} pixels"],
            "longest": [f"resize {by} so that the longer side has {side} pixels"],
            "squash": [f"resize {by} to {side} x {side} pixels, whatever the shape"],
            "none": [],
        }[self.resize]
        if (self.resize, side) != ("squash", r):
            half = "to the even number" if self.pipeline == "torchvision" else "down"
            missing = f", {self.fill} where there is none" if self.resize != "squash" else ""
            resized.append(f"take the central {r} x {r} pixels{missing}; margins round {half}")
        rgb = ["convert to RGB"]
        shape = resized + rgb if self.pipeline == "torchvision" else rgb + resized
        return [*shape, *values]

    def _packing_steps(self, by: str) -> list[str]:
        patch, bits = self.patch, bits_of(self.patches)
        return [
            f"resize {by} to whole patches of {patch} x {patch} pixels, about in its shape, as "
            f"many as are at most {self.patches}",
            f"put the patches, row by row, into the cells of a black square of {self.resolution} x "
            f"{self.resolution} pixels",
            f"write the grid into the first {bits} pixels of the last cell, lowest bit first, 255 "
            "for 1: rows in red, columns in green",
        ]

    def describe(self) -> str:
        """What is done, in one line."""
        mean, std = (", ".join(f"{x:.4g}" for x in triple) for triple in (self.mean, self.std))
        return f"{'; '.join(self.steps())} (mean {mean}; std {std})"

    @property
    def halfway(self) -> Triple:
        """Per channel, what lies between the values of black and of white."""
        red, green, blue = self._values()[:, [0, 255]].mean(axis=1).tolist()
        return red, green, blue

    def _values(self) -> np.ndarray:
        return _values(self.rescale, self.mean, self.std)


@lru_cache(maxsize=8)
def _values(rescale: float, mean: Triple, std: Triple) -> np.ndarray:
    """(3, 256) float32: what each of the 256 values of a channel becomes.

    Rounded once after rescaling, as torch's division by 255 and transformers' product both are.
    """
    values = (np.arange(256, dtype=np.float64) * rescale).astype(np.float32)
    mean_31, std_31 = (np.array(triple, np.float32).reshape(3, 1) for triple in (mean, std))
    return (values - mean_31) / std_31


def _filled(image: Image.Image, around: tuple[int, int, int, int], value: int) -> Image.Image:
    """Larger by so many pixels on each side, all bands of them `value`, as torchvision pads."""
    bands = len(image.getbands())
    return ImageOps.expand(image, around, value if bands == 1 else (value,) * bands)


def _check_image(image: object) -> None:
    if not isinstance(image, Image.Image):
        raise DataError(f"an image is {type(image).__name__}, expected PIL.Image: see open_image")
    if 0 in image.size:
        raise DataError(
            f"an image has {image.width} x {image.height} pixels, expected at least 1 x 1"
        )
    try:
        image.load()
    except Exception as error:  # its file is closed, cut or hostile: see `open_image`
        raise DataError(
            f"an image of {image.width} x {image.height} pixels cannot be read ({error}), expected "
            "a whole one whose file is still open"
        ) from error
