"""One training step: features, loss, gradients, on one rank or many, at once or in pieces.

Axes: N this rank's batch, M all ranks' batches, E embedding, L tokens, R resolution.

Each rank computes only its own rows of the loss: its images against all texts, its texts against
all images. See `ranks_loss`: the sum over ranks of the parameters' gradients is exactly the
gradient of the whole batch's loss.

A batch whose activations do not fit is cut: features of all pieces first, then the loss of the
whole batch, then each piece again with the gradients of its features. That, too, is exact.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from nnclip.engine import Step, StockStep, compile_step
from nnclip.engine.contexts import float_context
from nnclip.engine.memory import float_memory
from nnclip.graph.config import ClipConfig
from nnclip.graph.convolution import is_statistic
from nnclip.graph.features import image_features, text_features
from nnclip.graph.losses import LOSSES
from nnclip.graph.parameters import Scope, building, flatten
from nnclip.graph.similarity import normalise
from nnclip.nnabla import nn
from nnclip.training.batch import AnyBatch
from nnclip.training.communicator import Communicator
from nnclip.training.ranks_loss import SIDES, TARGET, RanksLoss
from nnclip.weights.tower import whole_side_of

Shapes = Mapping[str, tuple[int, ...]]
Graph = tuple[dict[str, nn.Variable], dict[str, nn.Variable]]  # inputs, outputs
MakeStep = Callable[..., Step]


OF_IMAGES = ("images", "grad_image")  # inputs of the image side; the others are the text side's


@dataclass(frozen=True)
class StepResult:
    """What a step found; the gradients stand in the parameters.

    Attributes:
        loss: of the whole batch of all ranks.
        image: (N, E) features of this rank's images.
        text: (N, E) features of its texts.
    """

    loss: float
    image: np.ndarray
    text: np.ndarray


@dataclass(frozen=True)
class StepOptions:
    """How a step is done.

    Attributes:
        aggregate: contrast over the pairs of all ranks; otherwise within each rank.
        micro_batch: pairs whose activations are held at once; 0 for the whole batch.
        recompute: hold only what enters each block and compute the rest again on the way back.
        trained_statistics: let batch normalisations normalise with the statistics of what this rank
            computes at once (its batch, or a piece of it), and move their running ones along.
    """

    aggregate: bool = False
    micro_batch: int = 0
    recompute: bool = False
    trained_statistics: bool = False


def step_maker(compiled: bool, precision: str = "fp32", threads: int | None = None) -> MakeStep:
    """How graphs become steps: compiled for this processor, or run by NNabla in its context."""
    if not compiled:
        return StockStep

    def make(*graph: Any, **options: Any) -> Step:
        return compile_step(*graph, **options, precision=precision, threads=threads)

    return make


class _Program:
    """A graph made into a step once for every shape of its inputs."""

    def __init__(
        self,
        build: Callable[[Shapes], Graph],
        parameters: dict[str, nn.Variable],
        make: MakeStep,
        **options: Any,
    ) -> None:
        self._build, self._parameters = build, parameters
        self._make, self._options = make, options
        self._steps: dict[tuple[tuple[int, ...], ...], Step] = {}

    def __call__(
        self, arrays: dict[str, np.ndarray], accumulate: bool = False
    ) -> dict[str, np.ndarray]:
        shapes = {k: a.shape for k, a in arrays.items() if not k.startswith("grad_")}
        key = tuple(shapes.values())
        if key not in self._steps:
            inputs, outputs = self._build(shapes)
            self._steps[key] = self._make(inputs, outputs, self._parameters, **self._options)
        return self._steps[key](accumulate=accumulate, **arrays)


class ContrastiveStep:
    """Runs steps for one model.

    Attributes:
        trained: the parameters that get gradients, by name.
    """

    def __init__(
        self,
        config: ClipConfig,
        scope: Scope,
        communicator: Communicator,
        make: MakeStep,
        options: StepOptions | None = None,
    ) -> None:
        """Prepare; graphs are built when their first batch comes.

        Args:
            config: the model, and its loss.
            scope: its parameters; those with `need_grad` get gradients.
            communicator: the ranks.
            make: how graphs become steps, see `step_maker`.
            options: how steps are done.
        """
        self._config, self._scope, self._communicator = config, scope, communicator
        self._options, self._loss_kind = options or StepOptions(), LOSSES[config.loss]
        self._shares = self._options.aggregate and communicator.size > 1
        both = flatten(scope)
        self._scalars = {name: both[name] for name in self._loss_kind.scalars}
        towers = {name: v for name, v in both.items() if name not in self._scalars}
        self.trained = {name: v for name, v in both.items() if v.need_grad}
        self._moving = [s for s in SIDES if s in {whole_side_of(n) for n in self.trained}]
        self._whole = _Program(self._build_whole, both, make, of=("scaled",))
        self._statistics = [v for name, v in towers.items() if is_statistic(name)]
        trained = self._options.trained_statistics
        build = partial(self._build_features, trained=trained)
        self._features = self._evaluated = _Program(build, towers, make, of=())
        if trained:
            frozen = partial(self._build_features, trained=False)
            self._evaluated = _Program(frozen, towers, make, of=())

        def program(first: int, wrt: tuple[str, ...]) -> _Program:
            return _Program(partial(self._build_loss, first), self._scalars, make, wrt=wrt)

        self._loss = RanksLoss(self._loss_kind, communicator, self._shares, self._scalars, program)
        self._backward = _Program(build, towers, make, of=self._moving)

    def __call__(self, batch: AnyBatch, scale: float = 1.0) -> StepResult:
        """One forward and backward pass.

        Args:
            batch: this rank's pairs; as many on every rank.
            scale: the gradients are those of the loss times this, so that half precision can hold
                them.

        Returns: what it found. Every trained parameter's `.grad` is that of the whole batch.
        """
        rows = self._options.micro_batch or len(batch)
        if self._communicator.size > 1 or len(batch) > rows:
            return self._in_stages(batch, batch.pieces(rows), scale)
        factor = {"scale": np.array([scale], np.float32)}
        found = self._whole(batch.inputs(self._config.text) | factor | self._targets(batch))
        return StepResult(float(found["loss"]), found["image"], found["text"])

    def features(self, batch: AnyBatch) -> tuple[np.ndarray, np.ndarray]:
        """Features of images and texts as the trained model gives them, (N, E) each."""
        found = self.of_inputs(batch.inputs(self._config.text))
        return found["image"], found["text"]

    def of_inputs(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Side -> its features (N, E), of the sides whose inputs are given, for evaluation."""
        return self._evaluated(arrays)

    def _targets(self, batch: AnyBatch) -> dict[str, np.ndarray]:
        """What the loss is told beside features; names begin with `TARGET`."""
        return {}

    def _in_stages(self, batch: AnyBatch, pieces: Sequence[AnyBatch], scale: float) -> StepResult:
        """All features first, then the loss, then the gradients of each piece."""
        found = [self._features(piece.inputs(self._config.text)) for piece in pieces]
        image, text = (np.concatenate([f[side] for f in found]) for side in ("image", "text"))
        loss, d_image, d_text = self._loss(image, text, scale, self._targets(batch))
        at = 0
        for number, piece in enumerate(pieces if self._moving else ()):
            rows = slice(at, at := at + len(piece))
            seeds = {"grad_image": d_image[rows], "grad_text": d_text[rows]}
            asked = self._of_moving(piece.inputs(self._config.text) | seeds)
            self._backward(asked, accumulate=number > 0)
        self._communicator.sum_gradients(list(self.trained.values()))
        if self._options.trained_statistics:
            self._share_statistics()
        return StepResult(loss, image, text)

    def _share_statistics(self) -> None:
        """Give all ranks the mean of their running statistics, so that they stay one model."""
        memories = [float_memory(v.data) for v in self._statistics]
        together = np.concatenate(memories) if memories else np.zeros(0, np.float32)
        self._communicator.sum_array(together)
        parts = np.split(together, np.cumsum([len(m) for m in memories[:-1]], dtype=int))
        for memory, total in zip(memories, parts, strict=False):
            memory[...] = total / self._communicator.size

    def _of_moving(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Without the side of which nothing is trained: its features are not needed again."""
        image, text = (side in self._moving for side in ("image", "text"))
        return {k: a for k, a in arrays.items() if (image if k in OF_IMAGES else text)}

    def _build_features(self, shapes: Shapes, trained: bool) -> Graph:
        inputs = {name: nn.Variable(shape) for name, shape in shapes.items()}
        with building(self._scope):
            return inputs, self._towers(inputs, trained)

    def _build_whole(self, shapes: Shapes) -> Graph:
        inputs = {name: nn.Variable(shape) for name, shape in shapes.items()}
        with building(self._scope):
            outputs = self._towers(inputs, self._options.trained_statistics)
            targets = {k: v for k, v in inputs.items() if k.startswith(TARGET)}
            outputs["loss"] = self._loss_graph(outputs | targets, first=0)
            with nn.context_scope(float_context()):
                outputs["scaled"] = outputs["loss"].reshape((1,)) * inputs["scale"]
        return inputs, outputs

    def _build_loss(self, first: int, shapes: Shapes) -> Graph:
        """The loss of features; `first` counts batches, see `RanksLoss`."""
        inputs = {
            name: nn.Variable(shape, need_grad=not name.startswith(TARGET))
            for name, shape in shapes.items()
        }
        with building(self._scope):
            return inputs, {"loss": self._loss_graph(inputs, first * shapes["image"][0])}

    def _loss_graph(self, features: dict[str, nn.Variable], first: int) -> nn.Variable:
        """The loss of features by name: `image`, `text`, and `all_` of both where ranks share.

        It is computed in float32, also where the towers are not: float16 tells logits near 100
        apart by 0.06, and holds no gradient above 65504.
        """
        with nn.context_scope(float_context()):
            embeddings = {name: normalise(variable) for name, variable in features.items()}
            return self._loss_kind.graph(embeddings, self._scalars, first)

    def _towers(self, inputs: dict[str, nn.Variable], trained: bool) -> dict[str, nn.Variable]:
        config = self._config
        blocks: list[nn.Variable] = []
        with nn.recompute() if self._options.recompute else nullcontext():
            found = {}
            if "images" in inputs:
                found["image"] = image_features(inputs["images"], config, blocks, trained)
            if "ids" in inputs:
                found["text"] = text_features(inputs, config, blocks)
        for held in (*found.values(), *blocks):
            held.recompute = False
        return found
