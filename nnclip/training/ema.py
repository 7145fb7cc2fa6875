"""The running average of the weights (EMA), which is what is validated and saved.

Source: Polyak and Juditsky, 1992; the growing decay is that of `tf.train.ExponentialMovingAverage`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from nnclip.engine.memory import float_memory
from nnclip.errors import CheckpointError
from nnclip.graph.convolution import is_statistic
from nnclip.nnabla import nn
from nnclip.training.solvers import Optimiser

PREFIX = "ema/"
PIECE = 1 << 16  # numbers that stay in the processor's cache


def averaging(
    optimiser: Optimiser, variables: Mapping[str, nn.Variable], decay: float
) -> Optimiser:
    """The optimiser, with an average of all that moves; the optimiser itself for a decay of 0."""
    if not decay:
        return optimiser
    moving = {name: v for name, v in variables.items() if v.need_grad or is_statistic(name)}
    return AveragingOptimiser(optimiser, moving, decay)


class AveragingOptimiser:
    """An optimiser that averages what it, and the step before it, have moved."""

    def __init__(
        self, optimiser: Optimiser, moving: Mapping[str, nn.Variable], decay: float
    ) -> None:
        """Begin with the values of now.

        Args:
            optimiser: moves the parameters.
            moving: name -> what is averaged: parameters and running statistics.
            decay: share of the average that a step keeps, in the long run; in step t it is at most
                (1 + t) / (10 + t), so that the start is forgotten soon.
        """
        self._optimiser, self._moving, self._decay = optimiser, dict(moving), decay
        self._average = {name: np.array(v.d, np.float32) for name, v in moving.items()}
        self._steps = 0

    def update(self, lr: float, *, scale: float = 1.0) -> None:
        """See `Optimiser`."""
        self._optimiser.update(lr, scale=scale)
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        for name, variable in self._moving.items():
            mean, value = self._average[name].reshape(-1), float_memory(variable.data).reshape(-1)
            for at in range(0, mean.size, PIECE):
                piece = slice(at, at + PIECE)
                mean[piece] += np.float32(1 - decay) * (value[piece] - mean[piece])

    def gradient_norm(self) -> float:
        """See `Optimiser`."""
        return self._optimiser.gradient_norm()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the Variables hold the average; afterwards what they held before, to the bit."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self) -> None:
        for name, variable in self._moving.items():
            memory, mean = float_memory(variable.data), self._average[name]
            held = memory.copy()
            memory[...] = mean
            mean[...] = held

    def state(self) -> dict[str, np.ndarray]:
        """See `Optimiser`."""
        own = {PREFIX + name: array for name, array in self._average.items()}
        return self._optimiser.state() | own | {f"{PREFIX}steps": np.array(self._steps)}

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """See `Optimiser`."""
        own = {n.removeprefix(PREFIX): a for n, a in arrays.items() if n.startswith(PREFIX)}
        steps = own.pop("steps", None)
        shapes = {name: array.shape for name, array in self._average.items()}
        if steps is None or {name: array.shape for name, array in own.items()} != shapes:
            raise CheckpointError("--ema: the checkpoint holds no average of these parameters")
        rest = {n: a for n, a in arrays.items() if not n.startswith(PREFIX)}
        self._optimiser.load_state(rest)
        for name, array in own.items():
            self._average[name][...] = array
        self._steps = int(steps)
