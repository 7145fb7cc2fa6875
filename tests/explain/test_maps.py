"""Maps of every method: against slow twins in NumPy and NNabla, and of every tower."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from nnclip.assets import asset
from nnclip.cli import main
from nnclip.clip import CLIP
from nnclip.embeddings import unit
from nnclip.errors import ConfigError, DataError
from nnclip.explain import METHODS
from nnclip.graph.config import ClipConfig, VitConfig
from nnclip.graph.convnext import ConvNextConfig
from nnclip.graph.features import image_features, text_features
from nnclip.graph.parameters import building, make_parameters
from nnclip.graph.resnet import ClipResNetConfig
from nnclip.graph.similarity import normalise
from nnclip.graph.torch_resnet import ResNetConfig
from nnclip.graph.watching import watching
from nnclip.image import Preprocess
from nnclip.nnabla import F, nn
from nnclip.weights.model import ModelWeights, save_model

TEXTS = ["a dog", "a red ball"]
DENSE = ("maskclip", "sclip", "clearclip")


@pytest.fixture(scope="module")
def image():
    return Image.fromarray(np.random.default_rng(3).integers(0, 256, (50, 70, 3), np.uint8))


@pytest.fixture(scope="module")
def model(small_h5):
    return CLIP(small_h5, precision="fp32")


@pytest.fixture(scope="module")
def directions(model):
    return unit(model.encode_text(model.tokenize(TEXTS)))


def by_nnabla(model, image, direction_E):
    """Attention and its gradient of each block, hidden states and theirs, by NNabla itself."""
    hidden = []
    images = nn.Variable.from_numpy_array(model.preprocess(image)[None])
    images.need_grad = True
    model.parameters()
    with building(model._weights.scope), watching() as seen:
        features = normalise(image_features(images, model.config, hidden))
        score = F.sum(features * nn.Variable.from_numpy_array(direction_E[None]))
    for v in (*seen.attention, *hidden):
        v.persistent = True
    score.forward()
    score.backward()
    return [(v.d.copy(), v.g.copy()) for v in seen.attention], [
        (v.d.copy(), v.g.copy()) for v in hidden
    ]


def test_relevance_is_that_of_the_paper(model, image, directions):
    found = model.explain(image, TEXTS, "relevance")
    for map_GG, direction_E in zip(found, directions, strict=True):
        relevance = np.eye(17)
        for attention, gradient in by_nnabla(model, image, direction_E)[0]:
            block = np.zeros((17, 17))
            for row in range(attention.shape[2]):
                for column in range(17):
                    products = attention[0, :, row, column] * gradient[0, :, row, column]
                    block[row, column] = np.mean([max(p, 0) for p in products])
            relevance = relevance + block @ relevance
        expected = relevance[0, 1:].reshape(4, 4)
        np.testing.assert_allclose(map_GG, expected, rtol=1e-3, atol=1e-4 * expected.max())


def test_grad_cam_is_that_of_the_paper(model, image, directions):
    found = model.explain(image, TEXTS, "grad-cam")
    for map_GG, direction_E in zip(found, directions, strict=True):
        tokens, gradient = (a[0] for a in by_nnabla(model, image, direction_E)[1][0])
        expected = np.maximum(tokens @ gradient.mean(0), 0)[1:].reshape(4, 4)
        np.testing.assert_allclose(map_GG, expected, rtol=1e-3, atol=1e-4 * expected.max())


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def by_numpy(model, image, method):
    """Features of each place by the last block, written out for heads of 32 and no mask."""
    p = {name: v.d.astype("f8") for name, v in model.parameters().items()}
    last = "visual/transformer/resblocks/1/"
    x = by_nnabla(model, image, np.ones(32, "f4"))[1][0][0][0].astype("f8")

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * p[f"{name}/W"] + p[f"{name}/b"]

    def linear(x, name):
        return x @ p[f"{name}/W"].T + p[f"{name}/b"]

    stacked = norm(x, f"{last}ln_1") @ p[f"{last}attn/in_proj_W"].T + p[f"{last}attn/in_proj_b"]
    heads = []
    for h in range(2):
        q, k, v = (stacked[:, 64 * i + 32 * h : 64 * i + 32 * (h + 1)] for i in range(3))
        own_q, own_k = (softmax(y @ y.T / np.sqrt(32)) for y in (q, k))
        heads.append({"maskclip": v, "sclip": (own_q + own_k) @ v, "clearclip": own_q @ v}[method])
    y = linear(np.concatenate(heads, 1), f"{last}attn/out_proj")
    if method != "clearclip":
        y = x + y
        inside = linear(norm(y, f"{last}ln_2"), f"{last}mlp/c_fc")
        y = y + linear(inside / (1 + np.exp(-1.702 * inside)), f"{last}mlp/c_proj")
    return norm(y[1:], "visual/ln_post") @ p["visual/proj"]


@pytest.mark.parametrize("method", DENSE)
def test_dense_maps_are_those_of_the_papers(model, image, directions, method):
    expected = directions @ unit(by_numpy(model, image, method)).T
    found = model.explain(image, TEXTS, method)
    np.testing.assert_allclose(found, expected.reshape(2, 4, 4), atol=1e-4)


def test_words_that_count_are_found(model, image):
    found = model.explain_text(image, "a photo of a dog")
    ids = model.tokenize("a photo of a dog")
    assert found.shape == (7,) and found.min() >= 0 and found.max() > 0
    direction = unit(model.encode_image(model.preprocess(image)[None]))
    inputs = {"ids": ids, "end": (np.arange(16) == 6)[None].astype("f4")}
    with building(model._weights.scope), watching() as seen:
        variables = {name: nn.Variable.from_numpy_array(a) for name, a in inputs.items()}
        features = normalise(text_features(variables, model.config))
        score = F.sum(features * nn.Variable.from_numpy_array(direction))
    for v in seen.attention:
        v.persistent = True
    score.forward()
    score.backward()
    first, last = (np.maximum(v.d * v.g, 0).mean(1)[0] for v in seen.attention)
    relevance = np.eye(16) + first
    expected = relevance[6] - np.eye(16)[6] + (last @ relevance)[0]
    np.testing.assert_allclose(found, expected[:7], rtol=1e-3, atol=1e-4 * expected.max())


TOWERS = {
    "clip resnet": (ClipResNetConfig(Preprocess(64), (1, 1, 1, 1), 8, 4), 32),
    "residual network": (ResNetConfig(Preprocess(64), (1, 1, 1, 1), False), 512),
    "convnext": (ConvNextConfig(Preprocess(64), (1, 1, 1, 1), (8, 16, 24, 32)), 32),
    "mean": ({"pool": "mean", "class_token": False, "placed": "patches"}, 32),
    "attention": ({"pool": "attention", "class_token": False, "pool_heads": 2,
                   "placed": "patches", "projection": "none"}, 64),
    "queries": ({"pool": "queries", "pool_queries": 3, "pool_heads": 2}, 32),
    "rope": ({"rope": "yx", "rope_reference": 4, "placed": "all"}, 32),
}  # fmt: skip
WITHOUT_RELEVANCE = {"residual network", "convnext"}


@pytest.fixture(scope="module", params=TOWERS)
def another(request, small_config, tmp_path_factory):
    """A model with another image tower, and its name."""
    tower, width = TOWERS[request.param]
    if isinstance(tower, dict):
        tower = dataclasses.replace(small_config.image, **tower)
    assert isinstance(tower, VitConfig | ClipResNetConfig | ResNetConfig | ConvNextConfig)
    config = ClipConfig(embed=width, image=tower, text=small_config.text)
    path = tmp_path_factory.mktemp("explain") / "model.h5"
    save_model(path, ModelWeights(config, make_parameters(config, seed=5), {}))
    return request.param, CLIP(path, precision="fp32")


@pytest.mark.parametrize("method", METHODS)
def test_every_tower_is_explained_or_says_why_not(another, image, method):
    name, model = another
    if method == "relevance" and name in WITHOUT_RELEVANCE:
        with pytest.raises(ConfigError, match="use method='grad-cam'"):
            model.explain(image, TEXTS, method)
        return
    found = model.explain(image, TEXTS, method)
    assert found.shape[0] == 2 and found.shape[1] == found.shape[2] >= 4
    assert np.isfinite(found).all()
    if method != "grad-cam":  # which may find that all places count against a text
        assert found.std() > 0 and not np.allclose(found[0], found[1])


@pytest.mark.parametrize("method", METHODS)
def test_maps_follow_the_weights(method):
    """Adebayo et al. (2018): a map that random weights give as well explains nothing."""
    model = CLIP(precision="fp32")
    image = Image.open(asset("example.jpg"))
    texts = ["a beetle", "a car"]
    trained = model.explain(image, texts, method, 256)
    rng = np.random.default_rng(1)
    for v in model.parameters().values():
        if v.ndim > 1:
            v.d = rng.permutation(v.d.ravel()).reshape(v.shape)
    model.refresh()
    drawn = model.explain(image, texts, method, 256)
    ranks = [np.argsort(np.argsort(it.reshape(2, -1))).astype("f4") for it in (trained, drawn)]
    for one, other in zip(*ranks, strict=True):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.6


def test_finer_maps_come_of_more_pixels(model, image):
    assert model.explain(image, TEXTS, resolution=64).shape == (2, 8, 8)
    with pytest.raises(ConfigError, match="expected at least 8"):
        model.explain(image, TEXTS, resolution=4)


def test_bad_input_is_told(model, tmp_path):
    with pytest.raises(ConfigError, match="method 'gradcam': expected one of relevance"):
        model.explain(Image.new("RGB", (9, 9)), TEXTS, "gradcam")
    (tmp_path / "no.jpg").write_bytes(b"no image")
    with pytest.raises(DataError):
        model.explain(tmp_path / "no.jpg", TEXTS)


def test_the_command_finds_what_is_on_the_left(tmp_path, capsys):
    name = "a-beetle-on-the-left-and-a-sport-utility-vehicle-on-the-right.jpg"
    path = asset(f"examples/{name}")
    texts = ["-t", "a beetle", "-t", "a sport utility vehicle"]
    assert main(["explain", str(path), *texts, "--precision", "fp32", "--json"]) == 0
    beetle, car = json.loads(capsys.readouterr().out)["texts"]
    assert beetle["left"] < 0.5 < car["left"]
    assert np.shape(beetle["map"]) == (4, 4)
    for suffix in ("png", "svg"):
        out = tmp_path / f"out.{suffix}"
        assert main(["explain", str(path), *texts, "-o", str(out)]) == 0
        assert out.stat().st_size > 10_000
    capsys.readouterr()
    assert main(["explain", str(path), *texts, "-o", str(tmp_path / "out.txt")]) == 2
    assert "found .txt, expected one of .png, .svg, .pdf" in capsys.readouterr().err


WITHOUT_NNABLA = """
import sys

