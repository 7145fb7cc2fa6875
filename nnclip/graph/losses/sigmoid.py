"""SigLIP's loss: every image and text is judged apart, as belonging together or not.

Axes: N images, M texts of one rank, E embedding.
"""

import math

import numpy as np

from nnclip.graph.losses.base import Loss, Scalars, Variables
from nnclip.graph.similarity import similarity
from nnclip.nnabla import F, nn


def sigmoid_loss(embeddings: Variables, scalars: Variables, first: int = 0) -> nn.Variable:
    """Binary cross-entropy of every image with every text, per image.

    See `Loss.graph`. Every logit counts apart, so the loss is a sum over chunks of texts.

    Source: Sigmoid Loss for Language Image Pre-Training, algorithm 1.
    """
    image_NE, text_ME = embeddings["image"], embeddings["text"]
    n, m = image_NE.shape[0], text_ME.shape[0]
    logits_NM = similarity(image_NE, text_ME, scalars)
    together_NM = nn.Variable.from_numpy_array(np.eye(n, m, first, dtype=np.float32))
    return F.sum(F.sigmoid_cross_entropy(logits_NM, together_NM)) * (1 / n)


def sigmoid_value(logits_NN: np.ndarray, scalars: Scalars) -> float:
    """See `Loss.value`."""
    signs = 2 * np.eye(len(logits_NN)) - 1
    return float(np.logaddexp(0, -signs * logits_NN).sum() / len(logits_NN))


def sigmoid(logits: np.ndarray, axis: int = -1) -> np.ndarray:
    """Probabilities of each logit apart: [0, log 3] -> [0.5, 0.75]; the axis does not matter."""
    powers = np.exp(-np.abs(logits))  # never above 1
    return np.where(logits < 0, powers, np.ones_like(powers)) / (1 + powers)


def sigmoid_among(logits: np.ndarray, log_total: float) -> np.ndarray:
    """See `Loss.among`; the other choices do not matter."""
    return sigmoid(logits)


SIGMOID = Loss(
    name="sigmoid",
    scalars={"logit_scale": math.log(10.0), "logit_bias": -10.0},
    gathers=(),
    graph=sigmoid_loss,
    value=sigmoid_value,
    probabilities=sigmoid,
    answer=F.sigmoid,
    among=sigmoid_among,
    chunks=True,
    meaning="the sigmoid of {logits}, 1 / (1 + exp(-x)), says how likely each choice fits, "
    "whatever the others are",
)
