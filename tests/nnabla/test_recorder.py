"""What the recorder writes down, beside NNabla's own graphs: function by function, argument by
argument."""

import nnabla as nn
import nnabla.functions as F
import numpy as np
import pytest

from nnclip.nnabla import recorder as rn
from nnclip.nnabla.recorder import functions as RF

X, Y, M = (2, 3, 4, 5), (1, 3, 1, 5), (2, 4, 9, 9)

# name -> shapes of Variables, and what is computed of them; `f` is F of either
CASES = {
    "reshape": ([X], lambda f, x: f.reshape(x, (2, -1, 5))),
    "reshape copied": ([X], lambda f, x: f.reshape(x, (6, 20), inplace=False)),
    "transpose": ([X], lambda f, x: f.transpose(x, (0, 2, 1, 3))),
    "matmul": ([X, (2, 3, 5, 6)], lambda f, a, b: f.batch_matmul(a, b)),
    "matmul broadcast": ([(1, 4, 5), (2, 5, 6)], lambda f, a, b: f.batch_matmul(a, b)),
    "matmul a": ([X, X], lambda f, a, b: f.batch_matmul(a, b, transpose_a=True)),
    "matmul b": ([X, X], lambda f, a, b: f.batch_matmul(a, b, transpose_b=True)),
    "arithmetic": ([X, Y], lambda f, x, y: (x + y) * y - x / y + x**y),
    "numbers": ([X], lambda f, x: 2 - (3 * x + 1.5 - 2) / 3 + 1 / x + -(x**2)),
    "slices": ([X], lambda f, x: x[:, 1:3, ::2, -1:]),
    "one index": ([X], lambda f, x: x[:, 0]),
    "last index": ([X], lambda f, x: x[:, 1, :2]),
    "ellipsis": ([X], lambda f, x: x[..., 1:]),
    "slice": ([X], lambda f, x: f.slice(x, (0, 1, 0, 0), (2, 3, 4, 5))),
    "split": ([X], lambda f, x: f.split(x, axis=1)[2]),
    "stack": ([X, X], lambda f, x, y: f.stack(x, y, axis=1)),
    "concatenate": ([X, X], lambda f, x, y: f.concatenate(x, y, axis=2)),
    "concatenate last": ([X, X], lambda f, x, y: f.concatenate(x, y)),
    "pad": ([X], lambda f, x: f.pad(x, (0, 0, 1, 2), constant_value=0.1)),
    "pad all": ([X], lambda f, x: f.pad(x, (0, 0, 1, 0, 0, 0, 0, 3))),
    "broadcast": ([Y], lambda f, x: f.broadcast(x, X)),
    "embed": ([(2, 7), (10, 4)], lambda f, x, w: f.embed(x, w)),
    "convolution": (
        [M, (8, 4, 3, 3), (8,)],
        lambda f, x, w, b: f.convolution(x, w, b, pad=(1, 1), stride=(2, 2)),
    ),
    "groups": ([M, (8, 2, 3, 3)], lambda f, x, w: f.convolution(x, w, group=2, dilation=(2, 2))),
    "depthwise": (
        [M, (4, 3, 3), (4,)],
        lambda f, x, w, b: f.depthwise_convolution(x, w, b, pad=(1, 1)),
    ),
    "depthwise twice": (
        [M, (8, 3, 3)],
        lambda f, x, w: f.depthwise_convolution(x, w, stride=(2, 2), multiplier=2),
    ),
    "average": (
        [M],
        lambda f, x: f.average_pooling(x, (3, 3), (2, 2), pad=(1, 1), including_pad=False),
    ),
    "average alone": ([M], lambda f, x: f.average_pooling(x, (2, 2))),
    "average border": ([M], lambda f, x: f.average_pooling(x, (2, 2), ignore_border=False)),
    "maximum": ([M], lambda f, x: f.max_pooling(x, (3, 3), (2, 2), pad=(1, 1))),
    "comparisons": (
        [X, X],
        lambda f, x, y: f.greater_equal(f.abs(x), f.greater_scalar(y, 0.1)),
    ),
    "bounds": (
        [X],
        lambda f, x: f.minimum_scalar(f.maximum_scalar(f.r_div_scalar(x, 2.5), 0.1), 3),
    ),
    "values": (
        [X],
        lambda f, x: f.tanh(f.swish(f.gelu(f.log(f.exp(f.erf(f.sigmoid(f.relu(x)))))))),
    ),
    "exponential": ([X], lambda f, x: f.tanh(f.log(1 + f.exp(x)))),
    "softmax": ([X], lambda f, x: f.softmax(f.softmax(x), axis=2)),
    "mean": ([X], lambda f, x: f.mean(f.mean(x, axis=(2, 3), keepdims=True), axis=-1)),
    "mean of all": ([X], lambda f, x: f.mean(x)),
    "sum": ([X], lambda f, x: f.sum(x, axis=1)),
    "layer norm": (
        [X, (1, 1, 1, 5), (1, 1, 1, 5)],
        lambda f, x, b, g: f.layer_normalization(x, b, g, batch_axis=(0, 1, 2), eps=1e-6),
    ),
    "batch norm": (
        [X, *[(1, 3, 1, 1)] * 4],
        lambda f, *a: f.batch_normalization(*a, eps=1e-3, batch_stat=False),
    ),
}


