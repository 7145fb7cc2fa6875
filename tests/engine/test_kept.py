"""Quantised graphs on disk: found again, replaced where damaged, bounded in number."""

import nnabla as nn
import nnabla.functions as F
import numpy as np
import pytest

from nnclip.engine import agreement, compile_graph, compile_quantised, emit_graph, kept
from nnclip.engine.sensitive import quantised_within
from tests.engine.conftest import mlp


@pytest.fixture
def made(weights):
    """A graph, arrays to calibrate on, and what counts how often it was quantised."""
    x, y = mlp(2, weights())
    arrays = {"x": np.random.default_rng(0).normal(size=(8, *x.shape[1:])).astype(np.float32)}
    graph, calls = emit_graph({"x": x}, {"y": y}), []

    def make():
        calls.append(1)
        return quantised_within(graph, arrays, 0.0)

    return graph, arrays, calls, make


def test_the_second_process_finds_what_the_first_made(made, tmp_path):
    graph, arrays, calls, make = made
    key = kept.key_of("weights", arrays)
    first, drift = kept.kept(tmp_path, key, graph, make)
    again, found = kept.kept(tmp_path, key, graph, make)
    assert len(calls) == 1 and found == drift
    answers = [compile_quantised(g)(**arrays)["y"] for g in (first, again)]
    np.testing.assert_array_equal(*answers)
    assert [p.name for p in tmp_path.iterdir()] == [key]  # nothing unfinished lies there


@pytest.mark.parametrize("content", [b"", b"<net", b"<net name='x' version='11'></net>"])
def test_a_damaged_one_is_made_again(made, tmp_path, content, caplog):
    graph, _, calls, make = made
    kept.kept(tmp_path, "0" * 32, graph, make)
    (tmp_path / ("0" * 32) / kept.GRAPH).write_bytes(content)
    kept.kept(tmp_path, "0" * 32, graph, make)
    assert len(calls) == 2 and "chooses its scales again" in caplog.text
    kept.kept(tmp_path, "0" * 32, graph, make)
    assert len(calls) == 2


def test_only_so_many_are_kept(made, tmp_path):
    graph, _, _, make = made
    for number in range(kept.MOST + 2):
        (tmp_path / f"{number:032}").mkdir()
    kept.kept(tmp_path, "f" * 32, graph, make)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert len(names) == kept.MOST and names[-1] == "f" * 32


def test_a_folder_that_cannot_be_written_costs_only_time(made, tmp_path):
    graph, _, calls, make = made
    blocked = tmp_path / "file"
    blocked.write_text("")
    for _ in range(2):
        kept.kept(blocked / "int8", "0" * 32, graph, make)
    assert len(calls) == 2


def test_the_key_tells_weights_and_arrays_apart(made):
    _, arrays, _, _ = made
    keys = {
        kept.key_of("a", arrays),
        kept.key_of("b", arrays),
        kept.key_of("a", {"x": arrays["x"] + 1}),
        kept.key_of("a", {"z": arrays["x"]}),
    }
    assert len(keys) == 4 and all(len(key) == 32 for key in keys)


def test_products_with_outliers_stay_in_float():
    """A channel a thousand times the others, of little weight, leaves these few steps of int8."""
    random = np.random.default_rng(0)
    x = hidden = nn.Variable((2, 16))
    for number in range(6):
        weights, scale = random.normal(size=(16, 16)) / 4, np.ones(16)
        if number in (2, 3):  # what product 2 makes large, product 3 makes small
            scale[5] = 3000
        weights = weights * scale if number == 2 else weights / scale[:, None]
        hidden = F.affine(hidden, nn.Variable.from_numpy_array(weights.astype(np.float32)))
        hidden = F.leaky_relu(hidden, 0.5) if number < 5 else hidden
    arrays = {"x": random.normal(size=(16, 16)).astype(np.float32)}
    graph = emit_graph({"x": x}, {"y": hidden})
    _, poor = quantised_within(graph, arrays, 0.0)
    better, drift = quantised_within(graph, arrays, 0.999)
    assert poor.least_cosine < 0.99
    assert drift.least_cosine > 0.999
    wanted = compile_graph({"x": x}, {"y": hidden})(**arrays)["y"]
    got = compile_quantised(better)(**arrays)["y"]
    assert agreement(got, wanted).least_cosine == pytest.approx(drift.least_cosine, abs=1e-6)
