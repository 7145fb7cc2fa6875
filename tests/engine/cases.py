"""A small graph for every operation of the compiler's table, the same for every batch size."""

import nnabla as nn
import nnabla.functions as F
import numpy as np


def three(n, w, f):
    """A case with one operand (n, 5, 8)."""
    return (x := nn.Variable((n, 5, 8))), f(x)


def image(n, w, f):
    """A case with one operand (n, 4, 9, 8)."""
    return (x := nn.Variable((n, 4, 9, 8))), f(x)


def ids(n, w, f):
    """A case with one operand of ids (n, 5) below 6."""
    return (x := nn.Variable((n, 5))), f(x)


# A case: name -> (kind of operand, function of (batch, weights) giving the graph)
CASES = {
    "Abs": (three, lambda n, w: F.abs),
    "AbsoluteError": (three, lambda n, w: lambda x: F.absolute_error(x, x * x)),
    "Add2": (three, lambda n, w: lambda x: x + w(1, 1, 8)),
    "AddN": (
        three,
        lambda n, w: lambda x: F.add_n(x, x * 2, w(1, 5, 8) * F.constant(1, (n, 5, 8))),
    ),
    "AddScalar": (three, lambda n, w: lambda x: x + 0.3),
    "Affine": (three, lambda n, w: lambda x: F.affine(x, w(8, 3, 2), w(3, 2), base_axis=2)),
    "Affine of all axes": (three, lambda n, w: lambda x: F.affine(x, w(40, 6))),
    "AveragePooling": (image, lambda n, w: lambda x: F.average_pooling(x, (2, 3), (2, 2))),
    "AveragePooling without pad": (
        image,
        lambda n, w: (
            lambda x: F.average_pooling(x, (3, 3), (2, 2), pad=(1, 1), including_pad=False)
        ),
    ),
    "BatchMatmul": (three, lambda n, w: lambda x: F.batch_matmul(x, x, transpose_a=True)),
    "BatchMatmul by one matrix": (
        three,
        lambda n, w: (
            lambda x: F.batch_matmul(
                F.reshape(x, (1, n * 5, 8)), F.reshape(w(6, 8), (1, 6, 8)), transpose_b=True
            )
        ),
    ),
    "BatchMatmul by matrices": (
        three,
        lambda n, w: lambda x: F.batch_matmul(F.reshape(x, (n, 2, 5, 4)), w(1, 2, 4, 3)),
    ),
    "BatchNormalization": (
        image,
        lambda n, w: (
            lambda x: F.batch_normalization(
                x,
                w(1, 4, 1, 1),
                w(1, 4, 1, 1),
                w(1, 4, 1, 1),
                w(1, 4, 1, 1, scale=0.1, shift=1.0),
                batch_stat=False,
            )
        ),
    ),
    "BatchNormalization of the batch": (
        image,
        lambda n, w: (
            lambda x: F.batch_normalization(
                x, w(1, 4, 1, 1), w(1, 4, 1, 1), w(1, 4, 1, 1), w(1, 4, 1, 1), batch_stat=True
            )
        ),
    ),
    "Broadcast": (three, lambda n, w: lambda x: F.broadcast(x[:, :1], (n, 7, 8))),
    "BroadcastTo": (three, lambda n, w: lambda x: F.broadcast_to(x, w(5, 8))),
    "Ceil": (three, lambda n, w: F.ceil),
    "Concatenate": (
        three,
        lambda n, w: lambda x: F.concatenate(F.broadcast(w(1, 1, 8), (n, 1, 8)), x, axis=1),
    ),
    "Convolution": (
        image,
        lambda n, w: (
            lambda x: F.convolution(
                x, w(6, 4, 3, 2), w(6), pad=(1, 0), stride=(2, 1), dilation=(1, 2)
            )
        ),
    ),
    "Convolution in groups": (
        image,
        lambda n, w: lambda x: F.convolution(x, w(6, 2, 3, 3), group=2),
    ),
    "Cos": (three, lambda n, w: F.cos),
    "CumSum": (three, lambda n, w: lambda x: F.cumsum(x, axis=1, reverse=True)),
    "Deconvolution": (
        image,
        lambda n, w: lambda x: F.deconvolution(x, w(4, 3, 3, 2), w(3), pad=(1, 0), stride=(2, 1)),
    ),
    "Deconvolution in groups": (
        image,
        lambda n, w: lambda x: F.deconvolution(x, w(4, 3, 2, 2), group=2),
    ),
    "DepthwiseConvolution": (
        image,
        lambda n, w: lambda x: F.depthwise_convolution(x, w(8, 3, 3), w(8), multiplier=2),
    ),
    "Div2": (three, lambda n, w: lambda x: x / (x * x + w(1, 5, 1, shift=3.0))),
    "ELU": (three, lambda n, w: lambda x: F.elu(x, 0.7)),
    "Embed": (ids, lambda n, w: lambda x: F.embed(x, w(6, 4))),
    "Equal": (three, lambda n, w: lambda x: F.equal(F.round(x), F.round(x * 2))),
    "EqualScalar": (three, lambda n, w: lambda x: F.equal_scalar(F.round(x), 1.0)),
    "Erf": (three, lambda n, w: F.erf),
    "Exp": (three, lambda n, w: F.exp),
    "Flip": (three, lambda n, w: lambda x: F.flip(x, (1, 2))),
    "Floor": (three, lambda n, w: F.floor),
    "GELU": (three, lambda n, w: F.gelu),
    "Gather": (ids, lambda n, w: lambda x: F.gather(w(6, 3), x, axis=0)),
    "GatherNd": (
        three,
        lambda n, w: lambda x: F.gather_nd(F.transpose(x, (1, 0, 2)), F.constant(3, (1, 2))),
    ),
    "GlobalAveragePooling": (image, lambda n, w: F.global_average_pooling),
    "Greater": (three, lambda n, w: lambda x: F.greater(x, x * x)),
    "GreaterEqual": (three, lambda n, w: lambda x: F.greater_equal(x, w(1, 5, 8))),
    "GreaterEqualScalar": (three, lambda n, w: lambda x: F.greater_equal_scalar(x, 0.2)),
    "GreaterScalar": (three, lambda n, w: lambda x: F.greater_scalar(x, 0.2)),
    "GroupNormalization": (
        image,
        lambda n, w: lambda x: F.group_normalization(x, w(1, 4, 1, 1), w(1, 4, 1, 1), 2),
    ),
    "HardSigmoid": (three, lambda n, w: lambda x: F.hard_sigmoid(x * 3)),
    "HardTanh": (three, lambda n, w: F.hard_tanh),
    "HuberLoss": (three, lambda n, w: lambda x: F.huber_loss(x * 2, x * x, 0.8)),
    "Identity": (three, lambda n, w: F.identity),
    "InstanceNormalization": (
        image,
        lambda n, w: lambda x: F.instance_normalization(x, w(1, 4, 1, 1), w(1, 4, 1, 1)),
    ),
    "LayerNormalization": (
        three,
        lambda n, w: lambda x: F.layer_normalization(x, w(1, 1, 8), w(1, 1, 8), batch_axis=(0, 1)),
    ),
    "LeakyReLU": (three, lambda n, w: lambda x: F.leaky_relu(x, 0.2)),
    "Less": (three, lambda n, w: lambda x: F.less(x, x * x)),
    "LessEqual": (three, lambda n, w: lambda x: F.less_equal(x, x * x)),
    "LessEqualScalar": (three, lambda n, w: lambda x: F.less_equal_scalar(x, 0.1)),
    "LessScalar": (three, lambda n, w: lambda x: F.less_scalar(x, 0.1)),
    "Log": (three, lambda n, w: lambda x: F.log(x * x + 0.1)),
    "LogSigmoid": (three, lambda n, w: lambda x: F.log_sigmoid(x * 10)),
    "LogSoftmax": (three, lambda n, w: lambda x: F.log_softmax(x, axis=1)),
    "Max": (three, lambda n, w: lambda x: F.max(x, axis=1)),
    "Max with its place": (
        three,
        lambda n, w: lambda x: F.max(F.round(x), axis=1, only_index=True),
    ),
    "MaxPooling": (image, lambda n, w: lambda x: F.max_pooling(x, (3, 2), (2, 2), pad=(1, 0))),
    "Maximum2": (three, lambda n, w: lambda x: F.maximum2(x, x * x)),
    "MaximumScalar": (three, lambda n, w: lambda x: F.maximum_scalar(x, 0.1)),
    "Mean": (three, lambda n, w: lambda x: F.mean(x, axis=-1)),
    "Min": (three, lambda n, w: lambda x: F.min(x, axis=2, keepdims=True)),
    "Minimum2": (three, lambda n, w: lambda x: F.minimum2(x, x * x)),
    "MinimumScalar": (three, lambda n, w: lambda x: F.minimum_scalar(x, 0.1)),
    "Mish": (three, lambda n, w: F.mish),
    "Mul2": (three, lambda n, w: lambda x: x * w(1, 5, 1)),
    "MulN": (three, lambda n, w: lambda x: F.mul_n(x, x + 1, x - 1)),
    "MulScalar": (three, lambda n, w: lambda x: x * -0.7),
    "Norm": (three, lambda n, w: lambda x: F.norm(x, 2, axis=2)),
    "Norm of absolutes": (three, lambda n, w: lambda x: F.norm(x, 1, axis=2, keepdims=True)),
    "NormNormalization": (
        three,
        lambda n, w: lambda x: F.norm_normalization(x, p=2, axes=[2], eps=1e-6),
    ),
    "NotEqual": (three, lambda n, w: lambda x: F.not_equal(F.round(x), F.round(x * 2))),
    "NotEqualScalar": (three, lambda n, w: lambda x: F.not_equal_scalar(F.round(x), 1.0)),
    "OneHot": (ids, lambda n, w: lambda x: F.one_hot(F.reshape(x, (n, 5, 1)), (6,))),
    "PReLU": (image, lambda n, w: lambda x: F.prelu(x, w(4))),
    "Pad": (image, lambda n, w: lambda x: F.pad(x, (1, 0, 2, 1), "constant", 0.5)),
    "Pad by reflection": (image, lambda n, w: lambda x: F.pad(x, (1, 0, 2, 1), "reflect")),
    "Pow2": (three, lambda n, w: lambda x: F.pow2(F.abs(x) + 0.1, x)),
    "PowScalar": (three, lambda n, w: lambda x: F.abs(x) ** 1.7),
    "PowScalar, square root": (three, lambda n, w: lambda x: F.abs(x) ** 0.5),
    "PowScalar, inverse": (three, lambda n, w: lambda x: (F.abs(x) + 0.1) ** -1),
    "Prod": (three, lambda n, w: lambda x: F.prod(x, axis=1)),
    "RDivScalar": (three, lambda n, w: lambda x: 2.0 / (F.abs(x) + 0.1)),
    "RPowScalar": (three, lambda n, w: lambda x: 2.0**x),
    "RSubScalar": (three, lambda n, w: lambda x: 2.0 - x),
    "ReLU": (three, lambda n, w: F.relu),
    "ReLU6": (three, lambda n, w: lambda x: F.relu6(x * 6)),
    "Reshape": (three, lambda n, w: lambda x: F.reshape(x, (n * 5, 2, 4))),
    "Reshape and back": (
        three,
        lambda n, w: lambda x: F.reshape(F.reshape(x, (1, n * 5, 8)) + 1, (n, 5, 2, 4)),
    ),
    "Reshape behind another axis": (
        three,
        lambda n, w: lambda x: F.reshape(F.transpose(x, (1, 0, 2)), (5, n * 2, 4)),
    ),
    "Round": (three, lambda n, w: lambda x: F.round(x * 3)),
    "SELU": (three, lambda n, w: F.selu),
    "Sigmoid": (three, lambda n, w: F.sigmoid),
    "SigmoidCrossEntropy": (
        three,
        lambda n, w: lambda x: F.sigmoid_cross_entropy(x * 4, F.greater_scalar(x, 0.0)),
    ),
    "Sign": (three, lambda n, w: F.sign),
    "Sin": (three, lambda n, w: F.sin),
    "Slice": (three, lambda n, w: lambda x: x[:, 1:5:2, -3:]),
    "Slice one row": (three, lambda n, w: lambda x: x[:, 0]),
    "SoftPlus": (three, lambda n, w: lambda x: F.softplus(x, 2.0)),
    "Softmax": (three, lambda n, w: lambda x: F.softmax(x, axis=1)),
    "SoftmaxCrossEntropy": (
        ids,
        lambda n, w: (
            lambda x: F.softmax_cross_entropy(F.embed(x, w(6, 7)), F.reshape(x, (n, 5, 1)), axis=2)
        ),
    ),
    "Split": (three, lambda n, w: lambda x: F.split(x, axis=2)[3]),
    "SquaredError": (three, lambda n, w: lambda x: F.squared_error(x, x * x)),
    "Stack": (three, lambda n, w: lambda x: F.stack(x, x * 2, axis=1)),
    "Sub2": (three, lambda n, w: lambda x: w(1, 1, 8) - x),
    "Sum": (three, lambda n, w: lambda x: F.sum(x, axis=(1, 2), keepdims=True)),
    "Sum over no axes": (three, lambda n, w: lambda x: F.sum(x, axis=[])),
    "SumPooling": (image, lambda n, w: lambda x: F.sum_pooling(x, (2, 2))),
    "Swish": (three, lambda n, w: F.swish),
    "Tanh": (three, lambda n, w: F.tanh),
    "Tile": (three, lambda n, w: lambda x: F.tile(x, (1, 2, 3))),
    "Transpose": (three, lambda n, w: lambda x: F.transpose(x, (1, 2, 0))),
    "Where": (
        three,
        lambda n, w: lambda x: F.where(F.greater_scalar(x, 0.0), x, x * w(1, 5, 1)),
    ),
}


def type_of(case: str) -> str:
    """The function type that a case is about: its name up to a blank or comma."""
    return case.split(" ")[0].rstrip(",")


def build(case, batch, weights):
    operand, graph = CASES[case]
    return operand(batch, weights, graph(batch, weights))


def values_for(x, seed=7):
    """Ids for an operand with two axes, else normal numbers."""
    rng = np.random.default_rng(seed)
    if x.ndim == 2:
        return rng.integers(0, 6, x.shape)
    return rng.normal(size=x.shape).astype(np.float32)
