"""How others say that images are prepared: read, compared with their own processors, refused."""

import json

import numpy as np
import pytest

from nnclip.convert import open_clip_images, torch_to_h5, transformers_images
from nnclip.convert.verify import drawn_images
from nnclip.errors import CheckpointError
from nnclip.image import Preprocess
from nnclip.weights.model import load_model

OWN, PROCESSOR = "preprocessor_config.json", "processor_config.json"
HALF = (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, Preprocess(32)),
        ({"size": 999, "mode": "RGB", "mean": None}, Preprocess(32)),
        ({"resize_mode": "squash"}, Preprocess(32, "squash")),
        ({"interpolation": "random"}, Preprocess(32)),
        ({"interpolation": "bilinear", "mean": 0.5, "std": list(HALF)}, None),
        ({"resize_mode": "longest", "fill_color": 9}, Preprocess(32, "longest", fill=9)),
    ],
)
def test_what_open_clip_tells(told, expected):
    expected = expected or Preprocess(32, interpolation="bilinear", mean=HALF, std=HALF)
    found = open_clip_images.read_preprocess(told, [32, 32])
    assert found == expected
    assert open_clip_images.read_preprocess(open_clip_images.write_preprocess(found), 32) == found


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"crop_pct": 0.9}, "found the key 'crop_pct', expected size"),
        ({"resize_mode": "stretch"}, "resize_mode: found 'stretch', expected one of shortest"),
        ({"interpolation": "lanczos"}, "interpolation: found 'lanczos', expected one of bicubic"),
        ({"mode": "L"}, "mode: found 'L', expected 'RGB'"),
        ({"fill_color": [0, 0, 0]}, r"fill: found \[0, 0, 0\], expected a whole number"),
        ({"mean": [0.5]}, r"mean: found \[0.5\], expected three numbers"),
    ],
)
def test_what_open_clip_may_not_tell(told, words):
    with pytest.raises(CheckpointError, match=f"open_clip_config.json: preprocess_cfg: {words}"):
        open_clip_images.read_preprocess(told, 32)
    with pytest.raises(CheckpointError, match=r"image_size: found \[32, 48\], expected the side"):
        open_clip_images.read_preprocess({}, [32, 48])


CLIP = {"image_processor_type": "CLIPImageProcessor", "size": 32, "crop_size": 32}
SQUASH = {"resize": "squash"}
BILINEAR = {"interpolation": "bilinear"}
CENTRED = {"mean": HALF, "std": HALF}


@pytest.mark.parametrize(
    ("told", "fields"),
    [
        (CLIP, {}),
        ({**CLIP, "image_processor_type": "CLIPImageProcessorFast"}, {}),
        ({"feature_extractor_type": "CLIPFeatureExtractor", "size": 32, "crop_size": 32}, {}),
        ({**CLIP, "size": {"shortest_edge": 40}, "resample": 2}, {"size": 40, **BILINEAR}),
        ({**CLIP, "size": {"height": 32, "width": 32}, "do_center_crop": False}, SQUASH),
        ({**CLIP, "size": {"max_height": 32, "max_width": 32}}, {"resize": "longest"}),
        ({**CLIP, "size": [32, 32]}, SQUASH),
        ({**CLIP, "default_to_square": True}, SQUASH),
        ({**CLIP, "do_resize": False}, {"resize": "none"}),
        ({**CLIP, "do_rescale": False}, {"rescale": 1.0}),
        ({**CLIP, "do_normalize": False}, {"mean": (0, 0, 0), "std": (1, 1, 1)}),
        ({"image_processor_type": "SiglipImageProcessor", "size": [32, 32]}, SQUASH | CENTRED),
        ({"image_processor_type": "ViTImageProcessor", "size": 32}, SQUASH | CENTRED | BILINEAR),
    ],
)
def test_what_transformers_tells(told, fields):
    expected = Preprocess(32, pipeline="transformers", **fields)
    assert transformers_images.read_preprocess({OWN: told}, {"image_size": 32}) == expected
    nested = {PROCESSOR: {"image_processor": told, "processor_class": "CLIPProcessor"}}
    assert (
        transformers_images.read_preprocess({**nested, OWN: {"size": 7}}, {"image_size": 32})
        == expected
    )
    again = {OWN: transformers_images.write_preprocess(expected)}
    assert transformers_images.read_preprocess(again, {"image_size": 32}) == expected


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"crop_pct": 0.9}, "found the key 'crop_pct'"),
        ({"resample": 9}, "resample: found 9, expected one of 0"),
        ({"do_pad": True}, "do_pad: found True, expected False"),
        ({"do_center_crop": False}, "do_center_crop: found it off"),
        ({"do_rescale": "no"}, "do_rescale: found 'no', expected true or false"),
        ({"size": {"longest_edge": 32}}, "size: found {'longest_edge': 32}, expected shortest"),
        ({"size": {"height": 32, "width": 48}}, "expected the side of a square"),
        ({"image_processor_type": "PixtralImageProcessor"}, "found 'PixtralImageProcessor'"),
        ({"crop_size": 48}, "found images of 48 pixels, expected 32"),
        ({"crop_size": None}, "found images of 224 pixels, expected 32"),
        ({"image_mean": [0.5]}, "mean: found"),
    ],
)
def test_what_transformers_may_not_tell(told, words):
    with pytest.raises(CheckpointError, match=words) as raised:
        transformers_images.read_preprocess({OWN: {**CLIP, **told}}, {"image_size": 32})
    assert OWN in str(raised.value)


