"""How transformers prepares images: the settings of its image processors, read and written.

They stand in `preprocessor_config.json`, or, as transformers 5 writes them, below `image_processor`
in `processor_config.json`, which comes first. What is computed is what the processors on Pillow
compute; those on torchvision resize tensors, and differ by a few grey levels (docs/models.md).

Source: https://github.com/huggingface/transformers, image_processing_backends.py and
image_processing_base.py.
"""

from collections.abc import Mapping
from typing import Any

from nnclip.convert.dialect import Settings, whole_number
from nnclip.convert.open_clip_images import square_side, three
from nnclip.errors import CheckpointError, ConfigError
from nnclip.image import CLIP_MEAN, CLIP_STD, Preprocess
from nnclip.image.preprocess import INTERPOLATIONS, TO_ONE

OWN_FILE, PROCESSOR_FILE = "preprocessor_config.json", "processor_config.json"
FILTERS = {mode.value: name for name, mode in INTERPOLATIONS.items()}
ALL = {  # what every processor has where its class says nothing else
    "do_resize": True,
    "default_to_square": False,
    "do_center_crop": False,
    "crop_size": None,
    "do_rescale": True,
    "rescale_factor": TO_ONE,
    "do_normalize": True,
}
CLIP = {
    **ALL,
    "size": {"shortest_edge": 224},
    "do_center_crop": True,
    "crop_size": 224,
    "resample": 3,
    "image_mean": list(CLIP_MEAN),
    "image_std": list(CLIP_STD),
}
SIGLIP = {
    **ALL,
    "size": {"height": 224, "width": 224},
    "resample": 3,
    "image_mean": 0.5,
    "image_std": 0.5,
}
NAFLEX = {
    **ALL,
    "size": None,
    "resample": 2,
    "image_mean": 0.5,
    "image_std": 0.5,
    "patch_size": 16,
    "max_num_patches": 256,
}
CLASSES: dict[str, dict[str, Any]] = {  # class -> what it does where its file says nothing
    "CLIPImageProcessor": CLIP,
    "CLIPFeatureExtractor": CLIP,
    "ChineseCLIPImageProcessor": CLIP,
    "ChineseCLIPFeatureExtractor": CLIP,
    "BitImageProcessor": CLIP,
    "SiglipImageProcessor": SIGLIP,
    "Siglip2ImageProcessor": NAFLEX,
    "ViTImageProcessor": {**SIGLIP, "default_to_square": True, "resample": 2},
    "ViTFeatureExtractor": {**SIGLIP, "default_to_square": True, "resample": 2},
}
OLDEST = "CLIPFeatureExtractor"  # where no class is told
# Keys that change no value: of one RGB image all processors make what they would make without.
WITHOUT_EFFECT = (
    *("image_processor_type", "feature_extractor_type", "processor_class", "_processor_class"),
    *("do_convert_rgb", "return_tensors", "device", "disable_grouping", "input_data_format"),
    *("_valid_processor_keys", "use_fast", "backend"),
)
ONLY = {  # key -> the values that are computed
    "do_pad": (False, None),
    "pad_size": (None,),
    "image_seq_length": (None,),
    "data_format": ("channels_first", None),
    "use_square_size": (False, None),
}
SQUASH, SHORTEST, LONGEST = {"height", "width"}, {"shortest_edge"}, {"max_height", "max_width"}


def read_preprocess(settings: Mapping[str, Settings], cfg: Settings) -> Preprocess | None:
    """What transformers' processor of a folder does; None if the folder has none.

    Args:
        settings: file -> its content.
        cfg: the settings of the image tower.

    Raises:
        CheckpointError: a class, a key or a value that is not known, or images of another size.
    """
    nested = settings.get(PROCESSOR_FILE, {}).get("image_processor")
    file, told = PROCESSOR_FILE, nested
    if nested is None:
        file, told = OWN_FILE, settings.get(OWN_FILE)
    if told is None:
        return None
    try:
        found = _preprocess(told)
    except (CheckpointError, ConfigError) as error:
        raise CheckpointError(f"{file}: {error}") from error
    if keeps_shape(cfg) != (found.resize == "patches"):
        raise CheckpointError(
            f"{file}: found the processor of {'fixed' if keeps_shape(cfg) else 'varying'} sizes, "
            "expected the other one, as config.json tells"
        )
    if found.resize == "patches":
        wanted = whole_number(cfg, "patch_size", 16, 1)
        if found.patch != wanted:
            raise CheckpointError(
                f"{file}: found patches of {found.patch} pixels, expected {wanted}, which the "
                "image tower takes"
            )
        return found
    wanted = image_side(cfg)
    if found.resolution != wanted:
        raise CheckpointError(
            f"{file}: found images of {found.resolution} pixels, expected {wanted}, which the "
            "image tower takes"
        )
    return found


def keeps_shape(cfg: Settings) -> bool:
    """Whether an image tower with these settings takes images of any shape."""
    return "num_patches" in cfg or str(cfg.get("model_type", "")).startswith("siglip2")


def image_side(cfg: Settings) -> int:
    """Pixels along a side of what an image tower of one size takes."""
    return square_side("vision_config image_size", cfg.get("image_size", 224))


def usual_preprocess(name: str, cfg: Settings) -> Preprocess:
    """What the processor of this class does for a tower, where no file says more."""
    usual = CLASSES[name]
    if keeps_shape(cfg):
        patch = whole_number(cfg, "patch_size", 16, 1)
        return _preprocess({"image_processor_type": name, "patch_size": patch})
    side = image_side(cfg)
    crop = {"crop_size": side} if usual["do_center_crop"] else {}
    size = dict.fromkeys(usual["size"], side)
    return _preprocess({"image_processor_type": name, "size": size, **crop})


