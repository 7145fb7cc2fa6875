"""nnclip as a worker of benchmarks/gpu.py runs it: on a GPU, or to try the script out on a CPU."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import models
import nnabla as nn
import numpy as np

from nnclip.engine.cuda import gpu_context, is_gpu
from nnclip.graph.features import image_features
from nnclip.graph.parameters import building
from nnclip.towers import Towers
from nnclip.training.batch import Batch
from nnclip.training.communicator import Alone
from nnclip.training.solvers import LossScale, NnablaSolver
from nnclip.training.step import ContrastiveStep, step_maker

RATE, BETAS, EPS, DECAY = 1e-4, (0.9, 0.98), 1e-6, 0.2


def batches(config: models.ClipConfig, size: int, count: int) -> list[Batch]:
    """The batches that all contenders train on."""
    tokens = config.text.context
    return [
        Batch(models.pictures(config, size, seed), models.captions(config, size, tokens, seed))
        for seed in range(count)
    ]


class Nnclip:
    """One model in one precision."""

    def __init__(self, model: str, precision: str, context: str) -> None:
        self._weights, self._half = models.random_weights(model), precision == "fp16"
        self._initial = {name: v.d.copy() for name, v in self._weights.variables().items()}
        self._towers = Towers(self._weights, precision, context, None)
        self._on_gpu = is_gpu(context)
        if self._on_gpu:
            nn.set_default_context(gpu_context(context, precision))

    def features(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Features of images and texts, (N, E) each."""
        (batch,) = batches(self._weights.config, count, 1)
        return self._towers.image(batch.images), self._towers.text(batch.ids)

    def images(self, size: int) -> Callable[[], np.ndarray]:
        """From images in main memory to features in main memory."""
        pictures = models.pictures(self._weights.config, size)
        return lambda: self._towers.image(pictures)

    def resident_images(self, size: int) -> Callable[[], np.ndarray]:
        """The same of images that lie in the GPU's memory already."""
        config = self._weights.config
        images = nn.Variable((size, 3, config.image.resolution, config.image.resolution))
        images.d, images.persistent = models.pictures(config, size), True
        self._weights.variables()
        with building(self._weights.scope):
            features = image_features(images, config)

        def call() -> np.ndarray:
            features.forward(clear_buffer=True)
            return np.array(features.d)

        return call

    def step(self, size: int, count: int = 1) -> Callable[[], float]:
        """A whole training step as train.py does it, on `count` batches in turn; gives the loss.

        It begins at the initial weights, so that curves of losses can be compared.
        """
        weights = self._weights
        for name, variable in weights.variables().items():
            variable.d = self._initial[name]
        given = batches(weights.config, size, count)
        step = ContrastiveStep(weights.config, weights.scope, Alone(), step_maker(compiled=False))
        solver = NnablaSolver("AdamW", weights.variables(), BETAS, EPS, DECAY)
        scale = LossScale() if self._half else LossScale(1.0, patience=0)
        done = 0

        def call() -> float:
            nonlocal done
            factor = scale.value
            found = step(given[done % count], factor)
            if scale.fits(solver.gradient_norm() / factor):
                solver.update(RATE, scale=1 / factor)
            done += 1
            return found.loss

        return call

    def release(self) -> None:
        """Give back the GPU's memory that nothing uses."""
        if self._on_gpu:
            importlib.import_module("nnabla_ext.cuda").clear_memory_cache()
