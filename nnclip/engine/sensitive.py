"""int8 for a whole graph but for the products whose activations it cannot hold.

A few large values among small ones (outliers, as transformers grow them) leave the small ones few
of the 256 steps. Which products suffer is measured on the calibration arrays, and what leaving them
in float gains, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset15 as op

from nnclip.engine.compiler import compile_emitted
from nnclip.engine.core import core
from nnclip.engine.emitted import EmittedGraph
from nnclip.engine.quantise import (
    CALIBRATION_BATCH,
    PRODUCTS,
    Agreement,
    agreement,
    compile_quantised,
    quantised,
)
from nnclip.forks import OPENVINO_CALLS

ROUNDS = 4  # in each, as many products again go to float
PORTION = 0.15  # of the products


def quantised_within(
    graph: EmittedGraph, calibration: Mapping[str, np.ndarray], least_cosine: float
) -> tuple[EmittedGraph, Agreement]:
    """Quantise a graph of one output; where that costs too much, leave more products in float.

    Args:
        graph: what `emit_graph` gave.
        calibration: arrays like those that will be given later, by name of the input.
        least_cosine: the cosine with float32's answers that no calibration row may fall below, if
            that can be had.

    Returns:
        The graph whose least cosine is the greatest among those tried, and how close it is.

    Raises:
        ConfigError, DataError: As in `quantised`.
    """
    (output,) = graph.outputs
    wanted = compile_emitted(graph)(**calibration)[output]
    floats: list[str] = []
    best: tuple[EmittedGraph, Agreement] | None = None
    for _ in range(1 + ROUNDS):
        found = quantised(graph, calibration, floats)
        drift = agreement(compile_quantised(found)(**calibration)[output], wanted)
        if best is None or drift.least_cosine > best[1].least_cosine:
            best = found, drift
        if drift.least_cosine >= least_cosine:
            break
        harm = harms(found, calibration)
        worst = sorted(harm, key=harm.__getitem__, reverse=True)
        if not worst:
            break
        floats += worst[: max(1, round(PORTION * (len(harm) + len(floats))))]
    assert best is not None
    return best


def harms(graph: EmittedGraph, calibration: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Name of a product in int8 -> what rounding its activations alone does to the output.

    Every rounding of activations is given a switch, all of them one input: each is tried alone in
    a graph that was compiled once.

    Returns: the mean of 1 - cosine with the output without any such rounding.
    """
    model = graph.model.clone()
    readers = _roundings(model)
    switches = op.parameter([len(readers)], np.float32, name="switches")
    for number, rounding in enumerate(readers):
        exact = rounding.input_value(0)
        places = rounding.output(0).get_target_inputs()
        switch = op.gather(switches, op.constant(number), op.constant(0))
        mixed = op.add(exact, op.multiply(switch, op.subtract(rounding, exact)))
        for place in places:
            place.replace_source_output(mixed.output(0))
    twin = ov.Model(model.get_results(), [*model.get_parameters(), switches])
    with OPENVINO_CALLS:
        compiled = core().compile_model(twin, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        few = [calibration[s.name][:CALIBRATION_BATCH] for s in graph.specs]

        def answer(switched: np.ndarray) -> np.ndarray:
            return np.array(compiled([*few, switched.astype(np.float32)])[0])

        wanted = answer(np.zeros(len(readers)))
        found = {}
        for alone, names in zip(np.eye(len(readers)), readers.values(), strict=True):
            harm = 1 - agreement(answer(alone), wanted).mean_cosine
            found.update(dict.fromkeys(names, harm))
    return found


def _roundings(model: ov.Model) -> dict[Any, list[str]]:
    """What rounds activations to int8 -> the names of the products that read it."""
    found: dict[Any, list[str]] = {}
    by_name: dict[str, Any] = {}
    for product in model.get_ordered_ops():
        if product.get_type_name() not in PRODUCTS:
            continue
        for value in product.input_values():
            node = value.get_node()
            while node.get_type_name() not in ("FakeQuantize", "Constant", "Parameter", *PRODUCTS):
                node = node.input_value(0).get_node()
            if node.get_type_name() == "FakeQuantize":
                node = by_name.setdefault(node.get_friendly_name(), node)
                found.setdefault(node, []).append(product.get_friendly_name())
    return found
