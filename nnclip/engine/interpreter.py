"""Run a graph by NNabla itself, with the same call as a compiled one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import numpy as np

from nnclip.engine.arrays import checked, input_specs
from nnclip.engine.trace import trace
from nnclip.errors import DataError
from nnclip.forks import NNABLA_LOCK
from nnclip.nnabla import nn

logger = logging.getLogger(__name__)

LARGEST = 256  # rows that are given to a GPU at once: more fill it no better


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
        finite: bool = True,
    ) -> None:
        functions = trace(inputs.values(), outputs.values()).functions
        self.specs = input_specs(inputs, functions, dynamic_batch)
        self._inputs = dict(inputs)
        self._outputs = dict(outputs)
        self._sink = list(outputs.values())
        for variable in self._sink:
            variable.persistent = True
        self._finite = finite
        self._batch = next(iter(inputs.values())).shape[0] if dynamic_batch else None

    def __call__(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        """Run the graph; see `CompiledGraph.__call__`."""
        values = checked(self.specs, arrays, self._finite)
        if self._batch is None:
            return dict(zip(self._outputs, self._run(values), strict=True))
        size, step = len(values[0]), self._batch
        if size == 0:
            return {k: np.empty((0, *v.shape[1:]), "f4") for k, v in self._outputs.items()}
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
            nn.forward_all(self._sink, clear_buffer=True)
            return [np.array(v.d, np.float32) for v in self._sink]


class InterpretedBatches:
    """A function run by NNabla in batches as large as they come, up to a limit: for GPUs.

    A graph of NNabla's has one batch size. Here one is built for every power of two that is asked
    for, and a batch is filled up to the next one. Whether inputs are finite is not looked at, which
    takes the processor longer than the GPU computes, but whether outputs are.
    """

    def __init__(
        self,
        build: Callable[[int], tuple[dict[str, nn.Variable], dict[str, nn.Variable]]],
        precision: str = "fp32",
        largest: int = LARGEST,
    ) -> None:
        """Build nothing yet.

        Args:
            build: makes inputs and outputs, by name, for a batch size.
            precision: what they are computed in.
            largest: rows of a batch; a power of two.
        """
        self.precision = precision
        self._build, self._largest = build, largest
        self._graphs: dict[int, InterpretedGraph] = {}

    def __call__(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        """Run it; see `CompiledGraph.__call__`.

        Raises:
            DataError: inputs that do not fit or are not finite; or results that are not.
        """
        rows = max((len(array) for array in arrays.values() if np.ndim(array)), default=1)
        size = min(1 << max(rows - 1, 0).bit_length(), self._largest)
        try:
            graph = self._graph(size)
            found = graph(**arrays)
        except RuntimeError as error:
            if size == 1 or "out of memory" not in str(error):
                raise
            self._halve(size)
            return self(**arrays)
        if not all(np.isfinite(array).all() for array in found.values()):
            checked(graph.specs, arrays)
            raise DataError(
                f"found NaN or infinity in the results in {self.precision}, expected numbers; "
                "choose precision fp32"
            )
        return found

    def _halve(self, size: int) -> None:
        """Go on with batches that fit into the GPU's memory."""
        with NNABLA_LOCK:
            self._largest = min(self._largest, size // 2)
            for large in [one for one in self._graphs if one > self._largest]:
                del self._graphs[large]
        logger.warning(
            "the GPU's memory does not hold a batch of %d: batches of %d follow",
            size,
            self._largest,
        )

    def _graph(self, size: int) -> InterpretedGraph:
        with NNABLA_LOCK:
            if size not in self._graphs:
                self._graphs[size] = InterpretedGraph(*self._build(size), finite=False)
            return self._graphs[size]


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
