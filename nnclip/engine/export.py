"""Graphs as files for other runtimes: OpenVINO's IR, ONNX, and NNabla's NNP."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nnclip.engine.emitted import EmittedGraph
from nnclip.engine.trace import ordered_functions
from nnclip.errors import UnsupportedOpError
from nnclip.extras import extra
from nnclip.forks import NNABLA_LOCK
from nnclip.nnabla import F, nn, require_nnabla

OPSET = 18  # of ONNX
ONNX_FILE_LIMIT = 1_500_000_000  # bytes; a file of more than 2 GB cannot be read
NETWORK = "nnclip"  # what an NNP calls its graph


def with_int64(graph: EmittedGraph) -> EmittedGraph:
    """The graph with its integer inputs as int64, what tokenizers elsewhere give; changes it."""
    from openvino import Model
    from openvino import opset15 as op

    parameters = []
    for spec, parameter in zip(graph.specs, graph.model.get_parameters(), strict=True):
        if spec.integer:
            readers = parameter.output(0).get_target_inputs()
            wide = op.parameter(parameter.get_partial_shape(), np.int64, name=spec.name)
            wide.output(0).set_names({spec.name})
            narrow = op.convert(wide, "i32").output(0)
            for reader in readers:
                reader.replace_source_output(narrow)
            parameter = wide
        parameters.append(parameter)
    return replace(graph, model=Model(graph.model.get_results(), parameters))


def save_ir(graph: EmittedGraph, path: Path, *, half: bool = False) -> list[Path]:
    """Write a graph as OpenVINO's IR, a pair of .xml and .bin.

    Args:
        graph: from `emit_graph`.
        path: the .xml; the .bin lies beside it.
        half: store the weights as float16; they are widened when the file is compiled.

    Returns:
        The files.
    """
    import openvino as ov

    ov.save_model(graph.model, path, compress_to_fp16=half)
    return [path, path.with_suffix(".bin")]


def save_onnx(graph: EmittedGraph, path: Path) -> list[Path]:
    """Write a graph as ONNX; weights that one file cannot hold get a file of their own.

    Args:
        graph: from `emit_graph`.
        path: the .onnx.

    Returns:
        The files.

    Raises:
        ConfigError: If the onnx package is not installed.
        UnsupportedOpError: If the writer lacks operations of the graph; all are named.
    """
    with extra():
        import onnx

    model = _onnx_model(graph)
    beside = path.with_name(path.name + ".data")
    beside.unlink(missing_ok=True)  # onnx would append to it
    large = sum(len(one.raw_data) for one in model.graph.initializer) > ONNX_FILE_LIMIT
    onnx.save_model(model, path, save_as_external_data=large, location=beside.name)
    return [path, beside] if large else [path]


def _onnx_model(graph: EmittedGraph) -> Any:
    from onnx import helper

    from nnclip.engine.onnx_nodes import Operation, Writer, key_of
    from nnclip.engine.onnx_ops import RULES

    writer, operations = Writer(), graph.model.get_ordered_ops()
    known = {*RULES, "Parameter", "Constant", "Result"}
    missing = Counter(o.get_type_name() for o in operations if o.get_type_name() not in known)
    if missing:
        listed = ", ".join(f"{name} ({n}x)" for name, n in sorted(missing.items()))
        raise UnsupportedOpError(
            f"the ONNX writer has no rule for {listed}. Add one to nnclip/engine/onnx_ops.py, or "
            "export to OpenVINO or NNP."
        )
    for parameter, spec in zip(graph.model.get_parameters(), graph.specs, strict=True):
        writer.values[key_of(parameter.output(0))] = spec.name
    for node in operations:
        if node.get_type_name() in RULES:
            found = RULES[node.get_type_name()](Operation(node, writer))
            names = found if isinstance(found, list) else [found]
            for output, name in zip(node.outputs(), names, strict=True):
                writer.values[key_of(output)] = name
    for port, name in zip(graph.model.outputs, graph.outputs, strict=True):
        source = port.get_node().input_value(0)
        writer.nodes.append(helper.make_node("Identity", [writer.value(source)], [name]))
    inputs = zip(graph.specs, graph.model.get_parameters(), strict=True)
    outputs = zip(graph.outputs, graph.model.outputs, strict=True)
    written = helper.make_graph(
        writer.nodes,
        NETWORK,
        [_onnx_value(spec.name, parameter.output(0)) for spec, parameter in inputs],
        [_onnx_value(name, port) for name, port in outputs],
        writer.initializers(),
    )
    versions = [helper.make_opsetid("", OPSET)]
    return helper.make_model(written, opset_imports=versions, ir_version=9, producer_name="nnclip")


def _onnx_value(name: str, port: Any) -> Any:
    """What ONNX says of an input or an output; each of its free axes has a name of its own."""
    from onnx import helper

    axes = enumerate(port.get_partial_shape())
    shape = [f"{name}_{i}" if d.is_dynamic else d.get_length() for i, d in axes]
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(port.get_element_type().to_dtype()))
    return helper.make_tensor_value_info(name, dtype, shape)


def save_nnp(
    inputs: Mapping[str, nn.Variable],
    outputs: Mapping[str, nn.Variable],
    parameters: Mapping[str, nn.Variable],
    path: Path,
) -> list[Path]:
    """Write a graph as NNP, which NNabla loads without this library; its batch size is fixed.

    Args:
        inputs: the graph's inputs by name.
        outputs: the graph's outputs by name.
        parameters: those of the graph's other sources that have names; the rest are constants and
            get some.
        path: the .nnp.

    Returns:
        The files.
    """
    require_nnabla("the NNP format")
    from nnabla.utils.save import save

    with NNABLA_LOCK, nn.parameter_scope("", scope=OrderedDict()):
        with nn.auto_forward(False):  # an output that another one reads would not count as one
            outputs = {name: F.identity(variable) for name, variable in outputs.items()}
        names = dict(inputs) | outputs
        for name, variable in _sources(inputs, outputs, parameters).items():
            nn.parameter.set_parameter(name, variable)
        network = {"name": NETWORK, "batch_size": _batch(inputs), "names": names}
        executor = {"name": NETWORK, "network": NETWORK}
        contents = {
            "networks": [{**network, "outputs": outputs}],
            "executors": [{**executor, "data": list(inputs), "output": list(outputs)}],
        }
        save(str(path), contents, variable_batch_size=False)
    return [path]


def _sources(
    inputs: Mapping[str, nn.Variable],
    outputs: Mapping[str, nn.Variable],
    parameters: Mapping[str, nn.Variable],
) -> dict[str, nn.Variable]:
    """All that a graph reads besides its inputs, with names."""
    given, names = set(inputs.values()), {v: name for name, v in parameters.items()}
    read = [v for f in ordered_functions(outputs.values(), given) for v in f.inputs]
    sources = dict.fromkeys(v for v in read if v.parent is None and v not in given)
    return {names.get(v, f"constant/{i}"): v for i, v in enumerate(sources)}


def _batch(inputs: Mapping[str, nn.Variable]) -> int:
    return next(iter(inputs.values())).shape[0]
