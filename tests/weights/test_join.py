"""Two sides of two files as one model, and heads in files of their own."""

import dataclasses
import math
from pathlib import Path

import nnabla as nn
import numpy as np
import pytest

from nnclip import clip
from nnclip.cli import main
from nnclip.errors import CheckpointError
from nnclip.graph.heads import FORMS, HeadConfig
from nnclip.graph.losses import SIGMOID, Scorer
from nnclip.weights.h5 import read_h5, write_h5
from nnclip.weights.heads import head_on_side, load_head, save_head, without_heads
from nnclip.weights.join import join, load_sides, new_head
from nnclip.weights.model import load_model, save_model


@pytest.fixture
def joined(small_h5: Path, other_h5: Path, tmp_path: Path) -> Path:
    """The image side of one model, the text side of another, and heads that make one space."""
    path = tmp_path / "joined.h5"
    command = ["join", str(small_h5), str(other_h5), "-o", str(path)]
    assert main([*command, "--heads", "residual", "--width", "24", "--dropout", "0.25"]) == 0
    return path


def by_hand(x, arrays, scope):
    """A head in float64."""
    erf = np.vectorize(math.erf)
    p = x.astype(np.float64) @ arrays[f"{scope}/proj/W"].T
    for layer in range(sum(name.startswith(f"{scope}/layers/") for name in arrays)):
        y = 0.5 * p * (1 + erf(p / np.sqrt(2))) @ arrays[f"{scope}/layers/{layer}/W"].T
        z = p + y
        z = (z - z.mean(1, keepdims=True)) / np.sqrt(z.var(1, keepdims=True) + 1e-5)
        p = z * arrays[f"{scope}/norm/W"] + arrays[f"{scope}/norm/b"]
    return p


def test_each_side_answers_as_in_its_own_model_before_the_head(
    joined: Path, small_h5: Path, other_h5: Path, rng: np.random.Generator
) -> None:
    model = clip.CLIP(joined, precision="fp32")
    images = rng.normal(size=(2, 3, 32, 32)).astype(np.float32)
    ids = model.tokenize(["a red circle", "two cats"])
    arrays = read_h5(joined).arrays
    before = clip.CLIP(small_h5, precision="fp32").encode_image(images)
    wanted = by_hand(before, arrays, "visual_head")
    np.testing.assert_allclose(model.encode_image(images), wanted, rtol=1e-4, atol=2e-5)
    before = clip.CLIP(other_h5, precision="fp32").encode_text(ids)
    wanted = by_hand(before, arrays, "text_head")
    np.testing.assert_allclose(model.encode_text(ids), wanted, rtol=1e-4, atol=2e-5)


def test_variables_and_arrays_agree_with_heads(joined: Path, rng: np.random.Generator) -> None:
    model = clip.CLIP(joined, precision="fp32")
    images = rng.normal(size=(2, 3, 32, 32)).astype(np.float32)
    ids = model.tokenize(["one", "two"])
    per_image, _ = model.logits(*map(nn.Variable.from_numpy_array, (images, ids)))
    per_image.forward()
    np.testing.assert_allclose(per_image.d, model.logits(images, ids)[0], atol=1e-4)


def test_what_is_joined_is_what_is_written_and_read(joined: Path, other_h5: Path) -> None:
    config = load_model(joined).config
    assert config.image_head == HeadConfig(32, 24, 3, 0.25)
    assert config.text_head == HeadConfig(48, 24, 3, 0.25)
    assert config.image.blocks.activation == "quick_gelu"
    assert config.text.blocks.activation == "gelu"  # the sides differ, and each keeps its own
    assert (config.embed, config.text.vocabulary) == (24, 49408)
    scale = float(load_model(joined).array("logit_scale"))
    assert scale == pytest.approx(math.log(1 / 0.07))  # a new space begins anew
    heads = [head_on_side(joined, side) for side in ("image", "text")]
    assert not np.array_equal(*(h.arrays[f"{s}_head/layers/0/W"] for h, s in
                                zip(heads, ("visual", "text"), strict=True)))  # fmt: skip


def test_sides_of_different_width_need_heads(small_h5: Path, other_h5: Path) -> None:
    with pytest.raises(CheckpointError, match=r"width 32 for images and 48 for texts.*--heads"):
        join(load_sides(small_h5, other_h5))


@pytest.mark.parametrize("form", FORMS)
def test_a_head_is_written_read_and_put_on(
    form: str, joined: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = HeadConfig(32, 24, FORMS[form], 0.125)
    scorer = Scorer(SIGMOID, {"logit_scale": 2.5, "logit_bias": -3.0})
    head = dataclasses.replace(new_head("image", config, 7), scorer=scorer)
    path, model = tmp_path / "image_head.h5", tmp_path / "model.h5"
    save_head(path, head)
    read = load_head(path)
    assert (read.side, read.config, read.scorer) == ("image", config, scorer)
    assert all(np.array_equal(read.arrays[name], head.arrays[name]) for name in head.arrays)
    assert main(["join", *map(str, (joined, joined)), "-o", str(model),
                 "--image-head", str(path)]) == 0  # fmt: skip
    assert f"image head with {FORMS[form]} layer" in capsys.readouterr().out
    weights = load_model(model)
    assert weights.config.image_head == config
    assert weights.config.text_head == load_model(joined).config.text_head  # stays where it was
    assert weights.config.loss == "sigmoid"
    assert [float(weights.array(name)) for name in SIGMOID.scalars] == [2.5, -3.0]


def test_heads_can_be_left_out(joined: Path, small_h5: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.h5"
    command = ["join", str(joined), str(small_h5), "-o", str(model)]
    assert main([*command, "--heads", "none"]) == 0
    assert load_model(model).config == load_model(small_h5).config


def test_a_head_that_does_not_fit_is_refused(
    joined: Path, small_h5: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    def said(head: Path, flag: str = "--image-head") -> str:
        command = ["join", str(joined), str(joined), "-o", str(tmp_path / "m.h5")]
        assert main([*command, flag, str(head)]) == 2
        return capsys.readouterr().err

    wide = tmp_path / "wide.h5"
    save_head(wide, new_head("image", HeadConfig(40, 24), 1))
    assert "takes features of width 40, but the image tower gives 32" in said(wide)
    assert "found the image side's head, expected the text side's" in said(wide, "--text-head")
    assert "expected a file of one head" in said(small_h5)
    part = load_head(wide)
    del part.arrays["visual_head/norm/b"]
    save_head(wide, part)
    assert "visual_head/norm/b: missing" in said(wide)
    write_h5(wide, {"visual_head/norm/b": np.zeros(3)}, {"head": "image"})
    assert "visual_head/proj/W" in said(wide)
    assert not (tmp_path / "m.h5").exists()


def test_without_heads_a_model_gives_what_its_towers_give(joined: Path, small_h5: Path) -> None:
    bare = without_heads(load_model(joined), "image")
    assert (bare.config.embed, bare.config.image_width) == (32, 32)
    assert bare.config.image_head is None
    assert without_heads(load_model(joined), "text").config.text_width == 48


def test_half_files_keep_their_heads(joined: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.h5"
    save_model(path, load_model(joined), half=True)
    assert load_model(path).config == load_model(joined).config


@pytest.mark.parametrize("flags", [["--width", "0"], ["--dropout", "1"], ["--head-layers", "-1"]])
def test_impossible_heads_are_refused(
    flags: list[str], small_h5: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    command = ["join", str(small_h5), str(small_h5), "-o", str(tmp_path / "m.h5")]
    assert main([*command, "--heads", "simple", *flags]) == 2
    assert "heads: found" in capsys.readouterr().err
