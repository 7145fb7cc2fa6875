"""One graph for every length of a second axis, on graphs that are not CLIP."""

import nnabla as nn
import nnabla.functions as F
import numpy as np
import pytest

from nnclip.engine import compile_emitted, emit_graph, free_length
from nnclip.errors import ConfigError, DataError, UnsupportedOpError

LONGEST, WIDTH, HEADS = 9, 12, 3


def reader(batch, length, weights):
    """Attention with positions and a causal mask, read where `end` says: (N, L) -> (N, 5)."""
    ids, end = nn.Variable((batch, length)), nn.Variable((batch, length))
    positions = weights(LONGEST, WIDTH)
    table, w, out = weights(20, WIDTH), weights(WIDTH, WIDTH), weights(WIDTH, 5)
    x = F.embed(ids, table) + F.reshape(positions[:length], (1, length, WIDTH))
    heads = F.reshape(F.affine(x, w, base_axis=2), (batch, length, HEADS, WIDTH // HEADS))
    heads = F.transpose(heads, (0, 2, 1, 3))
    mask = np.triu(np.full((1, 1, length, length), -1e4, np.float32), 1)
    scores = F.batch_matmul(heads, heads, transpose_b=True) + nn.Variable.from_numpy_array(mask)
    y = F.transpose(F.batch_matmul(F.softmax(scores, axis=3), heads), (0, 2, 1, 3))
    y = F.batch_matmul(F.reshape(end, (batch, 1, length)), F.reshape(y, (batch, length, WIDTH)))
    return {"ids": ids, "end": end}, {"y": F.affine(F.reshape(y, (batch, WIDTH)), out)}


def arrays(batch, length):
    rng = np.random.default_rng(length)
    end = np.eye(length, dtype=np.float32)[rng.integers(0, length, batch)]
    return {"ids": rng.integers(0, 20, (batch, length)), "end": end}


@pytest.fixture
def graph(weights):
    longest, shorter = (emit_graph(*reader(2, n, weights())) for n in (LONGEST, LONGEST - 1))
    return compile_emitted(free_length(longest, shorter), chunk=4)


@pytest.mark.parametrize("length", range(1, LONGEST + 1))
def test_every_length_and_batch_equals_nnabla(graph, weights, length):
    for batch in (1, 6):
        given = arrays(batch, length)
        inputs, outputs = reader(batch, length, weights())
        for name, variable in inputs.items():
            variable.d = given[name]
        outputs["y"].forward()
        np.testing.assert_allclose(graph(**given)["y"], outputs["y"].d, rtol=1e-4, atol=1e-5)


def test_lengths_that_do_not_fit_are_refused(graph):
    for length in (0, LONGEST + 1):
        with pytest.raises(DataError, match=f"1 to {LONGEST}"):
            graph(**arrays(1, LONGEST) | {"ids": np.zeros((1, length), int)})


@pytest.mark.parametrize(
    "build",
    [
        lambda x, n: x * nn.Variable.from_numpy_array(np.arange(n, 0, -1.0)[None]),
        lambda x, n: F.reshape(F.pad(x, (0, n % 2)), (2, -1, 2)),
        lambda x, n: x + 1 if n % 2 else F.tanh(x),
        lambda x, n: F.concatenate(x, F.constant(0.0, (2, 2 * n)), axis=1),
    ],
    ids=["counted from the end", "other sizes", "other operations", "twice the length"],
)
def test_what_a_length_does_not_decide_alone_is_refused(build):
    graphs = []
    for n in (7, 6):
        x = nn.Variable((2, n))
        graphs.append(emit_graph({"x": x}, {"y": build(x, n)}))
    with pytest.raises(UnsupportedOpError):
        free_length(*graphs)


def test_graphs_of_one_length_are_refused(weights):
    with pytest.raises(ConfigError, match="two lengths"):
        free_length(*(emit_graph(*reader(2, 5, weights())) for _ in range(2)))
