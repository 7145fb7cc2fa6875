"""A graph that tells which of its inner values a score depends on: value and gradient, combined.

Axes: N batch, L tokens, H heads, C channels, X places along a side, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import openvino as ov
from openvino import opset15 as op

from nnclip.engine.arrays import input_specs
from nnclip.engine.autodiff import gradients
from nnclip.engine.emit import Output, as_float, constant, integers
from nnclip.engine.emitted import EmittedGraph
from nnclip.engine.lowering import Lowering
from nnclip.engine.trace import trace
from nnclip.forks import NNABLA_LOCK
from nnclip.nnabla import nn

Combine = Callable[[Output, Output], Output]  # a value and the gradient of the score


def emit_attributed(
    inputs: Mapping[str, nn.Variable],
    score: nn.Variable,
    watched: Mapping[str, tuple[nn.Variable, Combine]],
    arrays: Mapping[nn.Variable, np.ndarray] | None = None,
) -> EmittedGraph:
    """Write a graph of a score for OpenVINO, and what its inner values have to do with it.

    Args:
        inputs: the graph's inputs by name; their shapes are meant literally.
        score: a single number.
        watched: name of an output -> an inner Variable, and how its value and gradient give it.
        arrays: arrays to take instead of what parameters hold.

    Returns: a graph with the output `score`, and those of `watched`; where the score does not
        depend on a Variable, its gradient is 0.

    Raises:
        UnsupportedOpError: operations cannot be compiled or differentiated; all are named.
    """
    with NNABLA_LOCK:
        functions = trace(inputs.values(), [score]).functions
        specs = input_specs(inputs, functions, dynamic_batch=False)
        ports = [
            op.parameter(list(s.shape), np.int32 if s.integer else np.float32, name=s.name)
            for s in specs
        ]
        given = {v: p.output(0) for v, p in zip(inputs.values(), ports, strict=True)}
        lowering = Lowering(given, None, arrays)
        values = lowering([score])
        inner = [variable for variable, _ in watched.values()]
        seed = constant(np.ones(score.shape, np.float32))
        # whatever a solver may move
        found, _ = gradients(lowering, functions, {score: seed}, inner, lambda _: True)
        for gradient, (variable, combine) in zip(found, watched.values(), strict=True):
            shape = integers(list(variable.shape))
            if gradient is None:
                gradient = op.broadcast(constant(np.float32(0)), shape).output(0)
            gradient = op.reshape(gradient, shape, special_zero=False).output(0)
            values.append(combine(lowering.value(variable), gradient))
        model = ov.Model([op.result(as_float(v)) for v in values], ports)
    return EmittedGraph(model, specs, ("score", *watched))


def positive_attention(weights_NHML: Output, gradient_NHML: Output) -> Output:
    """Attention times its gradient, what is negative left out, mean over heads: (N, M, L)."""
    product = op.relu(op.multiply(weights_NHML, gradient_NHML))
    return op.reduce_mean(product, integers([1]), keep_dims=False).output(0)


def weighted_channels(places_NCXX: Output, gradient_NCXX: Output) -> Output:
    """Channels times the mean of their gradients, summed, what is negative left out: (N, X, X)."""
    return _weighted(places_NCXX, gradient_NCXX, channels=1, places=[2, 3])


def weighted_tokens(tokens_NLD: Output, gradient_NLD: Output) -> Output:
    """The same for tokens: (N, L)."""
    return _weighted(tokens_NLD, gradient_NLD, channels=2, places=[1])


def gradient_length(_: Output, gradient_NLD: Output) -> Output:
    """How much the score depends on each token: (N, L), the Euclidean length of its gradient."""
    return op.reduce_l2(gradient_NLD, integers([2]), keep_dims=False).output(0)


def _weighted(values: Output, gradient: Output, channels: int, places: list[int]) -> Output:
    weights = op.reduce_mean(gradient, integers(places), keep_dims=True)
    total = op.reduce_sum(op.multiply(values, weights), integers([channels]), keep_dims=False)
    return op.relu(total).output(0)
