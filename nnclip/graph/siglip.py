"""SigLIP's loss: every picture and text is judged apart, as belonging together or not.

Axes: N own batch, M all batches, E embedding.
"""

import math

import numpy as np

from nnclip.graph.loss import similarity
from nnclip.nnabla import F, nn

LOGIT_SCALE, LOGIT_BIAS = math.log(10.0), -10.0  # where the two begin


def sigmoid_loss(
    image_NE: nn.Variable,
    text_NE: nn.Variable,
    scale: nn.Variable,
    bias: nn.Variable,
    all_text_ME: nn.Variable | None = None,
    first: int = 0,
) -> nn.Variable:
    """Binary cross-entropy of every picture with every text, per picture.

    Args:
        image_NE: embeddings of this rank's pictures.
        text_NE: embeddings of this rank's texts, in the same order.
        scale: `logit_scale`.
        bias: added to every logit, shape ().
        all_text_ME: embeddings of all ranks' texts; None where there is one rank.
        first: the row of this rank's first pair among all pairs.

    Returns: the mean over this rank's pictures, shape (). The mean over ranks of equal size is the
        loss of the whole batch: each picture meets each text on one rank only.

    Source: Sigmoid Loss for Language Image Pre-Training, algorithm 1.
    """
    texts = text_NE if all_text_ME is None else all_text_ME
    n, m = image_NE.shape[0], texts.shape[0]
    logits_NM = similarity(image_NE, texts, scale) + F.reshape(bias, (1, 1))
    together_NM = nn.Variable.from_numpy_array(np.eye(n, m, first, dtype=np.float32))
    return F.sum(F.sigmoid_cross_entropy(logits_NM, together_NM)) * (1 / n)
