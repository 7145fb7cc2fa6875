"""Small models: the one that all tests share, and one with heads on other towers."""

from pathlib import Path

import pytest

from nnclip.clip import CLIP
from nnclip.graph.config import ClipConfig
from nnclip.graph.heads import HeadConfig
from tests.towers.samples import IMAGES, TEXTS, saved

MODELS = {
    "vit": None,  # the one that all tests share
    "heads on resnet and bert": ClipConfig(
        20,
        IMAGES["resnet 18"].tower,
        TEXTS["bert"].tower,
        HeadConfig(IMAGES["resnet 18"].width, 20),
        HeadConfig(TEXTS["bert"].width, 20, 1),
    ),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request, small_h5: Path, tmp_path_factory) -> CLIP:
    """One model after the other."""
    config = MODELS[request.param]
    path = small_h5
    if config is not None:
        path = saved(config, tmp_path_factory.mktemp("models") / "model.h5")
    return CLIP(path, precision="fp32")
