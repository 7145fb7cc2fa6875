"""Features -> embeddings -> logits, as the graph computes them.

Axes: N images, M texts, E embedding.
"""

import math
from collections.abc import Mapping

from nnclip.nnabla import F, nn

MAX_LOGIT_SCALE = math.log(100.0)


def normalise(features_NE: nn.Variable) -> nn.Variable:
    """Features -> embeddings of unit length."""
    return features_NE * F.sum(features_NE**2, axis=1, keepdims=True) ** -0.5


def similarity(
    a_NE: nn.Variable, b_ME: nn.Variable, scalars: Mapping[str, nn.Variable]
) -> nn.Variable:
    """Logits of embeddings: exp(logit_scale) * cosine + logit_bias, (N, M).

    Args:
        a_NE: embeddings.
        b_ME: embeddings of the other side.
        scalars: `logit_scale`, and `logit_bias` where the model's loss has one; shape () each.
    """
    (n, embed), m = a_NE.shape, b_ME.shape[0]
    cosine = F.batch_matmul(
        F.reshape(a_NE, (1, n, embed)), F.reshape(b_ME, (1, m, embed)), transpose_b=True
    )
    logits_NM = F.reshape(cosine, (n, m)) * F.reshape(F.exp(scalars["logit_scale"]), (1, 1))
    if "logit_bias" in scalars:
        logits_NM = logits_NM + F.reshape(scalars["logit_bias"], (1, 1))
    return logits_NM
