"""Compile an NNabla graph for this processor.

OpenVINO is imported when something is compiled, not before: without it the rest still works.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nnclip.engine.emitted import EmittedGraph
from nnclip.engine.precision import check_precision, require_openvino
from nnclip.engine.runtime import CompiledGraph
from nnclip.engine.trace import trace
from nnclip.errors import ConfigError
from nnclip.forks import NNABLA_LOCK
from nnclip.nnabla import nn


def emit_graph(
    inputs: Mapping[str, nn.Variable],
    outputs: Mapping[str, nn.Variable],
    *,
    dynamic_batch: bool = True,
    arrays: Mapping[nn.Variable, np.ndarray] | None = None,
) -> EmittedGraph:
    """Write an NNabla graph for OpenVINO: the part of `compile_graph` that NNabla has a share in.

    Args:
        inputs: As in `compile_graph`.
        outputs: As in `compile_graph`.
        dynamic_batch: As in `compile_graph`.
        arrays: Arrays to take instead of what parameters hold, not to be changed as long as the
            graph is used; those of a mapped file, for one.

    Raises:
        UnsupportedOpError: As in `compile_graph`.
        ConfigError: If OpenVINO is not installed.
    """
    require_openvino()
    from nnclip.engine.model import emit_model

    with NNABLA_LOCK:
        model, specs = emit_model(inputs, outputs, dynamic_batch=dynamic_batch, arrays=arrays)
    return EmittedGraph(model, specs, tuple(outputs))


def free_length(longest: EmittedGraph, shorter: EmittedGraph) -> EmittedGraph:
    """One graph for every length of a second axis, up to that of `longest`.

    Args:
        longest: a graph of which some inputs have the length along axis 1; it is changed.
        shorter: the same graph for a shorter length, at least 1.

    Returns:
        The graph; those inputs may have any length along axis 1, all the same in one call.

    Raises:
        UnsupportedOpError: If the two differ in more than what a length decides.
        ConfigError: If they do not differ in length.
    """
    from nnclip.engine.lengths import merged

    return replace(longest, specs=merged(longest, shorter))


def compile_emitted(
    graph: EmittedGraph,
    *,
    precision: str = "fp32",
    threads: int | None = None,
    streams: int | None = None,
    latency: bool = True,
    cache_dir: Path | None = None,
    chunk: int = 32,
) -> CompiledGraph:
    """Compile what `emit_graph` gave, which other threads may do with other graphs meanwhile.

    Arguments, result and errors are those of `compile_graph`.
    """
    from nnclip.engine.model import compile_model

    check_precision(precision)
    if precision == "int8":
        raise ConfigError("int8 needs arrays to calibrate on: use quantize instead")
    compiling = partial(
        compile_model,
        graph.model,
        precision,
        threads=threads,
        streams=streams,
        latency=latency,
        cache_dir=cache_dir,
    )
    return CompiledGraph(compiling, graph.specs, graph.outputs, precision, chunk)


def compile_graph(
    inputs: Mapping[str, nn.Variable],
    outputs: Mapping[str, nn.Variable],
    *,
    dynamic_batch: bool = True,
    **options: Any,
) -> CompiledGraph:
    """Compile an NNabla graph for this processor, with the weights it holds now.

    Args:
        inputs: The graph's inputs by name. With `dynamic_batch` they must have been built with
            one common batch size of at least 2.
        outputs: The graph's outputs by name.
        dynamic_batch: Whether axis 0 of every input is a batch that may have any size.
        options:
            precision (str): `fp32`, or `bf16` for products in bfloat16; see
                `available_precisions`. For `int8` use `quantize`.
            threads (int | None): Number of threads; None for one per core.
            streams (int | None): Number of independent workers that share the threads; None lets
                `latency` decide.
            latency (bool): True to answer one call as fast as possible, False for most calls per
                second.
            cache_dir (Path | None): Folder in which compiled models are kept for the next process.
            chunk (int): Largest batch given to the processor at once.

    Returns:
        The compiled graph. Later changes to the NNabla parameters do not reach it.

    Raises:
        UnsupportedOpError: If the graph holds operations that the compiler lacks; all are named.
        ConfigError: If this processor lacks the precision, OpenVINO is not installed, the folder
            cannot be written, or there are to be no threads or streams.
    """
    emitted = emit_graph(inputs, outputs, dynamic_batch=dynamic_batch)
    return compile_emitted(emitted, **options)


def unsupported_ops(
    outputs: Iterable[nn.Variable], inputs: Collection[nn.Variable] = ()
) -> Counter[str]:
    """Count the function types that `compile_graph` lacks.

    Args:
        outputs: Variables that the graph shall give.
        inputs: Variables that it is given. Without any, every variable that nothing computes
            counts as one, parameters included: the answer is then about the whole graph.

    Returns:
        How often each missing type occurs; empty if the graph can be compiled.
    """
    require_openvino()
    from nnclip.engine.ops import RULES

    outputs = list(outputs)
    given = set(inputs) or _leaves(outputs)
    return Counter(
        f.info.type_name for f in trace(given, outputs).functions if f.info.type_name not in RULES
    )


def _leaves(outputs: Iterable[nn.Variable]) -> set[nn.Variable]:
    found: set[nn.Variable] = set()
    for output in outputs:
        output.visit(lambda f: found.update(v for v in f.inputs if v.parent is None))
    return found
