"""CLIP's loss: of all texts, which belongs to this image; of all images, which to this text.

Axes: N own batch, M all batches, E embedding.
"""

import math

import numpy as np

from nnclip.embeddings import softmax
from nnclip.graph.losses.base import Loss, Scalars, Variables
from nnclip.graph.similarity import similarity
from nnclip.nnabla import F, nn


def softmax_loss(embeddings: Variables, scalars: Variables, first: int = 0) -> nn.Variable:
    """Cross-entropy of each image over all texts and of each text over all images, halved.

    See `Loss.graph`.

    Source: the paper's figure 3.
    """
    image_NE, text_NE = embeddings["image"], embeddings["text"]
    n = image_NE.shape[0]
    own = nn.Variable.from_numpy_array(np.arange(first, first + n).reshape(n, 1))
    per_image = similarity(image_NE, embeddings.get("all_text", text_NE), scalars)
    per_text = similarity(text_NE, embeddings.get("all_image", image_NE), scalars)
    losses = F.softmax_cross_entropy(per_image, own) + F.softmax_cross_entropy(per_text, own)
    return F.mean(losses) * 0.5


def softmax_value(logits_NN: np.ndarray, scalars: Scalars) -> float:
    """See `Loss.value`."""
    own = np.diagonal(logits_NN)
    losses = [np.logaddexp.reduce(logits_NN, axis=axis) - own for axis in (0, 1)]
    return float(np.mean(losses))


def softmax_among(logits: np.ndarray, log_total: float) -> np.ndarray:
    """See `Loss.among`; at most 1, also where the total is an estimate."""
    return np.minimum(np.exp(logits - log_total), 1.0)


SOFTMAX = Loss(
    name="softmax",
    scalars={"logit_scale": math.log(1 / 0.07)},
    gathers=("image", "text"),
    graph=softmax_loss,
    value=softmax_value,
    probabilities=softmax,
    answer=F.softmax,
    among=softmax_among,
    chunks=False,
    meaning="the softmax of {logits} over the choices, exp(x) divided by its sum, says which "
    "choice fits best, given that one of them does",
)
