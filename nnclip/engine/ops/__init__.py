"""The one table of operations: NNabla's function type -> how to write it as OpenVINO nodes.

To teach the compiler an operation, write a function that takes a `Call` and gives the OpenVINO
value(s), and enter it in the table of the file it belongs to.
"""

from nnclip.engine.emit import Rule
from nnclip.engine.ops import elementwise, linear, reduce, shape

RULES: dict[str, Rule] = {**elementwise.RULES, **linear.RULES, **reduce.RULES, **shape.RULES}
