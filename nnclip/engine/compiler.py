"""Compile an NNabla graph for this processor.

OpenVINO is imported when something is compiled, not before: without it the rest still works.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import nnabla as nn

from nnclip.engine.precision import check_precision, require_openvino
from nnclip.engine.runtime import CompiledGraph
from nnclip.engine.trace import trace
from nnclip.errors import ConfigError


def compile_graph(
    inputs: Mapping[str, nn.Variable],
    outputs: Mapping[str, nn.Variable],
    *,
    precision: str = "fp32",
    dynamic_batch: bool = True,
    threads: int | None = None,
    streams: int | None = None,
    latency: bool = True,
    cache_dir: Path | None = None,
    chunk: int = 32,
) -> CompiledGraph:
    """Compile an NNabla graph for this processor, with the weights it holds now.

    Args:
        inputs: The graph's inputs by name. With `dynamic_batch` they must have been built with
            one common batch size of at least 2.
        outputs: The graph's outputs by name.
        precision: `fp32`, or `bf16` for products in bfloat16; see `available_precisions`. For
            `int8` use `quantize`.
        dynamic_batch: Whether axis 0 of every input is a batch that may have any size.
        threads: Number of threads; None for one per core.
        streams: Number of independent workers that share the threads; None lets `latency` decide.
        latency: True to answer one call as fast as possible, False for most calls per second.
        cache_dir: Folder in which compiled models are kept for the next process.
        chunk: Largest batch given to the processor at once.

    Returns:
        The compiled graph. Later changes to the NNabla parameters do not reach it.

    Raises:
        UnsupportedOpError: If the graph holds operations that the compiler lacks; all are named.
        ConfigError: If this processor lacks the precision, or OpenVINO is not installed.
    """
    require_openvino()
    from nnclip.engine.model import compile_model, emit_model

    check_precision(precision)
    if precision == "int8":
        raise ConfigError("int8 needs arrays to calibrate on: use quantize instead")
    model, specs = emit_model(inputs, outputs, dynamic_batch=dynamic_batch)
    compiled = compile_model(
        model, precision, threads=threads, streams=streams, latency=latency, cache_dir=cache_dir
    )
    return CompiledGraph(compiled, specs, list(outputs), precision, chunk)


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
