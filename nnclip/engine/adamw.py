"""AdamW on NNabla's own arrays, as fast as memory allows.

NNabla's AdamW passes over memory several times on one core. Here a piece of every array is updated
by one fused loop that OpenVINO compiles, several pieces at a time; what is left of an array after
the last whole piece is updated by NumPy. Bit for bit neither is torch's, but both follow
`torch.optim.AdamW` to rounding.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nnclip.engine.memory import address, float_memory
from nnclip.engine.precision import openvino_available
from nnclip.errors import CheckpointError, DataError
from nnclip.forks import OPENVINO_CALLS, check_process
from nnclip.nnabla import nn

if TYPE_CHECKING:
    import openvino as ov

# Sizes of the pieces: large ones for speed, small ones so that little is left for NumPy.
PIECES = (1 << 18, 1 << 15)
NUMPY_PIECE = 1 << 16  # fits the cache together with its gradient and moments


def is_matrix(name: str, parameter: nn.Variable) -> bool:
    """Decay matrices and filters; not biases, gains and other vectors and numbers."""
    return sum(n > 1 for n in parameter.shape) > 1


@dataclass
class _Rates:
    """The numbers of one update, each an array of one that compiled pieces read in place."""

    keep: np.ndarray  # 1 - lr * weight decay
    step: np.ndarray  # lr / (1 - beta1^t)
    root: np.ndarray  # 1 / sqrt(1 - beta2^t)
    scale: np.ndarray  # factor on every gradient

    @staticmethod
    def make() -> _Rates:
        return _Rates(*(np.ones(1, np.float32) for _ in range(4)))


class AdamW:
    """Adam with weight decay apart from the gradient, in place on float32 parameters.

    Args:
        parameters: What to train, by name; those without `need_grad` are left alone.
        betas: Decay of the first and second moment.
        eps: Added to the root of the second moment (outside the root, as in torch).
        weight_decay: Multiplied by the learning rate (as in torch, unlike NNabla's solver).
        decays: Says which parameters decay.
        factors: What multiplies the learning rate, by parameter name; 1 for others.
        threads: Number of threads; None for one per core.

    Source: Decoupled Weight Decay Regularization, arXiv:1711.05101, algorithm 2.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Variable],
        *,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-6,
        weight_decay: float = 0.2,
        decays: Callable[[str, nn.Variable], bool] = is_matrix,
        factors: Mapping[str, float] | None = None,
        threads: int | None = None,
    ) -> None:
        self.parameters = {n: v for n, v in parameters.items() if v.need_grad}
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.steps = 0
        zeros = {n: np.zeros(v.shape, np.float32) for n, v in self.parameters.items()}
        self._first = zeros
        self._second = {n: np.zeros_like(a) for n, a in zeros.items()}
        given = factors or {}
        self._groups = {n: (decays(n, v), given.get(n, 1.0)) for n, v in self.parameters.items()}
        self._rates = {group: _Rates.make() for group in set(self._groups.values())}
        self._places: list[int] = []
        self._requests: list[ov.InferRequest] = []
        self._rest: list[tuple[_Rates, list[np.ndarray]]] = []
        self._process = os.getpid()
        self._models = _compiled(betas, eps, threads) if openvino_available() else {}

    def update(self, lr: float, *, scale: float = 1.0) -> None:
        """Move every parameter against its gradient.

        Args:
            lr: Learning rate of this step.
            scale: Factor on every gradient: one over the number of micro-batches, or what clips
                the norm.

        Raises:
            DataError: If a rate is not finite; nothing has been changed then.
            ConfigError: If this process was forked from the one that made it; nothing has been
                changed then, either.
        """
        check_process(self._process, "AdamW")
        if not (math.isfinite(lr) and math.isfinite(scale)):
            raise DataError(f"learning rate {lr} and gradient scale {scale} must be finite numbers")
        self._bind()
        self.steps += 1
        for (decays, factor), rates in self._rates.items():
            own = lr * factor
            rates.keep[0] = 1.0 - own * self.weight_decay if decays else 1.0
            rates.step[0] = own / (1.0 - self.betas[0] ** self.steps)
            rates.root[0] = 1.0 / math.sqrt(1.0 - self.betas[1] ** self.steps)
            rates.scale[0] = scale
        with OPENVINO_CALLS:
            for request in self._requests:
                request.start_async()
            for rates, arrays in self._rest:
                self._update_by_numpy(rates, *arrays)
            for request in self._requests:
                request.wait()

    def gradient_norm(self) -> float:
        """The 2-norm of all gradients together."""
        gradients = (float_memory(v.grad).ravel() for v in self.parameters.values())
        return math.sqrt(sum(float(np.dot(g, g)) for g in gradients))

    def state(self) -> dict[str, np.ndarray]:
        """The moments as `NAME/first` and `NAME/second`, and the number of updates as `steps`."""
        arrays = {f"{n}/first": a for n, a in self._first.items()}
        arrays |= {f"{n}/second": a for n, a in self._second.items()}
        return arrays | {"steps": np.array(self.steps)}

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from a `state`.

        Raises:
            CheckpointError: If names or shapes are not those of `state`; nothing is changed then.
        """
        own = self.state()
        wanted = {n: a.shape for n, a in own.items()}
        found = {n: np.shape(a) for n, a in arrays.items()}
        if wrong := sorted(n for n in wanted.keys() | found if wanted.get(n) != found.get(n)):
            first = wrong[0]
            raise CheckpointError(
                f"{len(wrong)} arrays of the optimiser do not fit, such as {first}: found "
                f"{found.get(first)}, expected {wanted.get(first)}"
            )
        for name, array in arrays.items():
            if name != "steps":
                np.copyto(own[name], array)
        self.steps = int(arrays["steps"])

    def _bind(self) -> None:
        """Point the pieces at NNabla's memory, again if NNabla has moved any of it."""
        places = [address(a) for v in self.parameters.values() for a in (v.data, v.grad)]
        if places == self._places:
            return
        self._places, self._requests, self._rest = places, [], []
        for name, v in self.parameters.items():
            rates = self._rates[self._groups[name]]
            own = [float_memory(v.data), float_memory(v.grad)]
            flat = [a.reshape(-1) for a in (*own, self._first[name], self._second[name])]
            for start, size in _pieces(v.size, tuple(self._models)):
                piece = [a[start : start + size] for a in flat]
                if size in self._models:
                    self._requests.append(_request(self._models[size], piece, rates))
                else:
                    self._rest.append((rates, piece))

    def _update_by_numpy(
        self,
        rates: _Rates,
        parameter: np.ndarray,
        gradient: np.ndarray,
        first: np.ndarray,
        second: np.ndarray,
    ) -> None:
        beta1, beta2 = self.betas
        gradient = gradient * rates.scale
        first *= np.float32(beta1)
        first += np.float32(1 - beta1) * gradient
        gradient *= gradient
        second *= np.float32(beta2)
        second += np.float32(1 - beta2) * gradient
        divisor = np.sqrt(second, out=gradient)
        divisor *= rates.root
        divisor += np.float32(self.eps)
        parameter *= rates.keep
        parameter -= rates.step * np.divide(first, divisor, out=divisor)


