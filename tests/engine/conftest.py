"""Small graphs that are not CLIP, built the same for every batch size."""

from collections.abc import Callable

import nnabla as nn
import nnabla.functions as F
import numpy as np
import pytest


class Weights:
    """Draws the same parameters, in the same order, every time a graph is built."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.made: list[nn.Variable] = []

    def __call__(self, *shape: int, scale: float = 0.3, shift: float = 0.0) -> nn.Variable:
        v = nn.Variable(shape, need_grad=True)
        v.d = self.rng.normal(size=shape) * scale + shift
        self.made.append(v)
        return v


def mlp(batch: int, weights: Weights) -> tuple[nn.Variable, nn.Variable]:
    """Two layers with layer normalisation: (batch, 12) -> (batch, 5)."""
    x = nn.Variable((batch, 12))
    h = F.affine(x, weights(12, 16), weights(16))
    h = F.layer_normalization(h, weights(1, 16), weights(1, 16, shift=1.0), batch_axis=(0,))
    h = F.gelu(h)
    return x, F.affine(h, weights(16, 5), weights(5))


def resnet(batch: int, weights: Weights) -> tuple[nn.Variable, nn.Variable]:
    """A residual network of two stages: (batch, 3, 16, 16) -> (batch, 10)."""

    def conv(x: nn.Variable, out: int, kernel: int, stride: int = 1) -> nn.Variable:
        pad = (kernel // 2, kernel // 2)
        w = weights(out, x.shape[1], kernel, kernel)
        return F.convolution(x, w, pad=pad, stride=(stride, stride))

    def norm(x: nn.Variable) -> nn.Variable:
        shape = (1, x.shape[1], 1, 1)
        beta, gamma, mean = weights(*shape), weights(*shape, shift=1.0), weights(*shape)
        variance = weights(*shape, scale=0.1, shift=1.0)
        return F.batch_normalization(x, beta, gamma, mean, variance, batch_stat=False)

    x = nn.Variable((batch, 3, 16, 16))
    h = F.max_pooling(F.relu(norm(conv(x, 8, 3))), (3, 3), (2, 2), pad=(1, 1))
    for out, stride in [(8, 1), (16, 2)]:
        shortcut = h if stride == 1 else norm(conv(h, out, 1, stride))
        h = norm(conv(F.relu(norm(conv(h, out, 3, stride))), out, 3))
        h = F.relu(h + shortcut)
    h = F.reshape(F.global_average_pooling(h), (batch, -1))
    return x, F.affine(h, weights(16, 10), weights(10))


@pytest.fixture
def weights() -> Callable[[], Weights]:
    return Weights


@pytest.fixture(params=[mlp, resnet], ids=["mlp", "resnet"])
def network(request):
    """A builder (batch, Weights) -> (input, output)."""
    return request.param


@pytest.fixture
def run_nnabla():
    """Run one NNabla variable with values for its inputs."""

    def run(values: dict[nn.Variable, np.ndarray], output: nn.Variable) -> np.ndarray:
        for variable, array in values.items():
            variable.d = array
        output.forward()
        return np.array(output.d)

    return run
