"""Graphs that were written to files, OpenVINO's IR or ONNX, read again to be compiled here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnclip.engine.arrays import InputSpec
from nnclip.engine.emitted import EmittedGraph
from nnclip.engine.precision import require_openvino
from nnclip.errors import CheckpointError
from nnclip.forks import OPENVINO_CALLS


def read_graph(path: Path, specs: Sequence[InputSpec], output: str) -> EmittedGraph:
    """The part of a written graph that leads from some inputs to one output.

    Args:
        path: an .xml beside its .bin, or an .onnx.
        specs: what the inputs must take; integers may be int64 in the file, here they are int32.
        output: the name of the output.

    Raises:
        CheckpointError: damaged, no graph, or one of other inputs and outputs.
        ConfigError: OpenVINO is not installed.
    """
    require_openvino()
    from openvino import Model
    from openvino import opset15 as op

    from nnclip.engine.core import core

    try:
        with OPENVINO_CALLS:
            whole = core().read_model(path)
    except RuntimeError as error:  # all that OpenVINO raises
        reason = str(error).strip().splitlines()[-1]
        raise CheckpointError(
            f"{path}: cannot be read ({reason}); export the model again"
        ) from error
    ports = {name: port for port in whole.outputs for name in port.get_names()}
    nodes = {name: n for n in whole.get_parameters() for name in n.output(0).get_names()}
    wanted = [spec.name for spec in specs]
    if output not in ports or not nodes.keys() >= set(wanted):
        raise CheckpointError(
            f"{path}: found inputs {sorted(nodes)} and outputs {sorted(ports)}, expected "
            f"{', '.join(wanted)} and {output}; export the model again"
        )
    parameters = []
    for spec in specs:
        node = nodes[spec.name]
        _check_shape(path, spec, node.get_partial_shape())
        if spec.integer:
            narrow = op.parameter(node.get_partial_shape(), np.int32, name=spec.name)
            wide = op.convert(narrow, node.get_element_type().get_type_name()).output(0)
            for reader in node.output(0).get_target_inputs():
                reader.replace_source_output(wide)
            node = narrow
        parameters.append(node)
    try:
        model = Model([ports[output].get_node()], parameters)
    except RuntimeError as error:  # it reads an input that is not among them
        raise CheckpointError(
            f"{path}: found that {output} needs more than {', '.join(wanted)}; export the model "
            "again"
        ) from error
    return EmittedGraph(model, tuple(specs), (output,))


def _check_shape(path: Path, spec: InputSpec, found: object) -> None:
    """CheckpointError unless all axes that have a length have that of the spec."""
    shape = [None if axis.is_dynamic else axis.get_length() for axis in found]  # type: ignore[attr-defined]
    if shape != list(spec.shape):
        raise CheckpointError(
            f"{path}: {spec.name}: found shape {shape}, expected {list(spec.shape)}; export the "
            "model again"
        )
