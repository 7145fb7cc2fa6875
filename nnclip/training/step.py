"""One training step: features, loss, gradients, on one rank or many, at once or in pieces.

Axes: N this rank's batch, M all ranks' batches, E embedding, L tokens, R resolution.

Each rank computes only its own rows of the loss: its pictures against all texts, its texts against
all pictures. The features of the others enter as inputs; what flows back to them is summed over
the ranks and completes the gradient of each rank's own features, so the sum over ranks of the
parameters' gradients is exactly the gradient of the whole batch's loss.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import nnabla as nn
import numpy as np

from nnclip.engine.step import Step, compile_step
from nnclip.engine.stock import StockStep
from nnclip.graph.config import ClipConfig
from nnclip.graph.loss import contrastive_loss, logit_scale, normalise
from nnclip.graph.parameters import Scope, building, flatten
from nnclip.graph.text import end_of_text, text_tower
from nnclip.graph.vit import image_tower
from nnclip.training.communicator import Communicator, gradient_of

Shapes = Mapping[str, tuple[int, ...]]
Graph = tuple[dict[str, nn.Variable], dict[str, nn.Variable]]  # inputs, outputs


@dataclass(frozen=True)
class Batch:
    """What the towers read.

    Attributes:
        images: (N, 3, R, R) float32, normalised.
        ids: (N, L) int32.
    """

    images: np.ndarray
    ids: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def pieces(self, rows: int) -> list["Batch"]:
        """Consecutive pieces of `rows` pairs; 0 for all in one."""
        rows = rows or len(self)
        return [
            Batch(self.images[at : at + rows], self.ids[at : at + rows])
            for at in range(0, len(self), rows)
        ]

    def inputs(self) -> dict[str, np.ndarray]:
        """The arrays by the names of the graph's inputs."""
        return {"images": self.images, "ids": self.ids, "end": end_of_text(self.ids)}


@dataclass(frozen=True)
class StepResult:
    """What a step found; the gradients stand in the parameters.

    Attributes:
        loss: of the whole batch of all ranks.
        image: (N, E) features of this rank's pictures.
        text: (N, E) features of its texts.
    """

    loss: float
    image: np.ndarray
    text: np.ndarray


MakeStep = Callable[..., Step]


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
    """Runs steps for one model."""

    def __init__(
        self,
        config: ClipConfig,
        scope: Scope,
        communicator: Communicator,
        make: MakeStep,
        *,
        aggregate: bool = False,
        micro_batch: int = 0,
    ) -> None:
        """Prepare; graphs are built when their first batch comes.

        Args:
            config: the model.
            scope: its parameters; those with `need_grad` get gradients.
            communicator: the ranks.
            make: how graphs become steps, see `step_maker`.
            aggregate: contrast over the pairs of all ranks; otherwise within each rank.
            micro_batch: pairs whose activations are held at once; 0 for the whole batch.
        """
        self._config, self._scope, self._communicator = config, scope, communicator
        self._aggregate, self._micro_batch = aggregate and communicator.size > 1, micro_batch
        self._variables = flatten(scope)
        self.trained = {name: v for name, v in self._variables.items() if v.need_grad}
        towers = {k: v for k, v in self._variables.items() if k != "logit_scale"}
        scale = {"logit_scale": self._variables["logit_scale"]}
        sides = ("image", "text")
        others = ("all_image", "all_text") if self._aggregate else ()
        self._whole = _Program(self._build_whole, self._variables, make)
        self._features = _Program(self._build_features, towers, make, of=())
        self._loss = _Program(self._build_loss, scale, make, wrt=(*sides, *others))
        self._backward = _Program(self._build_features, towers, make, of=sides)

    def __call__(self, batch: Batch) -> StepResult:
        """One forward and backward pass; afterwards the parameters' `.grad` is the loss's."""
        if self._communicator.size == 1 and len(batch) <= (self._micro_batch or len(batch)):
            found = self._whole(batch.inputs())
            return StepResult(float(found["loss"]), found["image"], found["text"])
        return self._in_stages(batch.pieces(self._micro_batch))

    def features(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Features of pictures and texts, (N, E) each."""
        found = self._features(batch.inputs())
        return found["image"], found["text"]

    def _in_stages(self, pieces: Sequence[Batch]) -> StepResult:
        """All features first, then the loss, then the gradients of each piece."""
        found = [self.features(piece) for piece in pieces]
        image, text = (np.concatenate(side) for side in zip(*found, strict=True))
        loss, d_image, d_text = self._loss_of(image, text)
        at = 0
        for number, piece in enumerate(pieces):
            rows = slice(at, at := at + len(piece))
            seeds = {"grad_image": d_image[rows], "grad_text": d_text[rows]}
            self._backward(piece.inputs() | seeds, accumulate=number > 0)
        self._communicator.sum_gradients(list(self.trained.values()))
        return StepResult(loss, image, text)

    def _loss_of(self, image: np.ndarray, text: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """The whole batch's loss, and its gradients by this rank's features."""
        communicator, others = self._communicator, {}
        if self._aggregate:
            others = {
                "all_image": communicator.gather_rows(image),
                "all_text": communicator.gather_rows(text),
            }
        found = self._loss({"image": image, "text": text, **others})
        d_image, d_text = found["grad_image"], found["grad_text"]
        if self._aggregate:
            own = slice(communicator.rank * len(image), (communicator.rank + 1) * len(image))
            for name, gradient in (("all_image", d_image), ("all_text", d_text)):
                everyone = found[f"grad_{name}"]
                communicator.sum_array(everyone)
                gradient += everyone[own]
        share = np.float32(1 / communicator.size)  # the loss is the mean over the ranks
        if self._variables["logit_scale"].need_grad:
            gradient_of(self._variables["logit_scale"])[...] *= share
        loss = np.array(found["loss"], np.float64).reshape(1)
        communicator.sum_array(loss)
        return float(loss[0]) / communicator.size, d_image * share, d_text * share

    def _build_features(self, shapes: Shapes) -> Graph:
        inputs = {name: nn.Variable(shape) for name, shape in shapes.items()}
        with building(self._scope):
            return inputs, self._towers(inputs)

    def _build_whole(self, shapes: Shapes) -> Graph:
        inputs = {name: nn.Variable(shape) for name, shape in shapes.items()}
        with building(self._scope):
            outputs = self._towers(inputs)
            image, text = normalise(outputs["image"]), normalise(outputs["text"])
            outputs["loss"] = contrastive_loss(image, text, logit_scale())
        return inputs, outputs

    def _build_loss(self, shapes: Shapes) -> Graph:
        inputs = {name: nn.Variable(shape, need_grad=True) for name, shape in shapes.items()}
        first = self._communicator.rank * shapes["image"][0] if self._aggregate else 0
        with building(self._scope):
            unit = {name: normalise(variable) for name, variable in inputs.items()}
            loss = contrastive_loss(
                unit["image"],
                unit["text"],
                logit_scale(),
                unit.get("all_image"),
                unit.get("all_text"),
                first,
            )
        return inputs, {"loss": loss}

    def _towers(self, inputs: dict[str, nn.Variable]) -> dict[str, nn.Variable]:
        config = self._config
        image = image_tower(inputs["images"], config.image, config.embed)
        text = text_tower(inputs["ids"], inputs["end"], config.text, config.embed)
        return {"image": image, "text": text}