def _preprocess(told: Settings) -> Preprocess:
    told = _complete(told)
    if "max_num_patches" in told:
        return _packing(told)
    resize, side = _resize(told)
    if told["do_center_crop"]:
        resolution = _square("crop_size", told["crop_size"])
    elif resize == "squash" and side is not None:
        resolution = side
    else:
        raise CheckpointError(
            "do_center_crop: found it off, expected it on: images would not be square"
        )
    return Preprocess(resolution, resize, size=side, **_values(told))


def _packing(told: Mapping[str, Any]) -> Preprocess:
    """Of images that keep their shape."""
    for key, value in (("do_resize", True), ("do_center_crop", False), ("size", None)):
        if told[key] != value:
            raise CheckpointError(f"{key}: found {told[key]!r}, expected {value!r}")
    return Preprocess.of_patches(told["patch_size"], told["max_num_patches"], **_values(told))


def _values(told: Mapping[str, Any]) -> dict[str, Any]:
    """How pixels are interpolated and normalised."""
    if told["resample"] not in FILTERS:
        raise CheckpointError(
            f"resample: found {told['resample']!r}, expected one of "
            f"{', '.join(f'{number} ({name})' for number, name in FILTERS.items())}"
        )
    normalised = bool(told["do_normalize"])
    return {
        "interpolation": FILTERS[told["resample"]],
        "rescale": told["rescale_factor"] if told["do_rescale"] else 1.0,
        "mean": three(told["image_mean"] if normalised else 0.0),
        "std": three(told["image_std"] if normalised else 1.0),
        "pipeline": "transformers",
    }


def _complete(told: Settings) -> dict[str, Any]:
    """With what the processor's class adds; null means that, too."""
    told = {key: value for key, value in told.items() if value is not None}
    name = told.get("image_processor_type", told.get("feature_extractor_type", OLDEST))
    usual = CLASSES.get(_plain(str(name)))
    if usual is None:
        raise CheckpointError(
            f"image_processor_type: found {name!r}, expected one of {', '.join(CLASSES)}"
        )
    for key, value in told.items():
        if key in ONLY and value not in ONLY[key]:
            raise CheckpointError(f"{key}: found {value!r}, expected {ONLY[key][0]!r}")
        if key not in (*usual, *WITHOUT_EFFECT, *ONLY):
            raise CheckpointError(
                f"found the key {key!r}, expected none but {', '.join((*usual, *ONLY))}"
            )
        if key.startswith("do_") and not isinstance(value, bool):
            raise CheckpointError(f"{key}: found {value!r}, expected true or false")
    return {**usual, **told}


def _plain(name: str) -> str:
    """The class without the word that says what it computes with."""
    return name.removesuffix("Fast").removesuffix("Pil")


def _resize(told: Mapping[str, Any]) -> tuple[str, int | None]:
    """How images are resized, and to what side."""
    if not told["do_resize"]:
        return "none", None
    size = told["size"]
    if isinstance(size, int):
        return ("squash" if told["default_to_square"] else "shortest"), size
    if isinstance(size, list):
        return "squash", square_side("size", size)
    keys = set(size) if isinstance(size, dict) else set()
    if keys == SHORTEST:
        return "shortest", square_side("size", size["shortest_edge"])
    for names, resize in ((SQUASH, "squash"), (LONGEST, "longest")):
        if keys == names:
            return resize, square_side("size", [size[name] for name in sorted(names)])
    raise CheckpointError(
        f"size: found {size!r}, expected shortest_edge, height and width, or max_height and "
        "max_width"
    )


def _square(name: str, size: Any) -> int:
    if isinstance(size, dict) and set(size) == SQUASH:
        size = [size["height"], size["width"]]
    return square_side(name, size)


def write_preprocess(preprocess: Preprocess) -> dict[str, Any]:
    """A `preprocessor_config.json`; CheckpointError if no processor does it."""
    if preprocess.fill:
        raise CheckpointError(
            f"fill of images: found {preprocess.fill}, but transformers' code knows only 0"
        )
    if preprocess.resize == "patches":
        own = {"patch_size": preprocess.patch, "max_num_patches": preprocess.patches}
        return {"image_processor_type": "Siglip2ImageProcessor", **own, **_written(preprocess)}
    side, resolution = preprocess.size or preprocess.resolution, preprocess.resolution
    sizes = {
        "shortest": {"shortest_edge": side},
        "squash": {"height": side, "width": side},
        "longest": {"max_height": side, "max_width": side},
        "none": {"shortest_edge": side},
    }
    cropped = (preprocess.resize, side) != ("squash", resolution)
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": preprocess.resize != "none",
        "size": sizes[preprocess.resize],
        "do_center_crop": cropped,
        "crop_size": {"height": resolution, "width": resolution},
        **_written(preprocess),
    }


def _written(preprocess: Preprocess) -> dict[str, Any]:
    return {
        "resample": INTERPOLATIONS[preprocess.interpolation].value,
        "do_convert_rgb": True,
        "do_rescale": preprocess.rescale != 1,
        "rescale_factor": preprocess.rescale,
        "do_normalize": (preprocess.mean, preprocess.std) != ((0, 0, 0), (1, 1, 1)),
        "image_mean": list(preprocess.mean),
        "image_std": list(preprocess.std),
    }
