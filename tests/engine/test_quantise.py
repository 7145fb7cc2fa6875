"""int8 on a graph that is not CLIP, and what it costs in agreement."""

import nnabla as nn
import nnabla.functions as F
import numpy as np
import pytest

from nnclip.assets import assets_dir
from nnclip.engine import agreement, compile_graph, quantize
from nnclip.errors import DataError
from nnclip.image import open_image
from nnclip.model import CLIP


def test_agreement_is_of_the_worst_row():
    wanted = np.array([[3.0, 4.0], [1.0, 0.0]])
    got = np.array([[3.0, 4.0], [0.0, 1.0]])
    found = agreement(got, wanted)
    assert found.least_cosine == pytest.approx(0.0)
    assert found.largest_error == pytest.approx(np.sqrt(2))
    assert agreement(wanted * 2, wanted).least_cosine == pytest.approx(1.0)


@pytest.mark.parametrize("exact", [True, False], ids=["as here", "without VNNI"])
def test_int8_points_the_same_way_at_any_batch(network, weights, capsys, monkeypatch, exact):
    if not exact:  # weights of 7 bits serve every processor
        monkeypatch.setattr("nnclip.engine.quantise.sums_int8_exactly", lambda: False)
    x, y = network(2, weights())
    rng = np.random.default_rng(0)
    calibration = rng.normal(size=(16, *x.shape[1:])).astype(np.float32)
    graph = quantize({"x": x}, {"y": y}, {"x": calibration}, chunk=4)
    assert capsys.readouterr().out == ""
    array = rng.normal(size=(7, *x.shape[1:])).astype(np.float32)
    got, wanted = graph(x=array)["y"], compile_graph({"x": x}, {"y": y})(x=array)["y"]
    found = agreement(got, wanted)
    assert found.least_cosine > 0.95  # so few numbers to a row, each step of int8 shows
    assert found.largest_error > 1e-4, "nothing was quantised"
    assert graph.precision == "int8"


def test_channels_that_come_of_one_are_not_exchanged(weights):
    """Squeeze and excitation behind a convolution that gives two channels of each."""
    w = weights()
    x = nn.Variable((2, 8, 8, 8))
    y = F.convolution(x, w(8, 8, 1, 1))
    y = F.convolution(y, w(16, 1, 3, 3), pad=(1, 1), group=8)
    y = F.gelu(y * F.sigmoid(F.mean(y, axis=(2, 3), keepdims=True)))
    for _ in range(3):
        y = F.convolution(y, w(16, 16, 1, 1))
    array = np.random.default_rng(0).normal(size=(8, *x.shape[1:])).astype(np.float32)
    got = quantize({"x": x}, {"y": y}, {"x": array})(x=array)["y"]
    assert agreement(got, compile_graph({"x": x}, {"y": y})(x=array)["y"]).least_cosine > 0.99


def test_empty_or_unfit_calibration_is_refused(network, weights):
    x, y = network(2, weights())
    with pytest.raises(DataError, match="empty"):
        quantize({"x": x}, {"y": y}, {"x": np.empty((0, *x.shape[1:]), np.float32)})
    with pytest.raises(DataError, match="shape"):
        quantize({"x": x}, {"y": y}, {"x": np.ones((4, 2), np.float32)})


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")  # of NNCF
def test_int8_keeps_to_what_a_trained_model_says():
    """Measured on images that the calibration has not seen."""
    exact = CLIP(precision="fp32")
    files = sorted((assets_dir() / "examples").glob("*.jpg"))
    images = np.stack([exact.preprocess(open_image(file)) for file in files])
    seen, unseen = images[::2], images[1::2]
    int8 = CLIP(precision="int8", calibration=list(seen))
    found = agreement(int8.encode_image(unseen), exact.encode_image(unseen))
    assert found.least_cosine > 0.999
