"""What a loss is, and what a loaded model makes of cosines by the loss that its file names.

Axes: N images, M texts or all ranks' pairs, E embedding.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnclip.nnabla import nn

Scalars = Mapping[str, float]
Variables = Mapping[str, nn.Variable]


@dataclass(frozen=True)
class Loss:
    """A kind of loss: one file of this folder and one row of `LOSSES`.

    Attributes:
        name: in flags and in the metadata of model files.
        scalars: the parameters of the loss -> where each begins. Each is a tensor of shape () in
            the model file. `logit_scale` is one of every loss; a `logit_bias` is added to logits.
        gathers: the sides, `image` and `text`, whose embeddings of all ranks a rank's rows need.
        graph: embeddings (N, E) by name, Variables of the scalars, the row of this rank's first
            pair among all pairs -> the mean loss of this rank's pairs, shape (). The embeddings
            are `image` and `text`, and where ranks share `all_image` and `all_text` (M, E) of the
            gathered sides. The mean over ranks of equal size is the loss of the whole batch.
        value: the same in NumPy for one whole batch: logits (N, N), the scalars -> the loss.
        probabilities: logits, the axis of the choices -> probabilities of the same shape.
        answer: `probabilities` along the last axis, as part of a graph.
        among: logits of a few choices, the logarithm of the sum of exp(logit) over all choices ->
            what `probabilities` over all would say of the few.
        chunks: whether the loss of some images is the sum over the texts of each rank apart. Then
            texts are passed around instead of gathered: `graph` sees those of one rank at a time,
            and a first row of N says that none of them belongs to an image.
        meaning: how logits become probabilities, as a sentence; "{logits}" stands for them.
    """

    name: str
    scalars: Scalars
    gathers: tuple[str, ...]
    graph: Callable[[Variables, Variables, int], nn.Variable]
    value: Callable[[np.ndarray, Scalars], float]
    probabilities: Callable[[np.ndarray, int], np.ndarray]
    answer: Callable[[nn.Variable], nn.Variable]
    among: Callable[[np.ndarray, float], np.ndarray]
    chunks: bool
    meaning: str


@dataclass(frozen=True)
class Scorer:
    """A loss with the values of its scalars: cosines in, logits and probabilities out.

    Attributes:
        loss: the loss.
        scalars: its scalars; `logit_scale` is the logarithm.
    """

    loss: Loss
    scalars: Scalars

    @property
    def scale(self) -> float:
        """exp(logit_scale): what cosines are multiplied by."""
        return math.exp(self.scalars["logit_scale"])

    @property
    def bias(self) -> float:
        """What is added after that; 0 where the loss has no bias."""
        return self.scalars.get("logit_bias", 0.0)

    def metadata(self) -> dict[str, Any]:
        """What the file of a head says of it."""
        return {"loss": self.loss.name, **self.scalars}

    def logits(self, cosines: np.ndarray) -> np.ndarray:
        """exp(logit_scale) * cosine + logit_bias, of any shape and of the cosines' dtype."""
        return cosines * self.scale + self.bias

    def probabilities(self, cosines: np.ndarray, axis: int = -1) -> np.ndarray:
        """Probabilities of the choices along an axis; of the cosines' shape and dtype."""
        return self.loss.probabilities(self.logits(cosines), axis)

    def among(self, cosines: np.ndarray, log_total: float) -> np.ndarray:
        """Probabilities of a few choices among many.

        Args:
            cosines: of the few, of any shape.
            log_total: the logarithm of the sum of exp(scale * cosine) over all choices.

        Returns: float64, 0 to 1.
        """
        logits = self.logits(cosines.astype(np.float64))
        return self.loss.among(logits, log_total + self.bias)

    def value(self, cosines_NN: np.ndarray) -> float:
        """The loss of N pairs as one batch, from their cosines (N, N), in float64."""
        return self.loss.value(self.logits(cosines_NN.astype(np.float64)), self.scalars)
