"""Approximate search against exact: recall, removed and added rows, the estimated softmax."""

import json

import numpy as np
import pytest

from nnclip.errors import ConfigError, DataError
from nnclip.search import exact, index
from nnclip.search.approximate import list_count
from nnclip.search.exact import exact_neighbours
from nnclip.search.index import build_index, read_card
from nnclip.search.log import Entry
from nnclip.search.sealed import read_sealed, write_sealed
from nnclip.search.store import FolderStore
from nnclip.search.tuning import Queries, choose_setting

from .conftest import unit_vectors, vector_collection


@pytest.fixture
def folder(tmp_path, rng):
    rows = unit_vectors(rng, 3000).astype(np.float16)
    return vector_collection(tmp_path / "EMB", [rows[:1200], rows[1200:2400], rows[2400:]])


def recall(store, queries):
    nearest = exact_neighbours(store.blocks, queries, 10, store.dead)
    found = [store.nearest(query, 10, 20.0).rows for query in queries]
    return np.mean([np.isin(a, b).mean() for a, b in zip(nearest, found, strict=True)])


def totals(store, queries, scale):
    rows = np.concatenate([np.asarray(block, np.float32) for block in store.blocks])
    alive = np.delete(rows, store.dead, axis=0)
    return np.log(np.exp(scale * (queries @ alive.T).astype(np.float64)).sum(axis=1))


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_a_stated_recall_is_reached_and_the_softmax_is_close(folder, rng, kind):
    texts = unit_vectors(rng, 64)
    card = build_index(FolderStore(folder), kind, 0.9, lambda: texts)
    assert card.kind == kind and min(card.recall.values()) >= 0.9
    assert set(card.recall) == {"images", "texts"}
    store, queries = FolderStore(folder), unit_vectors(rng, 50)
    assert recall(store, queries) >= 0.85
    found = np.array([store.nearest(query, 10, 10.0).log_total for query in queries])
    assert np.abs(found - totals(store, queries, 10.0)).max() < 0.2
    first = store.nearest(queries[0], 10, 10.0)
    assert not first.exact and (np.diff(first.cosines) <= 0).all()


def test_a_card_of_before_is_read(folder):
    build_index(FolderStore(folder), "ivf", 0.9)
    card = read_sealed(folder / "index.json", "")
    write_sealed(folder / "index.json", {**card, "recall": {"pictures": 0.97, "texts": 0.9}})
    assert read_card(folder).recall == {"texts": 0.9, "images": 0.97}


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_removed_rows_are_gone_and_added_ones_found_at_once(folder, rng, kind):
    texts = unit_vectors(rng, 64)
    build_index(FolderStore(folder), kind, 0.95, lambda: texts)
    store, queries = FolderStore(folder), unit_vectors(rng, 20)
    hits = {int(row) for query in queries for row in store.nearest(query, 10, 20.0).rows}
    store.append(Entry(removed=sorted(hits)))
    again = {int(row) for query in queries for row in store.nearest(query, 10, 20.0).rows}
    assert not hits & again and recall(store, queries) >= 0.85
    rows = store.append(Entry([{"image": f"new {i}"} for i in range(20)], queries))
    for query, row in zip(queries, rows, strict=True):
        found = store.nearest(query, 3, 20.0)
        assert found.rows[0] == row and found.cosines[0] > 0.999
    store.append(Entry(removed=[rows[0]]))
    assert store.nearest(queries[0], 3, 20.0).rows[0] != rows[0]


def test_a_small_collection_is_searched_exactly_and_a_large_one_by_an_index(folder, monkeypatch):
    card = build_index(FolderStore(folder))
    assert (card.kind, card.file) == ("exact", "") and FolderStore(folder).nearest(
        np.eye(16, dtype=np.float32)[0], 5, 1.0
    ).exact
    monkeypatch.setattr(index, "EXACT_ROWS", 2999)
    assert build_index(FolderStore(folder), recall=0.8).kind == "ivf"


def test_a_running_search_takes_a_new_index(folder, rng):
    store, query = FolderStore(folder), unit_vectors(rng, 1)[0]
    assert store.nearest(query, 3, 1.0).exact
    build_index(FolderStore(folder), "ivf", 0.9)
    first = read_card(folder).file
    assert not store.nearest(query, 3, 1.0).exact
    build_index(FolderStore(folder), "ivf", 0.9)
    assert not (folder / first).exists() and not store.nearest(query, 3, 1.0).exact
    assert FolderStore(folder, exact=True).nearest(query, 3, 1.0).exact


def test_bad_requests_and_damaged_files_are_told(folder):
    for kind, wanted in [("tree", 0.9), ("ivf", 0.0), ("ivf", 1.5)]:
        with pytest.raises(ConfigError, match="expected one of auto, exact, ivf, hnsw"):
            build_index(FolderStore(folder), kind, wanted)
    build_index(FolderStore(folder), "ivf", 0.9)
    card = json.loads((folder / "index.json").read_text())
    (folder / card["file"]).write_bytes(b"no index")
    query = np.eye(16, dtype=np.float32)[0]
    with pytest.raises(DataError, match="run `nnclip index`"):
        FolderStore(folder).nearest(query, 3, 1.0)
    (folder / "index.json").write_text("{")
    with pytest.raises(DataError, match=r"index\.json: is damaged"):
        FolderStore(folder).nearest(query, 3, 1.0)


def test_a_setting_is_chosen_by_one_half_and_stated_by_the_other(caplog):
    nearest = np.arange(40).reshape(4, 10)
    queries = Queries("pictures", np.arange(4.0)[:, None], np.full(4, -1), nearest)

    def finder(setting):
        def find(query, amount):
            good = setting if query[0] % 2 == 0 else setting - 1  # the other half is harder
            return np.where(np.arange(10) < good, nearest[int(query[0])], -5)

        return find

    assert choose_setting(range(1, 11), 0.7, [queries], finder) == (8, {"pictures": 0.7})
    assert choose_setting(range(1, 6), 0.7, [queries], finder) == (5, {"pictures": 0.4})
    assert "no setting reaches a recall of 0.7" in caplog.text


def test_a_query_that_is_a_row_is_no_answer_to_itself():
    queries = Queries("pictures", np.zeros((1, 1)), np.array([3]), np.array([[4, 5]]))
    assert queries.recall(lambda query, amount: np.array([3, 4, 5])[:amount]) == 1.0


def test_lists_are_about_four_times_the_root():
    assert [list_count(rows) for rows in (9, 100, 3000, 20_000, 1_000_000)] == [
        *(1, 8, 256, 512, 4096)
    ]


def test_rows_that_do_not_fit_into_memory_are_searched_in_their_files(folder, rng, monkeypatch):
    held, query = FolderStore(folder), unit_vectors(rng, 1)[0]
    expected = held.nearest(query, 10, 5.0)
    monkeypatch.setattr(exact, "available_memory", lambda: 0)
    found = FolderStore(folder).nearest(query, 10, 5.0)
    np.testing.assert_array_equal(found.rows, expected.rows)
    assert found.log_total == pytest.approx(expected.log_total, abs=1e-5)