class Hidden:
    def find_spec(self, name, *_):
        if name.split(".")[0] == "nnabla":
            raise ModuleNotFoundError(name, name="nnabla")

sys.meta_path.insert(0, Hidden())
import numpy as np
from PIL import Image
from nnclip.clip import CLIP
from nnclip.nnabla import INSTALLED

assert not INSTALLED
model, image = CLIP(sys.argv[1], precision="fp32"), Image.open(sys.argv[2])
maps = {name: model.explain(image, ["a dog"], name) for name in sys.argv[4:]}
np.savez(sys.argv[3], words=model.explain_text(image, "a dog"), **maps)
"""


def test_maps_need_no_nnabla(model, image, tmp_path):
    image.save(tmp_path / "image.png")
    out = tmp_path / "maps.npz"
    command = [sys.executable, "-c", WITHOUT_NNABLA, model.path, tmp_path / "image.png", out]
    done = subprocess.run([*command, *METHODS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(out) as found:
        for name in METHODS:
            np.testing.assert_array_equal(found[name], model.explain(image, ["a dog"], name))
        np.testing.assert_array_equal(found["words"], model.explain_text(image, "a dog"))


def test_without_openvino_a_sentence_says_so(model, image, monkeypatch):
    monkeypatch.setattr("nnclip.engine.precision.openvino_available", lambda: False)
    with pytest.raises(ConfigError, match="OpenVINO"):
        model.explain(image, TEXTS)
