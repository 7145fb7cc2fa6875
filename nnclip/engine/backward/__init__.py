"""Backward rules, where writing them for this processor pays; NNabla's own serve for the rest.

A rule takes a `Reverse` and gives one gradient per operand, None where it is not wanted. Shapes
are literal here: a training step is compiled for one batch size.
"""

from nnclip.engine.backward import elementwise, image, linear, reduce, shape
from nnclip.engine.backward.reverse import BackwardRule, Reverse

RULES: dict[str, BackwardRule] = {
    **elementwise.RULES,
    **image.RULES,
    **linear.RULES,
    **reduce.RULES,
    **shape.RULES,
}

__all__ = ["RULES", "Reverse"]
