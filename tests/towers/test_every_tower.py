"""What every tower can do, tried with each sample: answer, train, leave and be joined."""

import dataclasses
import json
from pathlib import Path
from typing import NamedTuple

import nnabla as nn
import numpy as np
import pytest
from nnabla.utils.nnp_graph import NnpLoader
from PIL import Image

from nnclip.cli import main
from nnclip.clip import CLIP
from nnclip.engine import available_precisions
from nnclip.errors import ConfigError
from nnclip.export import export
from nnclip.graph.beside import text_inputs
from nnclip.graph.convolution import is_statistic
from nnclip.graph.parameters import flatten, make_parameters, scope_of
from nnclip.training import sizes
from nnclip.training.batch import Batch
from nnclip.training.communicator import Alone
from nnclip.training.config import TrainConfig
from nnclip.training.model import Trainee, make_trainee
from nnclip.training.step import ContrastiveStep, StepOptions, step_maker
from tests.lazy import lazy
from tests.towers.samples import SAMPLES, Sample, saved

openvino = lazy("openvino")
onnxruntime = lazy("onnxruntime")

CAPTIONS = ("a dog", "a red cat that sleeps on a circle", "a cat", "red ! dog on a dog that sleeps")
VALUES, GRADIENTS = 2e-5, 1e-4  # relative to the norm
BF16 = pytest.mark.skipif("bf16" not in available_precisions(), reason="no native bf16 here")


class Case(NamedTuple):
    """A sample, its file, and what it is asked."""

    sample: Sample
    path: Path
    model: CLIP
    images: np.ndarray
    ids: np.ndarray

    @property
    def part(self) -> str:
        return self.sample.tower.side

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """Of the tower."""
        return {"images": self.images} if self.part == "image" else {"ids": self.ids}

    def features(self, model: CLIP) -> np.ndarray:
        """Of the tower, by another model of the same input."""
        return (model.encode_image if self.part == "image" else model.encode_text)(
            *self.inputs.values()
        )


@pytest.fixture(scope="module", params=SAMPLES)
def case(request, tmp_path_factory) -> Case:
    sample = SAMPLES[request.param]
    path = saved(sample.config, tmp_path_factory.mktemp("tower") / "model.h5")
    model = CLIP(path, precision="fp32")
    size = model.config.image.resolution
    images = np.random.default_rng(0).standard_normal((4, 3, size, size), np.float32)
    return Case(sample, path, model, images, model.tokenize(CAPTIONS).astype(np.int64))


