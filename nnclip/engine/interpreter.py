"""Run a graph by NNabla itself, with the same call as a compiled one."""

from __future__ import annotations

from collections.abc import Mapping

import nnabla as nn
import numpy as np

from nnclip.engine.arrays import checked, input_specs
from nnclip.engine.trace import NNABLA_LOCK, trace


class InterpretedGraph:
    """A graph run by NNabla in the context it was built in (a GPU's, for one).

    Calling it is thread-safe and one at a time. A batch that is not the one the graph was built
    for is cut, the last piece filled up by repeating its last row.
    """

    precision = "fp32"

    def __init__(
        self,
        inputs: Mapping[str, nn.Variable],
        outputs: Mapping[str, nn.Variable],
        dynamic_batch: bool = True,
    ) -> None:
        functions = trace(inputs.values(), outputs.values()).functions
        self.specs = input_specs(inputs, functions, dynamic_batch)
        self._inputs = dict(inputs)
        self._outputs = dict(outputs)
        self._sink = list(outputs.values())
        self._batch = next(iter(inputs.values())).shape[0] if dynamic_batch else None

    def __call__(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        """Run the graph; see `CompiledGraph.__call__`."""
        values = checked(self.specs, arrays)
        if self._batch is None:
            return dict(zip(self._outputs, self._run(values), strict=True))
        size, step = len(values[0]), self._batch
        parts = []
        for at in range(0, size, step):
            piece = [v[at : at + step] for v in values]
            short = step - len(piece[0])
            if short:
                piece = [np.concatenate([v, np.repeat(v[-1:], short, axis=0)]) for v in piece]
            parts.append([r[: step - short] for r in self._run(piece)])
        joined = [np.concatenate(p) for p in zip(*parts, strict=True)]
        return dict(zip(self._outputs, joined, strict=True))

    def _run(self, values: list[np.ndarray]) -> list[np.ndarray]:
        with NNABLA_LOCK:
            for variable, array in zip(self._inputs.values(), values, strict=True):
                variable.d = array
            nn.forward_all(self._sink, clear_no_need_grad=False)
            return [np.array(v.d) for v in self._sink]


def interpret_graph(
    inputs: Mapping[str, nn.Variable],
    outputs: Mapping[str, nn.Variable],
    *,
    dynamic_batch: bool = True,
) -> InterpretedGraph:
    """Prepare a graph to be run by NNabla itself.

    Args:
        inputs: The graph's inputs by name.
        outputs: The graph's outputs by name.
        dynamic_batch: Whether axis 0 of every input and output is a batch that may have any size.

    Returns:
        A graph that is called like a compiled one.
    """
    return InterpretedGraph(inputs, outputs, dynamic_batch)