@pytest.mark.parametrize(
    ("preprocess", "words"),
    [
        (Preprocess(32, interpolation="lanczos"), "interpolation of images: found lanczos"),
        (Preprocess(32, size=40), "size of images: found 40, but open_clip's code knows only 32"),
        (Preprocess(32, "none"), "resize of images: found none"),
        (Preprocess(32, rescale=1), "rescale of images: found 1"),
    ],
)
def test_what_open_clip_cannot_be_told(preprocess, words):
    with pytest.raises(CheckpointError, match=words):
        open_clip_images.write_preprocess(preprocess)


@pytest.mark.torch
@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("fault", [False, True])
def test_verify_asks_open_clip_itself(tmp_path, capsys, monkeypatch, mode, fault):
    """With the fault, the .h5 crops whatever the folder says: features of noise still agree."""
    import dataclasses

    from tests.convert.conftest import open_clip_safetensors

    sample = open_clip_safetensors(tmp_path)
    file = tmp_path / "open_clip_config.json"
    told = json.loads(file.read_text())
    told["preprocess_cfg"] |= {"resize_mode": mode, "interpolation": "bilinear"}
    file.write_text(json.dumps(told))
    if fault:
        from nnclip.convert import open_clip

        read = open_clip.read_preprocess
        monkeypatch.setattr(
            open_clip,
            "read_preprocess",
            lambda *told: dataclasses.replace(read(*told), interpolation="bicubic"),
        )
    assert torch_to_h5.main([str(sample.path), str(tmp_path / "a.h5"), "--verify"]) == 2 * fault
    out, err = capsys.readouterr()
    assert ("verified  0 pixels of a wide and a tall image differ" in out) != fault
    assert ("pixels that open_clip's own code prepares otherwise" in err) == fault


@pytest.mark.torch
@pytest.mark.parametrize("file", [OWN, PROCESSOR])
@pytest.mark.parametrize("size", [{"shortest_edge": 26}, {"height": 26, "width": 26}])
def test_verify_asks_transformers_itself(huggingface, capsys, tmp_path, file, size):
    own = huggingface.path / OWN
    told = json.loads(own.read_text()) | {"size": size, "resample": 1}
    own.unlink()
    content = told if file == OWN else {"image_processor": told, "processor_class": "CLIPProcessor"}
    (huggingface.path / file).write_text(json.dumps(content))
    h5 = tmp_path / "a.h5"
    assert torch_to_h5.main([str(huggingface.path), str(h5), "--verify"]) == 0
    assert "verified  0 pixels" in capsys.readouterr().out
    found = load_model(h5).config.image.preprocess
    assert (found.size, found.interpolation, found.pipeline) == (26, "lanczos", "transformers")
    wide, tall = (found(image) for image in drawn_images())
    assert wide.shape == tall.shape == (3, 20, 20) and not np.array_equal(wide, tall)
