"""A function that NNabla runs in batches as they come, as for GPUs."""

import nnabla as nn
import nnabla.functions as F
import numpy as np
import pytest

from nnclip.engine import InterpretedBatches, StockStep
from nnclip.errors import DataError


@pytest.fixture
def built():
    """Batch sizes that graphs were built for."""
    return []


@pytest.fixture
def squares(built):
    """x -> the sum of each row's squares, overflowing as float16 does; at most 8 rows at once."""

    def build(batch):
        built.append(batch)
        x = nn.Variable((batch, 3))
        total = F.sum(x**2, axis=1, keepdims=True)
        overflow = F.where(F.greater_scalar(total, 65504), total * np.inf, total)
        return {"x": x}, {"y": overflow}

    return InterpretedBatches(build, "fp16", largest=8)


def test_one_graph_is_built_for_each_power_of_two(squares, built, rng):
    for rows in (1, 3, 4, 8, 7, 21, 1):
        x = rng.normal(size=(rows, 3)).astype(np.float32)
        found = squares(x=x)["y"]
        np.testing.assert_allclose(found, (x**2).sum(axis=1, keepdims=True), rtol=1e-6)
    assert built == [1, 4, 8]


def test_no_rows_give_no_rows(squares):
    assert squares(x=np.zeros((0, 3), np.float32))["y"].shape == (0, 1)


def test_nan_in_the_inputs_is_told_of(squares):
    x = np.zeros((2, 3), np.float32)
    x[1, 1] = np.nan
    with pytest.raises(DataError, match="x holds NaN or infinity"):
        squares(x=x)


def test_results_that_overflow_name_the_precision(squares):
    with pytest.raises(DataError, match="in the results in fp16, expected numbers; choose"):
        squares(x=np.full((2, 3), 200, np.float32))


def test_inputs_that_do_not_fit_are_refused(squares):
    with pytest.raises(DataError, match="x has shape"):
        squares(x=np.zeros((2, 4), np.float32))


def test_batches_that_do_not_fit_into_memory_are_halved(squares, built, rng, caplog):
    build = squares._build

    def small_memory(batch):
        if batch > 2:
            raise RuntimeError('(cudaMalloc) failed with "out of memory"')
        return build(batch)

    x = rng.normal(size=(7, 3)).astype(np.float32)
    found = InterpretedBatches(small_memory, largest=8)(x=x)["y"]
    np.testing.assert_allclose(found, (x**2).sum(axis=1, keepdims=True), rtol=1e-6)
    assert built == [2]
    told = [record.getMessage().split()[-2] for record in caplog.records]
    assert told == ["4", "2"]


def test_a_step_tells_of_nan_in_its_inputs_too(rng):
    x, w = nn.Variable((2, 3)), nn.Variable.from_numpy_array(np.ones((3, 1)), need_grad=True)
    step = StockStep({"x": x}, {"loss": F.sum(F.affine(x, w))}, {"w": w})
    assert step(x=np.ones((2, 3), np.float32))["loss"] == 6
    with pytest.raises(DataError, match="x holds NaN"):
        step(x=np.full((2, 3), np.inf, np.float32))
