"""Every operation of the table against NNabla, at a batch size the graph was not built for."""

import numpy as np
import pytest

from nnclip.engine import compile_graph
from nnclip.engine.ops import RULES
from tests.engine.cases import CASES, build, type_of, values_for


def test_every_rule_has_a_case():
    assert {type_of(case) for case in CASES} == set(RULES)


@pytest.mark.parametrize("case", CASES)
def test_operation_equals_nnabla_at_another_batch_size(case, weights, run_nnabla):
    x, y = build(case, 2, weights())
    types = []
    y.visit(lambda f: types.append(f.info.type_name))
    assert type_of(case) in types
    graph = compile_graph({"x": x}, {"y": y})

    for batch in (2, 3):
        x, y = build(case, batch, weights())
        values = values_for(x)
        got = graph(x=values)["y"]
        wanted = run_nnabla({x: values}, y)
        assert got.shape == wanted.shape
        np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-6)
