"""Whole models of transformers, each held against its own code end to end, and written back."""

import json

import numpy as np
import pytest
from PIL import Image

from nnclip.convert import torch_to_h5
from nnclip.convert.h5_to_torch import convert_h5
from nnclip.convert.source import DIALECTS
from nnclip.convert.torch_to_h5 import convert_file
from nnclip.errors import CheckpointError
from nnclip.image.packing import unpacked
from nnclip.model import CLIP
from tests.convert.gradients import assert_same, squares
from tests.convert.transformers_samples import SAMPLES, dual_vit_bert, siglip
from tests.lazy import lazy

safetensors_torch = lazy("safetensors.torch")
torch = lazy("torch")
transformers = lazy("transformers")

pytestmark = pytest.mark.torch
TEXTS = ["a photo of a cat", "two RED cars, in the snow!", "ok", "the quick_fox " * 40]


@pytest.fixture(scope="module", params=SAMPLES)
def sample(request, tmp_path_factory):
    return SAMPLES[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def converted(sample):
    path = sample.path / "model.h5"
    convert_file(sample.path, path)
    return path


def pictures():
    """A wide and a tall image."""
    rng = np.random.default_rng(3)
    for size in ((90, 140), (300, 120)):
        yield Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))


def apart(found, wanted):
    """The largest difference of two rows, relative to the norm."""
    return (np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)).max()


def test_everything_is_what_transformers_makes_of_it(sample, converted):
    mine = CLIP(converted, precision="fp32")
    processor = transformers.AutoImageProcessor.from_pretrained(sample.path, backend="pil")
    theirs = processor(list(pictures()), return_tensors="pt")
    prepared = np.stack([mine.preprocess(image) for image in pictures()])
    found = [prepared]
    if "spatial_shapes" in theirs:  # images keep their shape: patches, a mask and the grids
        how = mine.config.image.preprocess
        found = unpacked(prepared, how.patch, how.patches)
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(found, theirs.values(), strict=True))
    inputs = sample.inputs(TEXTS)
    ids, my_ids = inputs["input_ids"].numpy(), mine.tokenize(TEXTS, truncate=True)
    same = my_ids[:, : ids.shape[1]] == ids
    if mine.config.text.tokens == "clip":  # whose padding nothing sees
        same |= ids.argmax(axis=1)[:, None] < np.arange(ids.shape[1])
    assert same.all()
    with torch.inference_mode():
        image = sample.model.get_image_features(**theirs).pooler_output.numpy()
        text = sample.model.get_text_features(**inputs).pooler_output.numpy()
        logits = sample.model(**theirs, **inputs).logits_per_image.numpy()
    assert apart(mine.encode_image(prepared), image) < 2e-5
    assert apart(mine.encode_text(my_ids), text) < 2e-5
    assert np.abs(mine.logits(prepared, my_ids)[0] - logits).max() < 1e-3
    total = mine.probabilities(prepared, my_ids).sum(axis=1)
    assert hasattr(sample.model, "logit_bias") != np.allclose(total, 1, atol=1e-5)


def test_gradients_are_those_of_torch(sample, converted):
    mine = CLIP(converted, precision="fp32")
    processor = transformers.AutoImageProcessor.from_pretrained(sample.path, backend="pil")
    inputs = sample.inputs(TEXTS)
    sample.model.zero_grad()
    image = sample.model.get_image_features(**processor(list(pictures()), return_tensors="pt"))
    text = sample.model.get_text_features(**inputs)
    (image.pooler_output.square().sum() + text.pooler_output.square().sum()).backward()
    pixels = np.stack([mine.preprocess(one) for one in pictures()])
    found = squares(mine, pixels, mine.tokenize(TEXTS, truncate=True))
    assert_same(found, sample.model, sample.path, "huggingface")


def test_written_back_it_is_the_same_bytes_and_loads(sample, converted, tmp_path):
    convert_h5(converted, tmp_path, DIALECTS["huggingface"])
    first = safetensors_torch.load_file(sample.path / "model.safetensors")
    second = safetensors_torch.load_file(tmp_path / "model.safetensors")
    assert first.keys() == second.keys()
    assert all(first[k].equal(second[k]) and first[k].shape == second[k].shape for k in first)
    model = transformers.AutoModel.from_pretrained(tmp_path)
    assert type(model) is type(sample.model)
    for name, tensor in sample.model.state_dict().items():
        assert model.state_dict()[name].equal(tensor), name


