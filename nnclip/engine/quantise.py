"""int8: weights and activations quantised after training, on arrays that are like the real ones."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import sys
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from nnclip.engine.arrays import checked
from nnclip.engine.compiler import emit_graph
from nnclip.engine.emitted import EmittedGraph
from nnclip.engine.interpreter import InterpretedGraph
from nnclip.engine.precision import default_precision, sums_int8_exactly
from nnclip.engine.runtime import CompiledGraph
from nnclip.errors import ConfigError, DataError
from nnclip.extras import extra, how
from nnclip.forks import OPENVINO_CALLS
from nnclip.nnabla import nn

if TYPE_CHECKING:
    import openvino as ov

Graph = CompiledGraph | InterpretedGraph
CALIBRATION_BATCH = 4
PRODUCTS = ("MatMul", "Convolution", "GroupConvolution")
FEW = 4  # products, of which none is left out


@dataclass(frozen=True)
class Agreement:
    """How close one graph's outputs are to another's.

    Attributes:
        least_cosine: The smallest cosine between two rows that belong together.
        mean_cosine: The mean of those cosines.
        largest_error: The largest distance between two such rows, relative to the row's length.
    """

    least_cosine: float
    mean_cosine: float
    largest_error: float


def agreement(got: np.ndarray, wanted: np.ndarray) -> Agreement:
    """Compare two arrays of rows (N, ...).

    >>> agreement(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0]]))
    Agreement(least_cosine=1.0, mean_cosine=1.0, largest_error=0.0)
    """
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (got, wanted))
    lengths = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    cosine = (a * b).sum(1) / np.maximum(lengths[0] * lengths[1], 1e-30)
    error = np.linalg.norm(a - b, axis=1) / np.maximum(lengths[1], 1e-30)
    return Agreement(float(cosine.min()), float(cosine.mean()), float(error.max()))


def quantize(
    inputs: Mapping[str, nn.Variable],
    outputs: Mapping[str, nn.Variable],
    calibration: Mapping[str, np.ndarray],
    **options: Any,
) -> CompiledGraph:
    """Compile an NNabla graph with its products in int8.

    The ranges of the activations are measured by running `calibration` once; a few dozen real
    images or texts serve. It takes about half a minute for a tower of 86 M parameters. Measure
    with `agreement` what it cost on the model at hand.

    Args:
        inputs: The graph's inputs by name, built with one common batch size of at least 2.
        outputs: The graph's outputs by name.
        calibration: Arrays (N, ...) like those that will be given later, by name of the input.
        options: `streams`, `latency`, `chunk` and `threads`, as in `compile_graph`.

    Raises:
        ConfigError: If OpenVINO or NNCF is not installed.
        DataError: If the calibration arrays do not fit, or there is nothing in them.
        UnsupportedOpError: As in `compile_graph`.
    """
    return compile_quantised(quantised(emit_graph(inputs, outputs), calibration), **options)


def compile_quantised(graph: EmittedGraph, *, chunk: int = 32, **options: Any) -> CompiledGraph:
    """Compile what `quantised` gave; `options` are those of `quantize`."""
    from nnclip.engine.model import compile_model

    # int8 covers the products; everything between them runs in the processor's best format
    compiling = partial(compile_model, graph.model, default_precision(), **options)
    return CompiledGraph(compiling, graph.specs, graph.outputs, "int8", chunk)


def quantised(
    graph: EmittedGraph, calibration: Mapping[str, np.ndarray], floats: Collection[str] = ()
) -> EmittedGraph:
    """A graph with its products in int8, not yet compiled.

    Args:
        graph: what `emit_graph` gave.
        calibration: Arrays (N, ...) like those that will be given later, by name of the input.
        floats: Names of products that stay in float, beside those that always do.

    Raises:
        ConfigError: If NNCF is not installed, or cannot run in this process.
        DataError: If the calibration arrays do not fit, or there is nothing in them.
    """
    if importlib.util.find_spec("nncf") is None:
        raise ConfigError(
            f"precision int8 needs NNCF, which is not installed; {how('int8')}, or use bf16"
        )
    from nnclip.engine.core import orphaned

    if orphaned():
        raise ConfigError(
            "int8: found a process forked from one that ran OpenVINO, where NNCF cannot calibrate; "
            "let the model answer before the fork, spawn the process, or use fp32"
        )
    arrays = checked(graph.specs, calibration)
    size = len(arrays[0])
    if not size:
        raise DataError("the calibration arrays are empty; give a few dozen typical ones")
    batches = [
        {s.name: a[at : at + CALIBRATION_BATCH] for s, a in zip(graph.specs, arrays, strict=True)}
        for at in range(0, size, CALIBRATION_BATCH)
    ]
    with OPENVINO_CALLS:  # NNCF's own
        return replace(graph, model=_quantized(graph.model, batches, floats))


def _ends(model: ov.Model) -> list[str]:
    """Names of the first and the last product, which stay in float.

    They are a few percent of the work. On a trained tower of six blocks that raised the least
    cosine from 0.9990 to 0.9997.
    """
    names = [
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() in PRODUCTS
    ]
    return [names[0], names[-1]] if len(names) > FEW else []


def _multiplied(model: ov.Model) -> list[str]:
    """Names of the convolutions in groups that give several channels of one, which stay in float.

    In int8 OpenVINO multiplies their channels by those of others: squeeze and excitation behind
    one gave 1.6 times the norm as error, against 0.004 where each channel gives one.
    """
    names = []
    for node in model.get_ordered_ops():
        if node.get_type_name() == "GroupConvolution":
            _, out, inside, *_ = node.input(1).get_shape()  # groups first
            if out > inside:
                names.append(node.get_friendly_name())
    return names


def _quantized(
    model: ov.Model, batches: list[dict[str, np.ndarray]], floats: Collection[str]
) -> Any:
    """Let NNCF quantise a model, quietly: no usage report, no progress bars on stdout."""
    os.environ.setdefault("NNCF_CI", "1")  # NNCF's own switch against sending usage reports
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        with extra():
            import nncf

        logging.getLogger("nncf").setLevel(logging.WARNING)
        # NNCF imports torch where it is installed, which looks for a CUDA that nothing here needs
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        from nncf.quantization.advanced_parameters import OverflowFix
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet

        off = nncf.AdvancedSmoothQuantParameters(matmul=-1, convolution=-1)
        # weights of 7 bits keep sums within 16: without VNNI, 8 bits gave a least cosine of 0.880
        # where VNNI gives 0.978, 7 bits 0.979
        fix = None if sums_int8_exactly() else OverflowFix.ENABLE
        return nncf.quantize(
            model,
            nncf.Dataset(batches),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(batches),
            ignored_scope=nncf.IgnoredScope(names=[*_ends(model), *_multiplied(model), *floats]),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                # smoothing lowered the least cosine of a random tower from 0.9993 to 0.9978
                smooth_quant_alphas=off,
                # a mean of the batches' ranges clips what only some images show: on 256 unseen
                # images it gave the bundled ResNet a least cosine of 0.9935, this one 0.9985
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
                overflow_fix=fix,
            ),
        )