def _pieces(size: int, sizes: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Cut `size` values into (start, length): the largest of `sizes` first, then the rest."""
    start = 0
    for length in sizes:
        while size - start >= length:
            yield start, length
            start += length
    while start < size:
        length = min(NUMPY_PIECE, size - start)
        yield start, length
        start += length


def _request(model: ov.CompiledModel, arrays: list[np.ndarray], rates: _Rates) -> ov.InferRequest:
    """Bind one piece: parameter, gradient and moments in, parameter and moments out in place."""
    from openvino import Tensor

    request = model.create_infer_request()
    numbers = [rates.keep, rates.step, rates.root, rates.scale]
    tensors = [Tensor(a, shared_memory=True) for a in [*arrays, *numbers]]
    for i, tensor in enumerate(tensors):
        request.set_input_tensor(i, tensor)
    parameter, _, first, second = tensors[:4]
    for i, tensor in enumerate((parameter, first, second)):
        request.set_output_tensor(i, tensor)
    return request


def _compiled(
    betas: tuple[float, float], eps: float, threads: int | None
) -> dict[int, ov.CompiledModel]:
    """The update as one fused loop, compiled for each size of piece."""
    from nnclip.engine.model import compile_model
    from nnclip.engine.optimiser_model import adamw_model

    return {
        size: compile_model(adamw_model(size, betas, eps), "fp32", latency=False, threads=threads)
        for size in PIECES
    }
