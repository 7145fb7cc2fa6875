"""A new dialect is one file and one row: this file is the file, and `registered` adds the row.

The made-up dialect keeps CLIP's own towers below `net.`, its text projection transposed, and says
heads and activation in a file of its own. Nothing else in the project knows it.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from nnclip.clip import CLIP
from nnclip.convert import h5_to_torch, openai, torch_to_h5
from nnclip.convert.dialect import Code, Dialect, Part, Settings, Source, names_of, part_of
from nnclip.convert.names import below, same, turned
from nnclip.convert.source import DIALECTS, dialect_of
from nnclip.graph.config import BlockConfig, ClipConfig, TextConfig, VitConfig
from nnclip.graph.parameters import make_parameters
from nnclip.graph.resnet import ClipResNetConfig
from nnclip.image import Preprocess
from nnclip.weights.model import ModelWeights, save_model
from tests.lazy import lazy

torch = lazy("torch")

FILE = "made-up.json"
CONFIG = ClipConfig(
    24,
    VitConfig(Preprocess(32), 16, BlockConfig(48, 2, 6, 100, "gelu")),
    TextConfig(49408, 12, BlockConfig(32, 1, 4, 128)),
)


def describe(source: Source) -> dict[str, Any]:
    told = source.settings[FILE]
    return {f"{side}_heads": told["heads"][side] for side in ("image", "text")} | {
        "activation": told["act"]["image"],
        "text_activation": told["act"]["text"],
    }


def settings_of(config: ClipConfig) -> dict[str, Settings]:
    image = part_of(IMAGES, config.image, "made-up").write(config.image)
    text = part_of(TEXTS, config.text, "made-up").write(config.text)
    heads, act = zip(image, text, strict=True)
    sides = ("image", "text")
    return {
        FILE: {
            "heads": dict(zip(sides, heads, strict=True)),
            "act": dict(zip(sides, act, strict=True)),
        }
    }


def build(config: ClipConfig) -> Any:
    """CLIP's towers by open_clip, below `net`."""
    import open_clip

    blocks = [
        {"layers": b.layers, "width": b.width, "mlp_ratio": b.hidden / b.width}
        for b in (config.image.blocks, config.text.blocks)
    ]
    vision = {"head_width": 8, "image_size": 32, "patch_size": 16, **blocks[0]}
    text = {"heads": 4, "context_length": 12, "vocab_size": 49408, **blocks[1]}
    model = open_clip.model.CLIP(config.embed, vision, text, quick_gelu=True)
    for block in model.visual.transformer.resblocks:
        block.mlp.gelu = torch.nn.GELU()
    return torch.nn.ModuleDict({"net": model})


def features(model: Any, config: ClipConfig, inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return openai.encoded(model["net"], config, inputs)


def told(tower: Any) -> tuple[int, str]:
    return tower.blocks.heads, tower.blocks.activation


IMAGES = (Part(VitConfig, "vision transformer", below("net.", openai.VIT), write=told),)
TEXT = {**below("net.", openai.TEXT), "text_projection": turned("net.projection")}
TEXTS = (Part(TextConfig, "text transformer", TEXT, write=told),)
MADE_UP = Dialect(
    "made-up",
    names_of("made-up", IMAGES, TEXTS, {"logit_scale": same("net.logit_scale")}),
    r"net\.attn_mask",
    lambda source: "net.projection" in source.tensors,
    describe,
    settings_of,
    Code("open_clip_torch", "open_clip", build, features),
    settings=(FILE,),
    file="made-up.safetensors",
)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DIALECTS, "made-up", MADE_UP)


@pytest.mark.torch
def test_it_is_written_recognised_read_and_held_against_its_own_code(tmp_path, capsys) -> None:
    h5, folder, again = tmp_path / "a.h5", tmp_path / "there", tmp_path / "back.h5"
    save_model(h5, ModelWeights(CONFIG, make_parameters(CONFIG, seed=2), {}))
    assert h5_to_torch.main([str(h5), str(folder), "--dialect", "made-up"]) == 0
    assert json.loads((folder / FILE).read_text())["heads"] == {"image": 6, "text": 4}
    file = folder / "made-up.safetensors"
    assert torch_to_h5.main([str(file), str(again)]) == 0
    assert "of made-up" in capsys.readouterr().out
    ours, theirs = CLIP(h5, precision="fp32"), CLIP(again, precision="fp32")
    assert theirs.config == CONFIG and theirs.metadata["dialect"] == "made-up"
    for name, variable in ours.parameters().items():
        np.testing.assert_array_equal(variable.d, theirs.parameters()[name].d, err_msg=name)

    source = torch_to_h5.open_checkpoint(file)
    assert dialect_of(source) is MADE_UP
    model = build(CONFIG)
    state = {name: torch.tensor(t.read()) for name, t in source.tensors.items()}
    state["net.text_projection"] = state.pop("net.projection").T
    assert not model.load_state_dict(state, strict=False).unexpected_keys
    images = np.random.default_rng(1).normal(size=(2, 3, 32, 32)).astype(np.float32)
    ids = theirs.tokenize(["a dog", "two cats"])
    with torch.no_grad():
        wanted = features(model.eval(), CONFIG, {"image": images, "text": ids})
    np.testing.assert_allclose(theirs.encode_image(images), wanted["image"], atol=1e-5)
    np.testing.assert_allclose(theirs.encode_text(ids), wanted["text"], atol=1e-5)


@pytest.mark.torch
def test_what_it_does_not_know_is_named(tmp_path, capsys) -> None:
    resnet = ClipConfig(24, ClipResNetConfig(Preprocess(32), (1, 1, 1, 1), 8, 4), CONFIG.text)
    save_model(tmp_path / "a.h5", ModelWeights(resnet, make_parameters(resnet), {}))
    words = [str(tmp_path / "a.h5"), str(tmp_path / "out"), "--dialect", "made-up"]
    assert h5_to_torch.main(words) == 2
    told = "found a residual network with attention pooling, but the code of made-up knows only"
    assert f"{told} vision transformer" in capsys.readouterr().err
