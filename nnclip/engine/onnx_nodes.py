"""What the ONNX writer's rules work with: one OpenVINO operation, and names of ONNX values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import helper, numpy_helper

from nnclip.errors import UnsupportedOpError

Names = list[str]


@dataclass
class Writer:
    """The ONNX graph so far.

    Attributes:
        nodes: in the order of their making, which is one in which they can be run.
        arrays: constants by the name of their value.
        values: OpenVINO value (node, number of the output) -> its name in ONNX.
    """

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    values: dict[tuple[str, int], str] = field(default_factory=dict)

    def constant(self, array: ArrayLike) -> str:
        """The name of a new constant."""
        name = f"constant{len(self.arrays)}"
        self.arrays[name] = np.asarray(array, order="C")
        return name

    def write(self, kind: str, inputs: Names, outputs: int, attributes: dict[str, Any]) -> Names:
        """Add a node; the names of what it gives."""
        at = len(self.nodes)
        names = [f"{kind}{at}" if outputs == 1 else f"{kind}{at}.{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names

    def value(self, output: Any) -> str:
        """The name of an OpenVINO value; a constant gets one when it is first read."""
        node, key = output.get_node(), key_of(output)
        if key not in self.values:
            assert node.get_type_name() == "Constant", node
            self.values[key] = self.constant(node.data)
        return self.values[key]

    def initializers(self) -> list[onnx.TensorProto]:
        """The constants that some node reads."""
        read = {name for node in self.nodes for name in node.input}
        return [numpy_helper.from_array(a, name) for name, a in self.arrays.items() if name in read]


def key_of(output: Any) -> tuple[str, int]:
    """What tells an OpenVINO value from all others of its model."""
    return output.get_node().get_name(), output.get_index()


class Operation:
    """One OpenVINO operation about to be written as ONNX nodes.

    Attributes:
        kind: OpenVINO's name of the operation.
        attributes: as OpenVINO gives them.
    """

    def __init__(self, node: Any, writer: Writer) -> None:
        self.kind: str = node.get_type_name()
        self.attributes: dict[str, Any] = node.get_attributes()
        self._node, self._writer = node, writer

    @property
    def inputs(self) -> Names:
        """Names of the operands."""
        return [self._writer.value(output) for output in self._node.input_values()]

    @property
    def output_count(self) -> int:
        """How many values it gives."""
        return self._node.get_output_size()

    @property
    def output_type(self) -> int:
        """ONNX's number for the type of what it gives."""
        dtype = self._node.output(0).get_element_type().to_dtype()
        return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

    def is_constant(self, i: int) -> bool:
        """Whether operand `i` is known."""
        return self._operand(i).get_node().get_type_name() == "Constant"

    def array(self, i: int) -> np.ndarray:
        """Operand `i`, which must be known; UnsupportedOpError if it is computed."""
        if not self.is_constant(i):
            raise self.refuse(f"whose operand {i} is computed")
        return self._operand(i).get_node().data

    def rank(self, i: int) -> int:
        """How many axes operand `i` has."""
        return self._operand(i).get_partial_shape().rank.get_length()

    def size(self, i: int, axis: int) -> int | None:
        """The length of one axis of operand `i`, None if it is free."""
        dimension = self._operand(i).get_partial_shape()[axis]
        return None if dimension.is_dynamic else dimension.get_length()

    def constant(self, array: ArrayLike) -> str:
        """The name of a new constant."""
        return self._writer.constant(array)

    def write(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add an ONNX node that gives one value; its name."""
        return self._writer.write(kind, list(inputs), 1, attributes)[0]

    def write_many(self, kind: str, *inputs: str, **attributes: Any) -> Names:
        """Add an ONNX node that gives as many values as this operation; their names."""
        return self._writer.write(kind, list(inputs), self.output_count, attributes)

    def refuse(self, why: str) -> UnsupportedOpError:
        """Make the error for an operation that cannot be written."""
        return UnsupportedOpError(f"{self.kind} {why}: cannot be written as ONNX")

    def _operand(self, i: int) -> Any:
        return self._node.input_value(i)
