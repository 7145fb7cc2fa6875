"""A compiled graph: arrays in, arrays out, from any number of threads."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np

from nnclip.engine.arrays import InputSpec, checked
from nnclip.errors import ConfigError
from nnclip.forks import OPENVINO_CALLS, renew_in_children

if TYPE_CHECKING:
    import openvino as ov

# What a forked child has of its parent's: to delete it is to join threads that are not here, which
# ends the process or never returns.
_LEFT: list[tuple[ov.CompiledModel, queue.LifoQueue[ov.InferRequest]]] = []


class CompiledGraph:
    """A graph compiled for this processor.

    Calling it is thread-safe: every call borrows its own infer requests and waits if all are in
    use. A batch larger than `chunk` is cut, and its pieces run side by side if there are streams.

    Attributes:
        specs: What each input takes.
        precision: `fp32`, `bf16` or `int8`.
        chunk: Largest batch given to the processor at once.
    """

    def __init__(
        self,
        compiling: Callable[[], ov.CompiledModel],
        specs: Sequence[InputSpec],
        outputs: Sequence[str],
        precision: str,
        chunk: int = 32,
    ) -> None:
        """Compile now; and once more in a forked child that calls the graph.

        Args:
            compiling: Compiles the model for the process it is called in.
            specs: What each input takes.
            outputs: Names of the outputs.
            precision: What it is compiled for.
            chunk: Largest batch given to the processor at once.
        """
        if chunk < 1:
            raise ConfigError(f"chunk is {chunk}; expected at least 1")
        self.specs = tuple(specs)
        self.precision = precision
        self.chunk = chunk
        self._outputs = tuple(outputs)
        self._compiling = compiling
        self._forget()
        renew_in_children(self, CompiledGraph._leave)
        self._ready()

    def _forget(self) -> None:
        """Have nothing compiled."""
        self._model: ov.CompiledModel | None = None
        self._making = threading.Lock()

    def _leave(self) -> None:
        """In a forked child: let what the parent compiled be, and have nothing compiled."""
        if self._model is not None:
            _LEFT.append((self._model, self._requests))
        self._forget()

    def _ready(self) -> None:
        """Compile, unless that is done."""
        with self._making:
            if self._model is not None:
                return
            model = self._compiling()
            self._shapes = [port.get_partial_shape() for port in model.outputs]
            self._axes = [_free_axis(shape) for shape in self._shapes]
            self._requests: queue.LifoQueue[ov.InferRequest] = queue.LifoQueue()
            with OPENVINO_CALLS:
                for _ in range(model.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")):
                    self._requests.put(model.create_infer_request())
            self._model = model

    def __call__(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        """Run the graph.

        Args:
            arrays: One array per input, as `specs` describes them.

        Returns:
            One float32 array per output.

        Raises:
            DataError: If an array does not fit.
        """
        values = checked(self.specs, arrays)
        free = [i for i, spec in enumerate(self.specs) if None in spec.shape]
        size = len(values[free[0]]) if free else 1
        if self._model is None:
            self._ready()
        if not size:  # some operations of OpenVINO want one row at least
            results = [np.empty([_length(d) for d in shape], "f4") for shape in self._shapes]
            return dict(zip(self._outputs, results, strict=True))
        if size <= self.chunk or any(axis is None for axis in self._axes):
            with self._borrowed(1) as (request,), OPENVINO_CALLS:
                _start(request, values)
                request.wait()
                results = [np.array(t.data) for t in request.output_tensors]
            return dict(zip(self._outputs, results, strict=True))
        pieces = [
            [v[at : at + self.chunk] if i in free else v for i, v in enumerate(values)]
            for at in range(0, size, self.chunk)
        ]
        parts = self._run_pieces(pieces)
        joined = [
            np.concatenate([p[i] for p in parts], axis=axis or 0)
            for i, axis in enumerate(self._axes)
        ]
        return dict(zip(self._outputs, joined, strict=True))

    def _run_pieces(self, pieces: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
        """Run pieces in order, as many at a time as requests could be borrowed."""
        parts = []
        with self._borrowed(len(pieces)) as requests, OPENVINO_CALLS:
            step = len(requests)
            for at in range(0, len(pieces), step):
                running = list(zip(requests, pieces[at : at + step], strict=False))
                for request, piece in running:
                    _start(request, piece)
                for request, _ in running:
                    request.wait()
                    parts.append([np.array(t.data) for t in request.output_tensors])
        return parts

    @contextmanager
    def _borrowed(self, wanted: int) -> Iterator[list[ov.InferRequest]]:
        """Borrow one request, waiting for it, and up to `wanted` if more are idle."""
        requests = [self._requests.get()]
        try:
            while len(requests) < wanted:
                requests.append(self._requests.get_nowait())
        except queue.Empty:
            pass
        try:
            yield requests
        finally:
            for request in requests:
                # one still runs where another failed, or the user pressed Ctrl-C
                with suppress(RuntimeError):
                    request.wait()
                self._requests.put(request)


def _start(request: ov.InferRequest, values: Sequence[np.ndarray]) -> None:
    from openvino import Tensor

    for i, array in enumerate(values):
        # shared: the caller's array outlives the call, so it needs no copy
        request.set_input_tensor(i, Tensor(array, shared_memory=True))
    request.start_async()


def _length(dimension: ov.Dimension) -> int:
    """Of an axis, for a batch of none."""
    return 0 if dimension.is_dynamic else dimension.get_length()


def _free_axis(shape: ov.PartialShape) -> int | None:
    free = [i for i, d in enumerate(shape) if d.is_dynamic]
    return free[0] if len(free) == 1 else None
