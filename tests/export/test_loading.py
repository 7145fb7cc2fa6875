"""Exported folders as models: they answer as the model that was exported."""

import copy
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import nnabla as nn
import numpy as np
import pytest
from PIL import Image

import nnclip
from nnclip.cli import main
from nnclip.clip import CLIP
from nnclip.errors import CheckpointError, ConfigError
from nnclip.export import export
from nnclip.exported import read_exported
from tests.lazy import lazy

TEXTS = ["a dog", "a cat that sleeps", ""]
onnx = lazy("onnx")


def images_of(model: CLIP) -> np.ndarray:
    size = model.config.image.resolution
    return np.random.default_rng(0).standard_normal((3, 3, size, size), np.float32)


@pytest.mark.parametrize("to", ["openvino", "onnx"])
def test_it_answers_as_the_model_did(model: CLIP, tmp_path: Path, to: str) -> None:
    export(model, tmp_path, to)
    loaded = CLIP(tmp_path, precision="fp32")
    assert loaded.config == model.config and loaded.digest() == model.digest()
    ids, images = model.tokenize(TEXTS), images_of(model)
    np.testing.assert_array_equal(loaded.tokenize(TEXTS), ids)
    pairs = [
        (loaded.encode_image(images), model.encode_image(images)),
        (loaded.encode_text(ids), model.encode_text(ids)),
        (loaded.encode_text(ids[:1, :7]), model.encode_text(ids[:1, :7])),
        (loaded.logits(images, ids)[0], model.logits(images, ids)[0]),
        (loaded.probabilities(images, ids), model.probabilities(images, ids)),
    ]
    for found, wanted in pairs:
        if to == "openvino":
            np.testing.assert_array_equal(found, wanted)
        else:
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_parts_and_precisions_lie_side_by_side(small_h5: Path, tmp_path: Path) -> None:
    model = CLIP(small_h5, precision="fp32")
    export(model, tmp_path, "openvino", part="image", half=True)
    only = CLIP(tmp_path, precision="fp32")
    half = only.encode_image(images_of(model))
    with pytest.raises(
        ConfigError, match=r"found no text tower.*nnclip export --to openvino --par"
    ):
        only.encode_text(model.tokenize(TEXTS))
    export(model, tmp_path, "onnx", part="text")
    export(model, tmp_path, "openvino", part="image")
    export(model, tmp_path, "openvino", part="image")  # again: one graph of a kind
    card = json.loads((tmp_path / "card.json").read_text())
    kinds = [(g["format"], g["part"], g["weights"]) for g in card["graphs"]]
    assert kinds == [
        ("openvino", "image", "float16"),
        ("onnx", "text", "float32"),
        ("openvino", "image", "float32"),
    ]
    assert {"image.xml", "image-fp16.xml", "text.onnx"} <= {p.name for p in tmp_path.iterdir()}
    page = (tmp_path / "README.md").read_text()
    for heading in ("image, as openvino, weights in float16", "text, as onnx", "Images", "Texts"):
        assert f"## {heading}" in page
    files = read_exported(tmp_path).files
    assert {side: path.name for side, path in files.items()} == {
        "image": "image.xml",
        "text": "text.onnx",
    }
    both = CLIP(tmp_path, precision="fp32")
    whole, wanted = both.encode_image(images_of(model)), model.encode_image(images_of(model))
    np.testing.assert_array_equal(whole, wanted)
    assert 0 < np.abs(half - wanted).max() < 1e-2 * np.abs(wanted).max()


def test_the_card_tells_its_facts_as_values(tmp_path: Path) -> None:
    model = CLIP()
    model.metadata |= {"licence": "apache-2.0", "languages": "en ja"}
    export(model, tmp_path, "openvino")
    card = json.loads((tmp_path / "card.json").read_text())
    assert (card["digest"], card["version"]) == (model.digest(), nnclip.__version__)
    assert (card["licence"], card["languages"]) == ("apache-2.0", "en ja")
    assert (card["images"]["resize"], card["images"]["interpolation"]) == (
        "shortest",
        "bicubic",
    )
    assert card["texts"]["options"]["clean"] == "lower"
    assert card["texts"]["options"]["pool"] == model.config.text.pool
    assert card["metadata"]["loss"] == card["loss"] == model.config.loss
    assert CLIP(tmp_path).metadata["languages"] == "en ja"


@pytest.fixture
def folder(small_h5: Path, tmp_path: Path) -> Path:
    export(CLIP(small_h5), tmp_path / "exported", "openvino")
    return tmp_path / "exported"


def test_commands_take_a_folder(folder: Path, small_h5: Path, tmp_path: Path, capsys) -> None:
    Image.new("RGB", (50, 40), "red").save(tmp_path / "red.png")
    told = []
    for source in (folder, small_h5):
        words = [str(tmp_path / "red.png"), "-m", str(source), "-t", "red", "-t", "blue", "--json"]
        assert main(["classify", *words]) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert told[0] == told[1]


def test_it_is_copied_pickled_and_calibrated(folder: Path) -> None:
    model = CLIP(folder, precision="fp32")
    images = images_of(model)
    wanted = model.encode_image(images)
    for other in (copy.copy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.encode_image(images), wanted)
    quantised = CLIP(folder, precision="int8", calibration=list(images))
    assert quantised.encode_image(images).shape == wanted.shape
    assert quantised.drift is not None and quantised.drift.least_cosine > 0.9