def apart(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference of two rows, relative to the norm."""
    assert found.shape == wanted.shape
    return float((np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)).max())


def by_nnabla(model: CLIP, case: Case) -> np.ndarray:
    """The features of the tower, interpreted."""
    variable = nn.Variable.from_numpy_array(next(iter(case.inputs.values())))
    encode = model.encode_image if case.part == "image" else model.encode_text
    features = encode(variable)
    features.forward()
    return features.d.copy()


def test_it_is_read_again_and_answers_as_nnabla_does(case: Case) -> None:
    config = case.sample.config
    assert case.model.config == config
    first, second = (flatten(make_parameters(config, seed=7)) for _ in range(2))
    assert all(np.array_equal(v.d, second[name].d) for name, v in first.items())
    found = case.features(case.model)
    assert found.shape == (4, case.sample.width)
    assert apart(found, by_nnabla(case.model, case)) < VALUES
    assert apart(found[:1], found[1:2]) > 0.001  # the inputs are told apart
    if case.part == "text":  # without the columns that hold padding alone
        used = int((case.ids != case.model.config.text.pad).any(axis=0).nonzero()[0].max()) + 1
        assert apart(case.model.encode_text(case.ids[:, : used + 1]), found) < VALUES


@pytest.mark.parametrize("precision", [pytest.param("bf16", marks=BF16), "int8"])
def test_it_answers_in_other_precisions(case: Case, precision: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (8, 40, 40, 3), dtype=np.uint8)
    calibration = list(map(Image.fromarray, noise)) if precision == "int8" else None
    texts = list(CAPTIONS) if precision == "int8" else None
    model = CLIP(case.path, precision=precision, calibration=calibration, calibration_texts=texts)
    images = np.stack([model.preprocess(Image.fromarray(one)) for one in noise])
    case = case._replace(images=images)
    found, wanted = case.features(model), case.features(case.model)
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    assert ((found * wanted).sum(axis=1) / norms).min() > {"bf16": 0.998, "int8": 0.97}[precision]


def by_openvino(path: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled(inputs)[0]


def by_onnxruntime(path: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


def by_loader(path: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    with nn.parameter_scope("", scope={}):  # it puts the parameters there
        network = NnpLoader(str(path)).get_network("nnclip")
    for name, variable in network.inputs.items():
        variable.d = inputs[name]
    (output,) = network.outputs.values()
    output.forward()
    return output.d.copy()


RUN = {"openvino": by_openvino, "onnx": by_onnxruntime, "nnp": by_loader}


@pytest.mark.parametrize("to", RUN)
def test_it_is_exported_with_a_card(case: Case, to: str, tmp_path: Path) -> None:
    path = export(case.model, tmp_path, to, part=case.part, batch=4)[0]
    inputs, config = case.inputs, case.model.config
    if to == "nnp" and case.part == "text":
        inputs = text_inputs(case.ids, config.text)
    assert apart(RUN[to](path, inputs), case.features(case.model)) < 1e-4
    card = json.loads((tmp_path / "card.json").read_text())
    (graph,) = card["graphs"]
    assert list(graph["inputs"]) == list(inputs) and card["embedding"] == config.embed
    assert all(one["meaning"] for one in graph["inputs"].values())
    told = card["images" if case.part == "image" else "texts"]
    assert told["tower"] == case.sample.tower.describe()
    page = (tmp_path / "README.md").read_text()
    compile(page.split("```python")[1].split("```")[0], "the page", "exec")


def stepped(case: Case, compiled: bool) -> tuple[float, Trainee]:
    """The loss of the first step of `-ft`, and the model with its gradients."""
    trainee = make_trainee(TrainConfig(finetuning=True, model_load_path=str(case.path), lr=1e-5))
    scope = scope_of(trainee.variables())
    step = ContrastiveStep(
        trainee.weights.config, scope, Alone(), step_maker(compiled), StepOptions()
    )
    return step(Batch(case.images, case.ids.astype(np.int32))).loss, trainee


def test_it_is_fine_tuned_by_the_gradients_of_nnabla(case: Case, tmp_path: Path, caplog) -> None:
    loss, wanted = stepped(case, compiled=False)
    compiled_loss, found = stepped(case, compiled=True)
    assert not caplog.records  # it was compiled
    assert compiled_loss == pytest.approx(loss, rel=1e-5)
    gradients = {n: v.g.copy() for n, v in wanted.variables().items() if not is_statistic(n)}
    largest = max(map(np.linalg.norm, gradients.values()))
    for name, gradient in gradients.items():
        far = np.linalg.norm(found.variables()[name].g - gradient)
        assert far < GRADIENTS * (np.linalg.norm(gradient) + 1e-3 * largest), name
    # a bias of keys moves all scores of a query alike
    still = [n for n, g in gradients.items() if not g.any() and not n.endswith("k_proj/b")]
    assert not still
    for name in gradients:
        found.variables()[name].d -= 1e-3 * found.variables()[name].g
    found.save(tmp_path / "tuned.h5")
    assert (
        apart(
            case.features(CLIP(tmp_path / "tuned.h5", precision="fp32")), case.features(case.model)
        )
        > 0
    )


def test_it_begins_from_scratch_by_name(case, tmp_path, monkeypatch) -> None:
    """With OpenAI's tokenizer; a tower that has one of its own cannot begin without its file."""
    config = case.sample.config
    if case.part == "image":
        config = dataclasses.replace(config, text=SAMPLES["text: clip"].tower)
    monkeypatch.setitem(sizes.SIZES, "sample", config)
    told = TrainConfig(model="sample")
    if config.text.tokens == "json":
        with pytest.raises(ConfigError, match=r"sample.*tokenizer.*-ft"):
            make_trainee(told)
        return
    make_trainee(told).save(tmp_path / "model.h5")
    model = CLIP(tmp_path / "model.h5", precision="fp32")
    assert model.config == config
    assert np.isfinite(model.encode_image(case.images)).all()
    assert np.isfinite(model.encode_text(model.tokenize(CAPTIONS))).all()


def test_it_is_joined_with_heads(case: Case, tmp_path: Path, capsys) -> None:
    joined = tmp_path / "joined.h5"
    command = ["join", str(case.path), str(case.path), "-o", str(joined), "--heads", "linear"]
    assert main([*command, "--width", "6", "--json"]) == 0
    model = CLIP(joined, precision="fp32")
    scope = {"image": "visual_head", "text": "text_head"}[case.part]
    weight = model.parameters()[f"{scope}/proj/W"].d
    assert apart(case.features(model), case.features(case.model) @ weight.T) < VALUES
