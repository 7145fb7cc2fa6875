"""What exported graphs make of ids is what towers make of them with NumPy, for every `Derived`."""

import dataclasses

import numpy as np
import pytest

from nnclip.errors import UnsupportedOpError
from nnclip.export.makers import MAKERS, makers_of
from nnclip.graph import derived
from tests.lazy import lazy

openvino = lazy("openvino")

IDS = np.array([[5, 9, 2, 9, 1, 1], [3, 3, 3, 3, 3, 3], [1, 4, 900_000, 2, 2, 1]], np.int32)
CASES = [
    derived.FirstHighest(),
    derived.FirstEqual(2),
    derived.FirstEqual(3),
    derived.NotPadding(1),
    derived.PositionsWithoutPadding(1, 2),
]


def test_every_derived_has_one() -> None:
    found = {
        kind
        for kind in vars(derived).values()
        if dataclasses.is_dataclass(kind) and "__call__" in vars(kind)
    }
    assert found == set(MAKERS) == {type(case) for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_graph_makes_what_numpy_makes(case: derived.Derived) -> None:
    op = lazy("openvino.opset15")
    ids = op.parameter([3, 6], np.int32, name="ids")
    made = makers_of({"x": case})["x"](ids.output(0))
    compiled = openvino.Core().compile_model(openvino.Model([op.result(made)], [ids]), "CPU")
    wanted = case(IDS)
    assert wanted.dtype == case.dtype
    np.testing.assert_array_equal(compiled([IDS])[0], wanted)
    names = {"numpy": np, "ids": IDS, "L": IDS.shape[1]}
    told = eval(case.meaning.split("`")[1], names)  # what a card tells to do
    np.testing.assert_array_equal(told, wanted)


def test_one_that_no_graph_makes_is_named() -> None:
    @dataclasses.dataclass(frozen=True)
    class Odd:
        dtype: str = "float32"

    with pytest.raises(UnsupportedOpError, match=r"no rule for Odd of ids.*export to NNP"):
        makers_of({"end": derived.FirstHighest(), "x": Odd()})