def test_what_was_written_back_converts_to_the_same(sample, converted, tmp_path):
    convert_h5(converted, tmp_path, DIALECTS["huggingface"])
    convert_file(tmp_path, tmp_path / "again.h5")
    first, again = (CLIP(path, precision="fp32") for path in (converted, tmp_path / "again.h5"))
    assert first.config == again.config
    ids = [model.tokenize(TEXTS, truncate=True) for model in (first, again)]
    assert np.array_equal(*ids)


def test_verify_is_told_nothing(sample, tmp_path, capsys):
    words = [str(sample.path), str(tmp_path / "out.h5"), "--verify"]
    assert torch_to_h5.main(words) == 0
    said = capsys.readouterr().out
    assert "verified  0 pixels of a wide and a tall image differ" in said


def changed(folder, change):
    """The folder with its config.json changed."""
    path = folder / "config.json"
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))


@pytest.mark.parametrize(
    ("make", "change", "expected"),
    [
        (siglip, lambda c: c.update(model_type="blip"), "found a 'blip' model, which nnclip"),
        (
            siglip,
            lambda c: c["vision_config"].update(vision_use_head=False),
            "found vision_use_head False, expected True",
        ),
        (
            dual_vit_bert,
            lambda c: c["vision_config"].update(model_type="dinov2"),
            "vision_config: found a 'dinov2' model, which nnclip does not know there",
        ),
        (
            dual_vit_bert,
            lambda c: c["text_config"].update(model_type="distilbert"),
            "text_config: found a 'distilbert' model, which nnclip does not know there",
        ),
        (
            dual_vit_bert,
            lambda c: c["vision_config"].update(pooler_act="relu"),
            "found pooler_act 'relu', expected 'tanh'",
        ),
        (
            dual_vit_bert,
            lambda c: c["text_config"].update(is_decoder=True),
            "found is_decoder True, expected False",
        ),
        (
            siglip,
            lambda c: c["text_config"].update(hidden_act="mish"),
            "text_activation: found mish, expected one of",
        ),
    ],
)
def test_what_is_not_computed_is_refused_by_its_name(tmp_path, make, change, expected):
    make(tmp_path)
    changed(tmp_path, change)
    with pytest.raises(CheckpointError, match=expected):
        convert_file(tmp_path, tmp_path / "out.h5")


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"padding_side": "up"}, "found padding_side 'up', expected left or right"),
        ({"pad_token": "<nothing>"}, "found the token '<nothing>', expected one of tokenizer.json"),
        ({"do_lower_case": False}, "found do_lower_case false, expected true"),
        ({"model_max_length": 8}, "found model_max_length 8, expected 16"),
    ],
)
def test_settings_of_a_tokenizer_that_are_not_computed_are_refused(tmp_path, told, expected):
    siglip(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **told}))
    with pytest.raises(CheckpointError, match=expected):
        convert_file(tmp_path, tmp_path / "out.h5")


def test_without_its_tokenizer_a_model_is_refused(tmp_path):
    siglip(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"found no tokenizer\.json beside it, expected"):
        convert_file(tmp_path, tmp_path / "out.h5")


def test_names_of_earlier_releases_are_read(tmp_path):
    """A CLIPVisionModel inside a dual encoder, and AltCLIP's image tower, had other names."""
    for name, old, new in (
        ("dual_clip_roberta", "vision_model.", "vision_model.vision_model."),
        ("altclip", "vision_model.encoder.layer.", "vision_model.encoder.layers."),
    ):
        folder = tmp_path / name
        folder.mkdir()
        SAMPLES[name](folder)
        convert_file(folder, folder / "new.h5")
        state = safetensors_torch.load_file(folder / "model.safetensors")
        renamed = {k.replace(old, new, 1): t for k, t in state.items()}
        assert renamed.keys() != state.keys()
        renamed["text_model.embeddings.position_ids"] = torch.arange(24)[None]
        safetensors_torch.save_file(renamed, folder / "model.safetensors")
        convert_file(folder, folder / "old.h5")
        images = np.random.RandomState(1).randn(1, 3, 40, 40).astype("f4")
        first, second = (CLIP(folder / f"{n}.h5", precision="fp32") for n in ("new", "old"))
        assert np.array_equal(first.encode_image(images), second.encode_image(images))
