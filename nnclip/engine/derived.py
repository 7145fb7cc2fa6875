"""Inputs that a graph can make of another one, so that a file needs no code beside it.

All is computed in integers: whatever precision a runtime chooses, ids stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from openvino import Model
from openvino import opset15 as op

from nnclip.engine.emit import Output, integers
from nnclip.engine.emitted import EmittedGraph

Make = Callable[[Output], Output]
NOWHERE = 2**20  # a place behind all others; OpenVINO may compute integers in float32: below 2**24


def _first(marked_NL: Output) -> Output:
    """1.0 at the first marked place of each row, at its beginning where there is none, else 0.0."""
    length = marked_NL.get_partial_shape()[1].get_length()
    place_1L = op.constant(np.arange(length, dtype=np.int32)[None]).output(0)
    nowhere = op.constant(np.int32(NOWHERE))
    first_N1 = op.reduce_min(op.select(marked_NL, place_1L, nowhere), integers([1]), True)
    found_N1 = op.select(op.equal(first_N1, nowhere), op.constant(np.int32(0)), first_N1)
    return op.convert(op.equal(place_1L, found_N1), "f32").output(0)


def first_highest(x_NL: Output) -> Output:
    """1.0 at the first occurrence of each row's highest value, else 0.0."""
    return _first(op.equal(x_NL, op.reduce_max(x_NL, integers([1]), True)).output(0))


def first_equal(value: int) -> Make:
    """1.0 where `value` stands first in its row, at the beginning of rows without, else 0.0."""
    return lambda x: _first(op.equal(x, op.constant(np.int32(value))).output(0))


def differs_from(value: int) -> Make:
    """1.0 where something else than `value` stands, 0.0 where it does."""
    return lambda x: op.convert(op.not_equal(x, op.constant(np.int32(value))), "f32").output(0)


def count_of_others(value: int, first: int) -> Make:
    """The position of each value among those of its row that are not `value`, counted from `first`.

    Where `value` stands, one less than `first`.
    """

    def make(x_NL: Output) -> Output:
        other_NL = op.convert(op.not_equal(x_NL, op.constant(np.int32(value))), "i32")
        counted_NL = op.multiply(op.cumsum(other_NL, integers(1)), other_NL)
        return op.add(counted_NL, op.constant(np.int32(first - 1))).output(0)

    return make


def derive(graph: EmittedGraph, source: str, makers: Mapping[str, Make]) -> EmittedGraph:
    """Let inputs of a graph be computed from another one.

    Args:
        graph: from `emit_graph`; changed.
        source: the input that is left, of integers.
        makers: for each input that goes, what makes it of `source`.

    Returns:
        The graph without those inputs.
    """
    parameters = dict(zip((s.name for s in graph.specs), graph.model.get_parameters(), strict=True))
    for name, make in makers.items():
        readers = parameters[name].output(0).get_target_inputs()
        value = make(parameters[source].output(0))
        for reader in readers:
            reader.replace_source_output(value)
    specs = tuple(s for s in graph.specs if s.name not in makers)
    left = [parameters[s.name] for s in specs]
    return replace(graph, model=Model(graph.model.get_results(), left), specs=specs)
