"""Write an NNabla graph as an OpenVINO model, and compile such a model."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset15 as op

from nnclip.engine.arrays import InputSpec, input_specs, nominal_batch
from nnclip.engine.core import core, orphaned
from nnclip.engine.emit import as_float
from nnclip.engine.lowering import Lowering
from nnclip.engine.precision import check_count
from nnclip.engine.trace import trace
from nnclip.errors import ConfigError
from nnclip.forks import OPENVINO_CALLS
from nnclip.nnabla import nn

logger = logging.getLogger(__name__)


def emit_model(
    inputs: Mapping[str, nn.Variable],
    outputs: Mapping[str, nn.Variable],
    *,
    dynamic_batch: bool = True,
    arrays: Mapping[nn.Variable, np.ndarray] | None = None,
) -> tuple[ov.Model, tuple[InputSpec, ...]]:
    """Write an NNabla graph as an OpenVINO model, uncompiled.

    Args:
        inputs: The graph's inputs by name.
        outputs: The graph's outputs by name.
        dynamic_batch: Whether axis 0 of every input is a batch of any size.
        arrays: Arrays to take instead of what parameters hold.

    Returns:
        The model, its weights shared with those arrays, and what its inputs take.

    Raises:
        UnsupportedOpError: If the graph holds operations that the compiler lacks.
        ConfigError: If the inputs have no common batch size of at least 2 to make dynamic.
    """
    batch = nominal_batch(inputs) if dynamic_batch else None
    functions = trace(inputs.values(), outputs.values()).functions
    specs = input_specs(inputs, functions, dynamic_batch)
    parameters = []
    for spec in specs:
        shape = ov.PartialShape([-1 if n is None else n for n in spec.shape])
        parameter = op.parameter(shape, np.int32 if spec.integer else np.float32, name=spec.name)
        parameter.output(0).set_names({spec.name})
        parameters.append(parameter)
    given = {v: p.output(0) for v, p in zip(inputs.values(), parameters, strict=True)}
    values = Lowering(given, batch, arrays)(outputs.values())
    results = [op.result(as_float(v)) for v in values]
    model = ov.Model(results, parameters)
    for port, name in zip(model.outputs, outputs, strict=True):
        port.get_tensor().set_names({name})
    return model, specs


def compile_model(
    model: ov.Model,
    precision: str,
    *,
    threads: int | None = None,
    streams: int | None = None,
    latency: bool = True,
    cache_dir: Path | None = None,
) -> ov.CompiledModel:
    """Compile an OpenVINO model for this processor; the arguments are those of `compile_graph`.

    In a forked child of a process that ran OpenVINO, threads, streams and latency count for nothing
    (see `orphaned`).
    """
    check_count("threads", threads)
    check_count("streams", streams)
    config: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        **_workers(threads, streams, latency),
    }
    if cache_dir is not None:
        config["CACHE_DIR"] = str(_writable(cache_dir))
        # the cache goes by names too, and those OpenVINO gives count all nodes of the process
        for number, node in enumerate(model.get_ordered_ops()):
            node.set_friendly_name(f"node{number}")
        for number, result in enumerate(model.outputs):
            result.get_tensor().set_names({f"output{number}"})
    with OPENVINO_CALLS:
        return core().compile_model(model, "CPU", config)


def _workers(threads: int | None, streams: int | None, latency: bool) -> dict[str, Any]:
    """OpenVINO's settings for the threads that a model gets."""
    if orphaned():
        _say_once("this process was forked from one that ran OpenVINO: one thread computes here")
        return {"NUM_STREAMS": 0}
    config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY" if latency else "THROUGHPUT"}
    if threads is not None:
        config["INFERENCE_NUM_THREADS"] = threads
        # it pins threads to the first cores, in every process: two of one thread would share one
        config["ENABLE_CPU_PINNING"] = threads >= (os.cpu_count() or 1)
    if streams is not None:
        config["NUM_STREAMS"] = streams
    return config


@functools.cache
def _say_once(message: str) -> None:
    logger.info(message)


def _writable(folder: Path) -> Path:
    """Give back a folder, made if need be; ConfigError if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("read-only")
    except OSError as error:
        raise ConfigError(
            f"cache_dir is {str(folder)!r} ({error}); expected a folder to write to, or None"
        ) from error
    return folder