@pytest.mark.parametrize(
    "ask",
    [
        lambda model: model.parameters(),
        lambda model: model.save("x.h5"),
        lambda model: model.encode_image(nn.Variable((1, 3, 32, 32))),
        lambda model: export(model, Path("x"), "openvino"),
    ],
)
def test_what_needs_parameters_says_so(folder: Path, ask: Any) -> None:
    with pytest.raises(ConfigError, match=r"found an exported folder, which has no parameters"):
        ask(CLIP(folder))


def test_it_is_run_by_openvino_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnclip.towers.openvino_available", lambda: False)
    with pytest.raises(ConfigError, match="found an exported folder, which OpenVINO runs"):
        CLIP(folder)


def test_it_answers_without_nnabla(folder: Path, small_h5: Path) -> None:
    ask = (
        "import sys; sys.modules['nnabla'] = None\n"
        "from nnclip import clip\n"
        f"model = clip.load({str(folder)!r}, precision='fp32')\n"
        f"print(model.encode_text(model.tokenize({TEXTS!r})).tobytes().hex())"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ask], capture_output=True, text=True, env=os.environ
    )
    model = CLIP(small_h5, precision="fp32")
    assert done.stdout.strip() == model.encode_text(model.tokenize(TEXTS)).tobytes().hex()


def test_another_model_is_not_mixed_in(folder: Path, other_h5: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ConfigError, match=r"found the card of another model.*name another folder"):
        export(CLIP(other_h5), folder, "openvino", part="image")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def _set(*keys: str, value: Any):
    def change(folder: Path) -> None:
        card = json.loads((folder / "card.json").read_text())
        place = card
        for key in keys[:-1]:
            place = place[int(key) if isinstance(place, list) else key]
        place[keys[-1]] = value
        (folder / "card.json").write_text(json.dumps(card))

    return change


def _write(name: str, content: bytes):
    return lambda folder: (folder / name).write_bytes(content)


SPOILED = {
    "no card": (lambda f: (f / "card.json").unlink(), "found no card.json in this folder"),
    "a folder": (
        lambda f: ((f / "card.json").unlink(), (f / "card.json").mkdir()),
        "found a folder",
    ),
    "no JSON": (_write("card.json", b"{"), "cannot be read"),
    "no UTF-8": (_write("card.json", b"\xff"), "cannot be read"),
    "a list": (_write("card.json", b"[1]"), r"found a card of version \[1\], expected 2"),
    "the first version": (_write("card.json", b"{}"), "found a card of version None, expected 2"),
    "a later version": (_set("card", value=3), "found a card of version 3, expected 2"),
    "no tensors": (_set("tensors", value=None), "tensors: found None, expected an object"),
    "empty tensors": (_set("tensors", value={}), "found no image tower"),
    "a wrong shape": (
        _set("tensors", "visual/proj", value=[1e9]),
        r"tensors: visual/proj: found \[1000000000.0\], expected a shape",
    ),
    "a negative shape": (_set("tensors", "visual/proj", value=[-1, 2]), "expected a shape"),
    "metadata": (_set("metadata", "resolution", value="x"), "resolution: found 'x'"),
    "another resolution": (_set("metadata", "resolution", value=48), "expected"),
    "no loss": (_set("metadata", "loss", value="triplet"), "metadata loss: found 'triplet'"),
    "no scalar": (_set("scalars", value={}), "scalars: logit_scale: found None, expected a number"),
    "infinity": (_set("scalars", "logit_scale", value=1e999), "logit_scale: found inf, expected"),
    "a digest": (_set("digest", value=5), "digest: found 5, expected a text"),
    "graphs": (_set("graphs", value={}), r"graphs: found \{\}, expected a list"),
    "a graph": (_set("graphs", value=[3]), "graphs: found 3, expected objects"),
    "a format": (_set("graphs", "0", "format", value=None), "format: found None, expected a text"),
    "no files": (_set("graphs", "0", "files", value={}), "files: found none"),
    "a file elsewhere": (
        _set("graphs", "0", "files", value={"../small.xml": 3}),
        "files: found no '../small.xml' in the folder",
    ),
    "a file that is gone": (lambda f: (f / "clip.bin").unlink(), "found no 'clip.bin' in the fol"),
    "a file cut off": (_write("clip.bin", b"short"), "clip.bin: found 5 bytes, expected [1-9]"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_bad_card_is_one_sentence(folder: Path, case: str, capsys) -> None:
    spoil, message = SPOILED[case]
    spoil(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        CLIP(folder).encode_image(np.zeros((1, 3, 32, 32), np.float32))
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)
    assert main(["classify", "-m", str(folder), "-t", "a"]) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "cannot be read"), (b"<net/>", "cannot be read"), (None, "found shape")],
)
def test_a_bad_graph_is_one_sentence(folder: Path, other_h5: Path, content, message) -> None:
    if content is None:
        export(CLIP(other_h5), folder.parent / "other", "openvino")
        content = (folder.parent / "other" / "clip.xml").read_bytes()
        (folder / "clip.bin").write_bytes((folder.parent / "other" / "clip.bin").read_bytes())
    (folder / "clip.xml").write_bytes(content)
    sizes = {name: (folder / name).stat().st_size for name in ("clip.xml", "clip.bin")}
    _set("graphs", "0", "files", value=sizes)(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        CLIP(folder).encode_image(np.zeros((1, 3, 32, 32), np.float32))
    assert "\n" not in str(caught.value)
