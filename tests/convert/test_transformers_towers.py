"""One tower of transformers alone: held against its own code, joined, and written back."""

import numpy as np
import pytest

from nnclip.cli import main
from nnclip.convert import torch_to_h5
from nnclip.convert.h5_to_torch import convert_h5
from nnclip.convert.source import DIALECTS
from nnclip.convert.torch_to_h5 import convert_file
from nnclip.errors import CheckpointError
from nnclip.model import CLIP
from tests.convert.encoder_samples import lively
from tests.convert.transformers_samples import (
    POSITIONS,
    SIZES,
    VISION,
    Canonical,
    images,
    unigram,
)
from tests.lazy import lazy

safetensors_torch = lazy("safetensors.torch")
torch = lazy("torch")
transformers = lazy("transformers")
pytestmark = pytest.mark.torch
IMAGES = {
    "CLIPVisionModelWithProjection": {"projection_dim": 20},
    "CLIPVisionModel": {},
    "MetaClip2VisionModelWithProjection": {"projection_dim": 20},
    "SiglipVisionModel": {},
    "Siglip2VisionModel": {"num_patches": 9, "patch_size": 8},
    "ChineseCLIPVisionModel": {},
}
TEXTS = {
    "CLIPTextModelWithProjection": {"vocab_size": 49408, "projection_dim": 20},
    "CLIPTextModel": {"vocab_size": 49408},
    "MetaClip2TextModelWithProjection": {"eos_token_id": 2, "projection_dim": 20},
    "SiglipTextModel": {"projection_size": 20},
    "Siglip2TextModel": {"projection_size": 20},
}


def saved(code, folder, **settings):
    """A small model of this class with random weights, in a folder."""
    torch.manual_seed(2)
    config = getattr(transformers, code.removesuffix("WithProjection").replace("Model", "Config"))
    model = lively(getattr(transformers, code)(config(**settings)))
    model.save_pretrained(folder)
    return model


def image_tower(code, folder):
    if code.startswith("Siglip2"):
        processor = transformers.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=12)
        processor.save_pretrained(folder)
    else:
        siglip = code.startswith("Siglip")
        images(folder, "SiglipImageProcessor" if siglip else "CLIPImageProcessor")
    return saved(code, folder, **{**VISION, **IMAGES[code]})


def text_tower(code, folder):
    more = {"max_position_embeddings": POSITIONS}
    if "vocab_size" not in TEXTS[code]:
        more["vocab_size"] = len((Canonical if code.startswith("Siglip") else unigram)(folder))
    return saved(code, folder, **SIZES, **TEXTS[code], **more)


TOWERS = [*((image_tower, c) for c in IMAGES), *((text_tower, c) for c in TEXTS)]


@pytest.fixture(scope="module", params=TOWERS, ids=lambda p: p[1])
def tower(request, tmp_path_factory):
    make, code = request.param
    folder = tmp_path_factory.mktemp("tower")
    return make(code, folder), folder


def test_a_tower_is_verified(tower, capsys):
    _, folder = tower
    assert torch_to_h5.main([str(folder), str(folder / "t.h5"), "--verify"]) == 0
    said = capsys.readouterr().out
    assert "features differ by" in said
    assert ("verified  0 pixels" in said) == (folder / "preprocessor_config.json").exists()


def test_written_back_it_is_the_same_and_loads(tower, tmp_path):
    model, folder = tower
    convert_file(folder, folder / "b.h5")
    side = "image" if (folder / "preprocessor_config.json").exists() else "text"
    convert_h5(folder / "b.h5", tmp_path, DIALECTS[f"huggingface_{side}"])
    back = type(model).from_pretrained(tmp_path)
    assert back.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert back.state_dict()[name].equal(tensor), name


def test_two_towers_are_joined_and_answer(tmp_path):
    made = {}
    for make, code in ((image_tower, "CLIPVisionModelWithProjection"),
                       (text_tower, "CLIPTextModelWithProjection")):  # fmt: skip
        folder = tmp_path / code
        folder.mkdir()
        made[make] = make(code, folder)
        convert_file(folder, tmp_path / f"{make.__name__}.h5")
    paths = [str(tmp_path / f"{make.__name__}.h5") for make in made]
    assert main(["join", *paths, "-o", str(tmp_path / "model.h5")]) == 0
    ours = CLIP(tmp_path / "model.h5", precision="fp32")
    pixels = np.random.RandomState(0).randn(2, 3, 40, 40).astype("f4")
    ids = ours.tokenize(["a cat", "two red cars"])
    with torch.no_grad():
        image = made[image_tower](torch.from_numpy(pixels)).image_embeds.numpy()
        text = made[text_tower](torch.from_numpy(ids).long()).text_embeds.numpy()
    for found, wanted in ((ours.encode_image(pixels), image), (ours.encode_text(ids), text)):
        assert np.abs(found - wanted).max() < 2e-5 * np.linalg.norm(wanted, axis=1).min()


def test_a_tower_that_transformers_lacks_is_refused(tmp_path):
    folder = tmp_path / "siglip"
    folder.mkdir()
    text_tower("SiglipTextModel", folder)
    convert_file(folder, tmp_path / "t.h5")
    with pytest.raises(CheckpointError, match="knows only"):
        convert_h5(tmp_path / "t.h5", tmp_path / "out", DIALECTS["huggingface_image"])
