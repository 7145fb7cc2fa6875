"""Similarity and the contrastive loss.

Axes: N own batch, M all batches, E embedding.
"""

import math

import numpy as np

from nnclip.graph.layers import parameter
from nnclip.nnabla import ConstantInitializer, F, nn

MAX_LOGIT_SCALE = math.log(100.0)


def logit_scale() -> nn.Variable:
    """The logarithm of the inverse temperature, a scalar parameter; begins at ln(1 / 0.07)."""
    return parameter("logit_scale", (), ConstantInitializer(math.log(1 / 0.07)))


def normalise(features_NE: nn.Variable) -> nn.Variable:
    """Features -> embeddings of unit length."""
    return features_NE * F.sum(features_NE**2, axis=1, keepdims=True) ** -0.5


def similarity(a_NE: nn.Variable, b_ME: nn.Variable, scale: nn.Variable) -> nn.Variable:
    """exp(scale) * cosine of embeddings, (N, M)."""
    (n, embed), m = a_NE.shape, b_ME.shape[0]
    cosine = F.batch_matmul(
        F.reshape(a_NE, (1, n, embed)), F.reshape(b_ME, (1, m, embed)), transpose_b=True
    )
    return F.reshape(cosine, (n, m)) * F.reshape(F.exp(scale), (1, 1))


def contrastive_loss(
    image_NE: nn.Variable,
    text_NE: nn.Variable,
    scale: nn.Variable,
    all_image_ME: nn.Variable | None = None,
    all_text_ME: nn.Variable | None = None,
    first: int = 0,
) -> nn.Variable:
    """Cross-entropy of each picture over all texts and of each text over all pictures, halved.

    Args:
        image_NE: embeddings of this rank's pictures.
        text_NE: embeddings of this rank's texts, in the same order.
        scale: `logit_scale`.
        all_image_ME: embeddings of all ranks' pictures; None where there is one rank.
        all_text_ME: likewise of the texts.
        first: the row of this rank's first pair among all pairs.

    Returns: the mean over this rank's pairs, shape (). The mean over ranks of equal size is the
        loss of the whole batch.

    Source: the paper's figure 3.
    """
    n = image_NE.shape[0]
    own = nn.Variable.from_numpy_array(np.arange(first, first + n).reshape(n, 1))
    per_image = similarity(image_NE, text_NE if all_text_ME is None else all_text_ME, scale)
    per_text = similarity(text_NE, image_NE if all_image_ME is None else all_image_ME, scale)
    losses = F.softmax_cross_entropy(per_image, own) + F.softmax_cross_entropy(per_text, own)
    return F.mean(losses) * 0.5
