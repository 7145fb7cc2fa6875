"""A weight is multiplied as it is stored: nothing transposes or gathers one on every call."""

import nnabla as nn
import nnabla.functions as F
import pytest

from nnclip.graph.config import ClipConfig
from nnclip.graph.parameters import flatten, make_parameters
from tests.graph.answers import SMALL, UNUSUAL, graph

# They give the same numbers in the same order, or a part of them that is one stretch of memory.
VIEWS = {"Reshape", "Split"}


def uses_of_weights(outputs, weights):
    """(type, name) for each function other than a view that takes a matrix, or a view of one."""
    names = {variable: name for name, variable in weights.items() if variable.ndim > 1}
    uses = []

    def look(function):
        taken = [names[v] for v in function.inputs if v in names]
        if function.info.type_name not in VIEWS:
            uses.extend((function.info.type_name, name) for name in taken)
        elif taken:
            names.update(dict.fromkeys(function.outputs, taken[0]))

    F.sink(*outputs).visit(look)
    return uses


@pytest.mark.parametrize("config", [SMALL, UNUSUAL], ids=["usual", "unusual"])
def test_matrices_go_into_products_as_they_are(config: ClipConfig):
    scope = make_parameters(config, seed=1)
    weights = flatten(scope)
    _, outputs = graph(config, scope, batch=2, length=config.text.context)
    uses = uses_of_weights(outputs.values(), weights)
    found: dict[str, set[str]] = {}
    for kind, name in uses:
        found.setdefault(kind, set()).add(name)
    assert found.pop("Embed") == {"token_embedding/W"}
    assert found.pop("Add2") == {"positional_embedding", "visual/positional_embedding"}
    matrices = {name for name, v in weights.items() if v.ndim > 1}
    positions = {"positional_embedding", "visual/positional_embedding"}
    assert found == {"BatchMatmul": matrices - positions - {"token_embedding/W"}}


def test_a_transposed_weight_would_be_seen():
    weight, x = nn.Variable((3, 2)), nn.Variable((1, 4, 2))
    turned = F.reshape(F.transpose(weight, (1, 0)), (1, 2, 3))
    assert uses_of_weights([F.batch_matmul(x, turned)], {"W": weight}) == [("Transpose", "W")]
