"""The same rows in PostgreSQL with pgvector: how long a query takes, and how much it finds."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from psycopg import sql

from nnclip.search.log import Entry
from nnclip.search.postgres import PostgresStore, begin
from nnclip.search.store import FolderStore

AT_ONCE = 8192  # rows of a transaction


def measured(
    url: str,
    folder: FolderStore,
    queries: dict[str, np.ndarray],
    tuned_by: np.ndarray,
    ask: Callable[[PostgresStore, np.ndarray], dict[str, float]],
) -> dict[str, object]:
    """Copy a collection into the database, index it as `nnclip index` does, ask.

    Args:
        url: postgresql://...#name; there must be no collection of that name.
        folder: the collection.
        queries: texts and images.
        tuned_by: other texts, which the setting is chosen with.
        ask: measures queries.
    """
    store, seconds = begin(url, folder.manifest), {}
    if len(store):
        raise SystemExit(f"{url}: found {len(store):,} rows, expected none: name another one")
    start = time.perf_counter()
    copy(folder, store)
    seconds["copied"] = round(time.perf_counter() - start, 1)
    print(f"pgvector: copied in {seconds['copied']} s", flush=True)
    start = time.perf_counter()
    card = store.build_index("hnsw", 0.95, lambda: tuned_by)
    seconds["indexed_and_tuned"] = round(time.perf_counter() - start, 1)
    print(f"pgvector: {seconds}; {card}", flush=True)
    found = {name: ask(store, vectors) for name, vectors in queries.items()}
    return {"seconds": seconds, "index": vars(card), "bytes": sizes(store), "queries": found}


def copy(folder: FolderStore, store: PostgresStore) -> None:
    """All rows, with as much of a record as a search needs."""
    number = 0
    for block in folder.blocks:
        for at in range(0, len(block), AT_ONCE):
            rows_NE = np.asarray(block[at : at + AT_ONCE], np.float32)
            names = [f"/pictures/{number + i}.jpg" for i in range(len(rows_NE))]
            records = [{"image": name, "path": name, "offset": 0, "size": -1} for name in names]
            store.append(Entry(records, rows_NE))
            number += len(rows_NE)


def sizes(store: PostgresStore) -> dict[str, int]:
    """Bytes of the table without its index, and of the index."""
    table = sql.Literal(f"nnclip_{store.name}")
    index = sql.Literal(f"nnclip_{store.name}_embedding")
    query = sql.SQL("select pg_table_size({}), pg_relation_size({})").format(table, index)
    found = store._connection.execute(query).fetchone()
    assert found is not None
    return {"table": found[0], "index": found[1]}
