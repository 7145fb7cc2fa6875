"""Exported models, run by the runtimes they are for, give the features that nnclip gives."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino
import pytest

from nnclip.cli import main
from nnclip.clip import CLIP
from nnclip.errors import ConfigError
from nnclip.export import PARTS, export
from nnclip.graph.bert import BertConfig
from nnclip.graph.beside import text_inputs
from tests.lazy import lazy

onnxruntime = lazy("onnxruntime")

TEXTS = ["a dog", "a cat that sleeps", "a red circle on the left of a blue square"]
TOLERANCE = 1e-4  # of the length of a row of features; what is found is some 1e-6

# What the page beside an NNP tells to do, in a process that cannot import nnclip.
NNABLA_ALONE = """
import sys
sys.modules["nnclip"] = None
import numpy
from nnabla.utils.nnp_graph import NnpLoader
arrays = dict(numpy.load(sys.argv[2]))
network = NnpLoader(sys.argv[1]).get_network("nnclip")
for name, variable in network.inputs.items():
    variable.d = arrays[name]
found = {}
for name, variable in network.outputs.items():
    variable.forward()
    found[name] = variable.d
numpy.savez(sys.argv[3], **found)
"""


def inputs_of(model: CLIP, part: str, pictures: int = 3) -> dict[str, np.ndarray]:
    size = model.config.image.resolution
    images = np.random.default_rng(0).standard_normal((pictures, 3, size, size), np.float32)
    ids = model.tokenize(TEXTS).astype(np.int64)
    return {"image": {"images": images}, "text": {"ids": ids}}.get(
        part, {"images": images, "ids": ids}
    )


def expected(model: CLIP, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    found = {}
    if "images" in inputs:
        found["image_features"] = model.encode_image(inputs["images"])
    if "ids" in inputs:
        found["text_features"] = model.encode_text(inputs["ids"])
    if len(found) == 2:
        found["logits_per_image"] = model.logits(inputs["images"], inputs["ids"])[0]
    return found


def assert_same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert found[name].shape == array.shape
        lengths = np.linalg.norm(array, axis=1, keepdims=True)
        assert (np.abs(found[name] - array) / lengths).max() < TOLERANCE, name


def by_openvino(path: Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled(inputs)
    return {port.any_name: found[port] for port in compiled.outputs}


def by_onnxruntime(path: Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


RUN = {"openvino": by_openvino, "onnx": by_onnxruntime}


@pytest.mark.parametrize("to", RUN)
@pytest.mark.parametrize("part", PARTS)
def test_features_are_those_of_the_model(model: CLIP, tmp_path: Path, to: str, part: str) -> None:
    path = export(model, tmp_path, to, part=part)[0]
    inputs = inputs_of(model, part)
    wanted = expected(model, inputs)
    assert_same(RUN[to](path, inputs), wanted)
    if "ids" in inputs:  # cut, with an end that comes twice, and more texts than images
        inputs["ids"] = np.concatenate([inputs["ids"], inputs["ids"]])[:, :13]
        if not isinstance(model.config.text, BertConfig):
            inputs["ids"][3, -1] = inputs["ids"].max()
        assert_same(RUN[to](path, inputs), expected(model, inputs))


@pytest.mark.parametrize("part", PARTS)
def test_nnabla_alone_loads_an_nnp(model: CLIP, tmp_path: Path, part: str) -> None:
    path = export(model, tmp_path, "nnp", part=part, batch=3)[0]
    inputs = inputs_of(model, part)
    wanted = expected(model, inputs)
    if "ids" in inputs:
        inputs |= text_inputs(inputs["ids"], model.config.text)
    np.savez(tmp_path / "in.npz", **inputs)
    files = [str(tmp_path / name) for name in ("in.npz", "out.npz")]
    command = [sys.executable, "-c", NNABLA_ALONE, str(path), *files]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    assert_same(dict(np.load(tmp_path / "out.npz")), wanted)


@pytest.mark.parametrize("to", RUN)
def test_of_a_file_in_half_precision_as_well(small_h5: Path, tmp_path: Path, to: str) -> None:
    CLIP(small_h5).save(tmp_path / "half.h5", half=True)
    model = CLIP(tmp_path / "half.h5", precision="fp32")
    inputs = inputs_of(model, "text")
    path = export(model, tmp_path, to, part="text")[0]
    assert_same(RUN[to](path, inputs), expected(model, inputs))


def test_half_the_weights_are_half_the_file(model: CLIP, tmp_path: Path) -> None:
    whole = export(model, tmp_path / "fp32", "openvino", part="image")
    half = export(model, tmp_path / "fp16", "openvino", part="image", half=True)
    assert half[1].stat().st_size < 0.6 * whole[1].stat().st_size
    inputs = inputs_of(model, "image")
    found = by_openvino(half[0], inputs)["image_features"]
    wanted = model.encode_image(inputs["images"])
    assert 0 < np.abs(found - wanted).max() < 1e-2 * np.abs(wanted).max()


def test_the_card_tells_how_to_feed_the_files(small_h5: Path, tmp_path: Path, capsys) -> None:
    for to in ("openvino", "onnx", "nnp"):
        assert main(["export", "-m", str(small_h5), "--to", to, "-o", str(tmp_path / to)]) == 0
        named = [line.split()[1] for line in capsys.readouterr().out.splitlines()]
        assert sorted(named) == sorted(str(path) for path in (tmp_path / to).iterdir())
        card = json.loads((tmp_path / to / "card.json").read_text())
        assert card["images"]["resolution"] == 32 and len(card["images"]["mean"]) == 3
        assert card["texts"]["context"] == 16
        assert list(card["graphs"][0]["inputs"]) == [
            "images",
            "ids",
            *(["end"] if to == "nnp" else []),
        ]
        page = (tmp_path / to / "README.md").read_text()
        compile(page.split("```python")[1].split("```")[0], "the page", "exec")
    vocabulary = json.loads((tmp_path / "onnx" / "tokenizer.json").read_text())
    assert len(vocabulary["model"]["vocab"]) + len(vocabulary["added_tokens"]) >= 49408


def test_what_cannot_be_is_refused(model: CLIP, tmp_path: Path, capsys) -> None:
    with pytest.raises(ConfigError, match="onnx"):
        export(model, tmp_path, "onnx", half=True)
    assert main(["export", "--to", "nnp", "-o", str(tmp_path), "--batch", "0"]) == 2
    assert "batch" in capsys.readouterr().err
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ConfigError, match="cannot be written"):
        export(model, tmp_path / "file", "openvino", part="image")


def test_without_onnx_it_says_what_to_install(model: CLIP, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError, match=r"this needs onnx, which is not installed.*\[onnx\]'"):
        export(model, tmp_path, "onnx", part="image")
