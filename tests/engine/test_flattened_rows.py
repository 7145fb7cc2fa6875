"""Products of rows that a graph flattens and shapes back: compiled without either."""

import nnabla as nn
import nnabla.functions as F
import numpy as np
import pytest

from nnclip.engine import compile_emitted, emit_graph


def drawn(*shape, seed=7):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def product(x, back, add=None, transpose=False):
    """x (N, 3, 4) -> rows (1, N * 3, 4) -> product (1, N * 3, 5), `add` added -> (N, *back)."""
    shape = (1, 5, 4) if transpose else (1, 4, 5)
    w = nn.Variable.from_numpy_array(drawn(*shape))
    y = F.batch_matmul(F.reshape(x, (1, -1, 4)), w, transpose_b=transpose)
    return F.reshape(y if add is None else y + add(x), (x.shape[0], *back))


def bias(x):
    return nn.Variable.from_numpy_array(drawn(1, 1, 5))


def residual(x):
    return F.reshape(F.concatenate(x, x[:, :, :1], axis=2), (1, -1, 5))


@pytest.mark.parametrize(
    "options, reshapes",
    [
        ({"back": (3, 5)}, 0),
        ({"back": (3, 5), "transpose": True}, 0),
        ({"back": (3, 5), "add": bias}, 0),
        ({"back": (3, 5), "add": residual}, 3),  # as many rows as the product: no bias
        ({"back": (15,), "add": bias}, 2),  # goes on in another shape
        ({"back": (5, 3)}, 2),
    ],
)
def test_equals_nnabla_for_any_batch(run_nnabla, options, reshapes):
    x = nn.Variable((2, 3, 4))
    emitted = emit_graph({"x": x}, {"y": product(x, **options)})
    kinds = [node.get_type_name() for node in emitted.model.get_ordered_ops()]
    assert kinds.count("Reshape") == reshapes
    compiled = compile_emitted(emitted)
    for batch in (1, 2, 5):
        array, given = drawn(batch, 3, 4, seed=batch), nn.Variable((batch, 3, 4))
        wanted = run_nnabla({given: array}, product(given, **options))
        got = compiled(x=array)["y"]
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
