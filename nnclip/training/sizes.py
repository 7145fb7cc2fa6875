"""Models that can be trained from scratch, by name."""

import dataclasses

from nnclip.errors import ConfigError
from nnclip.graph.config import (
    PUBLISHED,
    BlockConfig,
    ClipConfig,
    ClipResNetConfig,
    TextConfig,
    VitConfig,
)
from nnclip.image import Preprocess
from nnclip.training.families import FAMILIES
from nnclip.training.spelled import is_spelled, spelled_size

_OPENAI_VOCABULARY = 49408

_TINY = ClipConfig(
    embed=256,
    image=VitConfig(Preprocess(64), 8, BlockConfig(width=256, layers=6, heads=4, hidden=1024)),
    text=TextConfig(_OPENAI_VOCABULARY, 32, BlockConfig(width=256, layers=4, heads=4, hidden=1024)),
)

# The same with a ResNet of a quarter of RN50's channels and one block a stage.
_TINY_RESNET = dataclasses.replace(
    _TINY, image=ClipResNetConfig(Preprocess(64), layers=(1, 1, 1, 1), width=16, heads=8)
)

# RN50 with half as many text layers, as it has been trained on the captions of COCO.
_RN50_COCO = ClipConfig(
    embed=1024,
    image=PUBLISHED["RN50"].image,
    text=TextConfig(_OPENAI_VOCABULARY, 77, BlockConfig(width=512, layers=6, heads=8, hidden=2048)),
)

# The bundled model: 64 pixels, and small enough to lie in a repository. Convolutions learn forms
# from few images: of 11 shapes a small ResNet knew 89 % after 150 steps, a transformer of patches
# 75 % after 300.
_BUNDLED = ClipConfig(
    embed=192,
    image=ClipResNetConfig(Preprocess(64), layers=(1, 2, 2, 1), width=24, heads=12),
    text=TextConfig(_OPENAI_VOCABULARY, 32, BlockConfig(width=192, layers=4, heads=6, hidden=768)),
)

# Low-resource towers: image towers by patch and resolution, text towers by depth. All end in 512
# dimensions and read 32 tokens.
_IMAGES = {
    "M/14": VitConfig(Preprocess(112), 14, BlockConfig(256, layers=6, heads=8, hidden=512)),
    "S/16": VitConfig(Preprocess(112), 16, BlockConfig(512, layers=8, heads=8, hidden=2048)),
    "B/16": VitConfig(Preprocess(112), 16, BlockConfig(768, layers=12, heads=8, hidden=3072)),
    "B/32": VitConfig(Preprocess(224), 32, BlockConfig(768, layers=12, heads=12, hidden=3072)),
    "L/14": VitConfig(Preprocess(224), 14, BlockConfig(1024, layers=24, heads=16, hidden=4096)),
}
_TEXTS = {
    "S": BlockConfig(width=512, layers=8, heads=8, hidden=1024),
    "B": BlockConfig(width=512, layers=12, heads=8, hidden=2048),
    "L": BlockConfig(width=512, layers=12, heads=8, hidden=2048),
}


def _low_resource() -> dict[str, ClipConfig]:
    return {
        f"{image}@{vit.resolution}+{text}": ClipConfig(
            512, vit, TextConfig(_OPENAI_VOCABULARY, 32, blocks)
        )
        for image, vit in _IMAGES.items()
        for text, blocks in _TEXTS.items()
        if text != "L"  # the same tower as B
    }


SIZES: dict[str, ClipConfig] = {
    "bundled": _BUNDLED,
    "tiny": _TINY,
    "tiny-RN": _TINY_RESNET,
    **_low_resource(),
    "RN50-coco": _RN50_COCO,
    **PUBLISHED,
    **FAMILIES,
}


def named_size(name: str) -> ClipConfig:
    """The configuration called `name`, or spelled out by it.

    Raises:
        ConfigError: there is no such name, with a list of all; see `spelled_size`.
    """
    if is_spelled(name):
        return spelled_size(name)
    if name not in SIZES:
        raise ConfigError(
            f"model {name!r}: found no such size, expected one of {', '.join(SIZES)}, or one "
            "that is spelled out, such as vit:64,8,128,3+gpt:128,3"
        )
    return SIZES[name]