def written(output):
    """Each function on the way to `output`: type, arguments, shapes."""
    rows, seen = [], set()

    def visit(f):
        if f in seen:
            return
        seen.add(f)
        for v in f.inputs:
            if v.parent is not None:
                visit(v.parent)
        shapes = [[tuple(v.shape) for v in side] for side in (f.inputs, f.outputs)]
        rows.append((f.info.type_name, dict(f.info.args), *shapes))

    visit(output.parent)
    return rows


@pytest.mark.parametrize("name", CASES)
def test_a_function_is_recorded_as_nnabla_has_it(name):
    shapes, build = CASES[name]
    wanted = build(F, *map(nn.Variable, shapes))
    found = build(RF, *map(rn.Variable, shapes))
    assert written(found) == written(wanted)
    assert tuple(found.shape) == tuple(wanted.shape)


ONLY_COMPILED = {"embed", "convolution", "groups", "depthwise", "average", "maximum"}
ONLY_COMPILED |= {"values", "softmax", "layer", "batch"}


@pytest.mark.parametrize("name", [n for n in CASES if n.split()[0] not in ONLY_COMPILED])
def test_constants_are_computed_as_by_nnabla(name, rng):
    shapes, build = CASES[name]
    arrays = [rng.uniform(0.5, 2, shape).astype(np.float32) for shape in shapes]
    wanted = build(F, *map(nn.Variable.from_numpy_array, arrays))
    found = build(RF, *map(rn.Variable.from_numpy_array, arrays))
    wanted.forward()
    found.forward()
    np.testing.assert_allclose(found.d, wanted.d, rtol=2e-6, atol=1e-5)


def test_what_only_the_compiler_knows_says_so():
    output = RF.softmax(rn.Variable((2, 3)))
    with pytest.raises(NotImplementedError, match="Softmax of constants is computed by NNabla"):
        output.forward()


@pytest.mark.parametrize(
    "build",
    [
        lambda f, v: f.reshape(v(X), (7, -1)),
        lambda f, v: f.batch_matmul(v(X), v(X)),
        lambda f, v: v((5,)) + v((2, 5)),
        lambda f, v: v((2, 3)) + v((2, 4)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(build):
    with pytest.raises(ValueError):
        build(RF, rn.Variable)
    with pytest.raises(RuntimeError):
        build(F, nn.Variable)


def test_scopes_nest_and_name_as_nnabla_does():
    def fill(n):
        scope = {}
        with n.parameter_scope("", scope=scope):
            with n.parameter_scope("a/b"):
                n.parameter.get_parameter_or_create("W", (2, 3), need_grad=False)
            n.parameter.set_parameter("c/d", n.Variable((4,), need_grad=True))
            assert n.parameter.get_parameter("a/b/W").shape == (2, 3)
            assert n.parameter.get_parameter("none") is None
            return {
                only: {k: tuple(v.shape) for k, v in n.get_parameters(grad_only=only).items()}
                for only in (True, False)
            }

    assert fill(rn) == fill(nn) == {True: {"c/d": (4,)}, False: {"a/b/W": (2, 3), "c/d": (4,)}}
