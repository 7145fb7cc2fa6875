"""Exact search against the plainest NumPy."""

import numpy as np
import pytest

from nnclip.errors import DataError
from nnclip.search import exact
from nnclip.search.exact import Exact, best, exact_neighbours, log_sum, scores
from nnclip.search.rows import Growing, gather, unit_rows, widened

from .conftest import unit_vectors


def plain(rows_NE, query_E, amount, dead=()):
    cosines = rows_NE.astype(np.float32) @ query_E
    cosines[list(dead)] = -np.inf
    order = np.argsort(-cosines, kind="stable")[:amount]
    return order, cosines


@pytest.mark.parametrize("count", [1, 255, 256, 257, 3000])
@pytest.mark.parametrize("amount", [1, 7, 10_000])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("memory", [0, 1 << 40])
def test_exact_search_is_exact(rng, monkeypatch, count, amount, dtype, memory):
    monkeypatch.setattr(exact, "available_memory", lambda: memory)
    rows = unit_vectors(rng, count + 20).astype(dtype)
    query = unit_vectors(rng, 1)[0]
    fixed = [rows[: count // 2], rows[count // 2 : count]]
    dead = np.flatnonzero(rng.random(count + 20) < 0.3)
    found = Exact([*fixed, rows[count:count]]).nearest(
        query, amount, 20.0, rows[count:].astype(np.float32), dead
    )
    order, cosines = plain(rows, query, min(amount, count + 20 - len(dead)), dead)
    np.testing.assert_allclose(found.cosines, cosines[order], rtol=0, atol=1e-6)
    assert len(found.rows) == len(order) and not set(found.rows) & set(dead)
    total = np.exp(20.0 * cosines.astype(np.float64)).sum()
    assert found.log_total == pytest.approx(np.log(total), abs=1e-5)


def test_the_best_are_the_best_also_among_equals(rng):
    for _ in range(50):
        values = rng.integers(0, 30, size=rng.integers(1, 2000)).astype(np.float32)
        amount = int(rng.integers(1, 40))
        np.testing.assert_array_equal(
            best(values, amount), np.argsort(-values, kind="stable")[:amount]
        )


def test_a_sum_of_powers_does_not_overflow():
    assert log_sum(np.float32([100, 100]), 100.0) == pytest.approx(10_000 + np.log(2))
    assert log_sum(np.empty(0, np.float32), 100.0) == -np.inf


def test_strips_give_what_the_whole_gives(rng):
    rows = unit_vectors(rng, 9000).astype(np.float16)
    query = unit_vectors(rng, 1)[0]
    np.testing.assert_allclose(
        scores([rows[:700], rows[700:]], query), rows.astype(np.float32) @ query, atol=1e-6
    )


def test_neighbours_of_many_queries(rng):
    rows, queries = unit_vectors(rng, 5000), unit_vectors(rng, 9)
    skip = np.arange(0, 5000, 3)
    found = exact_neighbours([rows[:4500], rows[4500:]], queries, 10, skip)
    for query, row in zip(queries, found, strict=True):
        np.testing.assert_array_equal(row, plain(rows, query, 10, skip)[0])


def test_rows_are_gathered_from_several_arrays(rng):
    rows = unit_vectors(rng, 100)
    blocks = [rows[:10], rows[10:10], rows[10:64], rows[64:]]
    wanted = rng.permutation(100)[:40]
    np.testing.assert_array_equal(gather(blocks, wanted), rows[wanted])


def test_an_array_that_grows_keeps_what_was_handed_out(rng):
    growing, rows = Growing(16), unit_vectors(rng, 300)
    growing.append(rows[:3])
    early = growing.array
    for at in range(3, 300, 9):
        growing.append(rows[at : at + 9])
    np.testing.assert_array_equal(growing.array, rows)
    np.testing.assert_array_equal(early, rows[:3])


def test_rows_without_a_direction_are_refused():
    with pytest.raises(DataError, match="1 of 2 embeddings are zero or not finite"):
        unit_rows(np.array([[1.0, 0.0], [0.0, 0.0]]))
    with pytest.raises(DataError, match=r"expected \(N, E\)"):
        unit_rows(np.ones(3))


def test_every_finite_float16_is_widened_to_the_same_number():
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)]
    rows_NE = finite[: len(finite) // 7 * 7].reshape(-1, 7)  # more rows than are converted at once
    wanted = rows_NE.astype(np.float32)
    np.testing.assert_array_equal(widened(rows_NE).view(np.uint32), wanted.view(np.uint32))
    out = np.empty_like(wanted)
    assert widened(rows_NE, out) is out
    np.testing.assert_array_equal(out, wanted)
    assert widened(wanted) is wanted
