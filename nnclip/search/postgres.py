"""A collection in PostgreSQL with pgvector, for more than one machine; the same interface.

`postgresql://user@host/database#photos`: what follows the # names the collection ("images" if
nothing does). Its images are rows of the table `nnclip_photos`, whose `embedding` is a halfvec or
a vector; every change is one transaction.

Axes: N rows, E embedding.
"""

import logging
import weakref
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from typing import Any, cast

import numpy as np

from nnclip.errors import ConfigError, DataError
from nnclip.extras import extra
from nnclip.files import to_name, to_path
from nnclip.search.approximate import SETTINGS
from nnclip.search.database import HEADS, connected, parts_of, text_of, told, unnamed
from nnclip.search.exact import Found, log_sum, ranked
from nnclip.search.index import IndexCard, Texts, chosen_kind
from nnclip.search.log import Entry
from nnclip.search.manifest import Manifest, manifest_from
from nnclip.search.roots import NO_ROOTS
from nnclip.search.rows import NO_ROWS
from nnclip.search.shards import RECORD
from nnclip.search.tuning import NEAREST, Find, Queries, choose_setting

with extra():
    import psycopg
    import pyarrow as pa
    from psycopg import sql
    from psycopg.types.json import Jsonb

logger = logging.getLogger(__name__)

TYPES = {"float16": "halfvec", "float32": "vector"}
QUERIES = 128  # of each kind, that recall is measured with
SAMPLED = 4096  # rows, about, that stand for the others in the sum of a softmax
LINKS, PATIENCE = 16, 100  # of HNSW: links of a node, candidates while it finds them
WIDEST = 1000  # ef_search that pgvector takes

_CREATE_HEADS = f"""
create table if not exists {HEADS} (name text primary key, manifest jsonb not null,
    sources jsonb not null, banned jsonb not null, card jsonb)
"""
_CREATE = """
create table {table} (row bigint primary key, image text not null, record jsonb not null,
    embedding {type} not null)
"""
_NEAREST = """
select row, -(embedding <#> {query}) from {table} where not row = any({left_out}::bigint[])
order by embedding <#> {query}{then} limit {k}
"""
_BELOW = """
select width_bucket(-(embedding <#> {query}), {bounds}::float8[]), count(*) from {table} group by 1
"""
_SUM = """
select count(*), max(cosine), coalesce(sum(exp({scale} * (cosine - {top}))), 0)
from (select -(embedding <#> {query}) as cosine from {table} {sample} where not row = any({seen})) t
"""


class PostgresStore:
    """A collection in a database; see `LastingStore`."""

    def __init__(self, url: str, exact: bool = False) -> None:
        """Connect.

        Raises:
            ConfigError: the database cannot be reached.
            DataError: it holds no such collection.
        """
        address, name = parts_of(url)
        self._connection = connected(address)
        self.name = name or unnamed(self._connection)
        self._table = sql.Identifier(f"nnclip_{self.name}")
        weakref.finalize(self, self._connection.close)
        self._exact = exact
        self._counted: tuple[str, int] | None = None  # version of the head, images
        self._read_head()

    def _read_head(self) -> None:
        query = f"select manifest, sources, banned, card from {HEADS} where name = %s"
        with self._connection.transaction():
            there = self._one("select to_regclass(%s)", [HEADS])[0]
            head = self._connection.execute(query, [self.name]).fetchone() if there else None
        if head is None:
            raise DataError(
                f"found no collection {self.name!r} in the database, expected one: "
                f"`nnclip embed ... -o postgresql://...#{self.name}` makes it"
            )
        manifest, sources, banned, card = head
        self.sources = list(map(to_path, sources))
        self.manifest = manifest_from(manifest)
        self.roots, self.exclude = NO_ROOTS, self.manifest.exclude
        self.banned = set(banned)
        self._card = IndexCard(**card) if card else None

    def __len__(self) -> int:
        return int(self._one(self._sql("select count(*) from {table}"))[0])

    def _count(self) -> int:
        """As `len`, counted once after each change made by nnclip."""
        # every change writes the head; counting a million takes longer than finding the nearest
        version = self._one(f"select xmin::text from {HEADS} where name = %s", [self.name])[0]
        if self._counted is None or self._counted[0] != version:
            self._counted = version, len(self)
        return self._counted[1]

    def live(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """See `LastingStore`."""
        query = self._sql("select row, record from {table} order by row")
        yield from self._connection.execute(query).fetchall()

    def records(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """See `Store`."""
        query = self._sql("select row, record from {table} where row = any(%s)")
        found = dict(self._connection.execute(query, [list(map(int, rows))]).fetchall())
        return [found[int(row)] for row in rows]

    @contextmanager
    def changing(self, whole: bool = True) -> Iterator[None]:
        """See `LastingStore`; a lock of the session, which ends with it."""
        key = [f"nnclip {self.name}"]
        if not self._one("select pg_try_advisory_lock(hashtext(%s))", key)[0]:
            logger.warning(
                "%s: another process is changing it; waiting until it is done", self.name
            )
            self._connection.execute("select pg_advisory_lock(hashtext(%s))", key)
        try:
            self._read_head()
            yield
        finally:
            if not self._connection.closed:
                self._connection.execute("select pg_advisory_unlock(hashtext(%s))", key)

    def append(self, entry: Entry) -> range:
        """See `LastingStore`; one transaction."""
        with self._connection.transaction():
            head = f"select sources, banned from {HEADS} where name = %s for update"
            sources, banned = self._one(head, [self.name])
            first = self._one(self._sql("select coalesce(max(row) + 1, 0) from {table}"))[0]
            gone = self._sql("delete from {table} where row = any(%s)")
            self._connection.execute(gone, [list(map(int, entry.removed))])
            self._insert(first, entry)
            followed = map(to_path, sources) if entry.sources is None else entry.sources
            self.sources = list(followed)
            added = {record["image"] for record in entry.records}
            self.banned = (set(banned) - added) | set(entry.banned)
            self._connection.execute(
                f"update {HEADS} set sources = %s, banned = %s where name = %s",
                [Jsonb(list(map(to_name, self.sources))), Jsonb(sorted(self.banned)), self.name],
            )
            if entry.exclude is not None:
                self.exclude = tuple(entry.exclude)
                self._connection.execute(
                    f"update {HEADS} set manifest = manifest || %s where name = %s",
                    [Jsonb({"exclude": list(self.exclude)}), self.name],
                )
        return range(first, first + len(entry.records))

    def _insert(self, first: int, entry: Entry) -> None:
        if not entry.records:
            return
        query = self._sql("copy {table} (row, image, record, embedding) from stdin")
        rows_NE = np.asarray(entry.vectors).astype(self.manifest.dtype)
        numbers = range(first, first + len(rows_NE))
        with self._connection.cursor().copy(query) as copy:
            for number, record, vector_E in zip(numbers, entry.records, rows_NE, strict=True):
                copy.write_row((number, record["image"], Jsonb(record), text_of(vector_E)))

    def vectors(self) -> tuple[list[np.ndarray], np.ndarray]:
        """See `LastingStore`; fetches all of them."""
        query = self._sql("select row, embedding::text from {table} order by row")
        found = self._connection.execute(query).fetchall()
        size = 1 + max((row for row, _ in found), default=-1)
        rows_NE = np.zeros((size, self.manifest.embed), np.float32)
        dead = np.ones(size, bool)
        for row, text in found:
            rows_NE[row], dead[row] = np.fromstring(text[1:-1], np.float32, sep=","), False
        return [rows_NE], np.flatnonzero(dead)

    def columns(self, fields: Sequence[str]) -> tuple[np.ndarray, dict[str, Any]]:
        """See `Store`; fetches these fields of all records."""
        if unknown := [name for name in fields if name not in RECORD.names]:
            raise DataError(f"{unknown[0]:.60}: found no such field in the records")
        wanted = sql.SQL(", ").join(
            sql.SQL("record->{}").format(sql.Literal(name)) for name in fields
        )
        query = self._sql("select row, {wanted} from {table} order by row", wanted=wanted)
        found = self._connection.execute(query).fetchall()
        columns = zip(*(row[1:] for row in found), strict=True) if found else [()] * len(fields)
        arrays = {
            name: pa.array(values, RECORD.field(name).type)
            for name, values in zip(fields, columns, strict=True)
        }
        return np.array([row[0] for row in found], np.int64), arrays

    def embeddings(self, rows: Sequence[int]) -> np.ndarray:
        """See `Store`."""
        query = self._sql("select row, embedding::text from {table} where row = any(%s)")
        found = dict(self._connection.execute(query, [list(map(int, rows))]).fetchall())
        return np.stack([np.fromstring(found[row][1:-1], np.float32, sep=",") for row in rows])

    def steady(self) -> AbstractContextManager[None]:
        """See `Store`; rows keep their numbers for ever."""
        return nullcontext()

    def nearest(
        self, query_E: np.ndarray, k: int, scale: float, left_out: np.ndarray = NO_ROWS
    ) -> Found:
        """See `Store`; with an index, the sum for the softmax is estimated from some pages."""
        card = None if self._exact or self._card is None or not self._card.setting else self._card
        with self._connection.transaction():
            rows, cosines = self._top(query_E, k, card.setting if card else 0, left_out)
            top = float(cosines.max(initial=-1.0))
            seen = log_sum(cosines, scale)
            gone = np.append(rows, left_out)
            images = self._count()
            rest = self._rest(query_E, scale, top, gone, images, exact=card is None)
            below = ranked(len(rows), images)
            if len(left_out):
                below = self._standing(query_E, cosines)
        return Found(rows, cosines, float(np.logaddexp(seen, rest)), card is None, below)

    def _standing(self, query_E: np.ndarray, cosines: np.ndarray) -> np.ndarray:
        """How many per cent of the other images have a lower cosine."""
        bounds = cosines[::-1].astype(float)
        query = self._sql(_BELOW, query_E, bounds=sql.Literal(bounds.tolist()))
        counts = np.zeros(len(bounds) + 1)
        for place, count in self._connection.execute(query).fetchall() if len(bounds) else ():
            counts[place] = count
        others = counts.sum() - 1
        below = np.cumsum(counts)[:-1][::-1]
        return 100 * below / others if others > 0 else np.full(len(cosines), np.nan)

    def _top(
        self, query_E: np.ndarray, k: int, view: int, left_out: np.ndarray = NO_ROWS
    ) -> tuple[np.ndarray, np.ndarray]:
        """The nearest rows and their cosines; by the index with such a view, or exactly with 0."""
        execute = self._connection.execute
        if view:
            execute(f"set local hnsw.ef_search = {min(WIDEST, max(view, k))}")
            execute("set local hnsw.iterative_scan = strict_order")
            execute("set local enable_seqscan = off")
        else:
            execute("set local enable_indexscan = off")
        found = execute(self._nearest_rows(query_E, k, view, left_out)).fetchall()
        rows, cosines = zip(*found, strict=True) if found else ((), ())
        return np.array(rows, np.int64), np.array(cosines, np.float32)

    def _nearest_rows(
        self, query_E: np.ndarray, k: int, view: int, left_out: np.ndarray = NO_ROWS
    ) -> sql.Composed:
        """The statement of `_top`; an order by anything beside the distance uses no index."""
        then = sql.SQL("" if view else ", row")
        parts = {"k": sql.Literal(k), "left_out": sql.Literal(left_out.tolist()), "then": then}
        return self._sql(_NEAREST, query_E, **parts)

    def _rest(
        self,
        query_E: np.ndarray,
        scale: float,
        top: float,
        seen: np.ndarray,
        images: int,
        exact: bool,
    ) -> float:
        """log of the sum over the rows that were not seen: of all, or estimated from a sample."""
        left = images - len(seen)
        share = 100.0 if exact or left < SAMPLED else 100.0 * SAMPLED / left
        sample = "" if share == 100.0 else f"tablesample system ({share}) repeatable (1)"
        terms = {"scale": sql.Literal(scale), "top": sql.Literal(top)}
        query = self._sql(
            _SUM, query_E, sample=sql.SQL(sample), seen=sql.Literal(seen.tolist()), **terms
        )
        count, _, total = self._one(query)
        if not count or not total or left < 1:
            return -np.inf
        return scale * top + float(np.log(total) + np.log(left / count))

    def build_index(self, kind: str, recall: float, texts: Texts | None = None) -> IndexCard:
        """See `LastingStore`; kinds are "auto", "exact" and "hnsw"."""
        kind = chosen_kind(kind, recall, len(self), "hnsw")
        if kind == "ivf":
            raise ConfigError("kind ivf: a database is searched exactly or by hnsw, expected these")
        index = sql.Identifier(f"nnclip_{self.name}_embedding")
        self._connection.execute(sql.SQL("drop index if exists {}").format(index))
        card = IndexCard(kind, len(self))
        if kind == "hnsw":
            create = self._sql(
                "create index {index} on {table} using hnsw (embedding {type}_ip_ops) "
                f"with (m = {LINKS}, ef_construction = {PATIENCE})",
                index=index,
            )
            with told(self._connection):
                self._connection.execute(create)
            views = [view for view in SETTINGS["hnsw"] if view <= WIDEST]
            kinds = self._queries(texts)
            setting, reached = choose_setting(views, recall, kinds, self._finder)
            card = IndexCard(kind, len(self), "", setting, recall, reached)
        query = f"update {HEADS} set card = %s where name = %s"
        self._connection.execute(query, [Jsonb(asdict(card)), self.name])
        self._card = card
        return card

    def index_card(self) -> IndexCard | None:
        """See `LastingStore`."""
        return self._card

    def _finder(self, view: int) -> Find:
        def find(query_E: np.ndarray, k: int) -> np.ndarray:
            with self._connection.transaction():
                return self._top(query_E, k, view)[0]

        return find

    def _queries(self, texts: Texts | None) -> list[Queries]:
        """Rows of the table and texts as queries, with what exact search finds for them."""
        sample = self._sql(
            "select row, embedding::text from {table} order by md5(row::text) limit {k}",
            k=sql.Literal(QUERIES),
        )
        drawn = self._connection.execute(sample).fetchall()
        vectors = np.array([np.fromstring(text[1:-1], np.float32, sep=",") for _, text in drawn])
        itself = np.array([row for row, _ in drawn])
        kinds = [("images", vectors, itself)]
        if texts is not None:
            asked = texts()[:QUERIES]
            kinds.append(("texts", asked, np.full(len(asked), -1)))
        return [self._known(*kind) for kind in kinds]

    def _known(self, name: str, vectors: np.ndarray, itself: np.ndarray) -> Queries:
        find = self._finder(0)
        found = [find(query_E, NEAREST + 1) for query_E in vectors]
        others = [rows[rows != own][:NEAREST] for rows, own in zip(found, itself, strict=True)]
        return Queries(name, vectors, itself, np.stack(others))

    def _sql(self, text: str, query_E: np.ndarray | None = None, **parts: Any) -> sql.Composed:
        """A statement about this collection's table."""
        kind = sql.SQL(TYPES[self.manifest.dtype]) if hasattr(self, "manifest") else sql.SQL("")
        if query_E is not None:
            parts["query"] = sql.SQL("{}::{}").format(sql.Literal(text_of(query_E)), kind)
        return sql.SQL(cast(Any, text)).format(table=self._table, type=kind, **parts)

    def _one(self, query: Any, values: Sequence[Any] = ()) -> Any:
        return self._connection.execute(query, values or None).fetchone()


def begin(url: str, manifest: Manifest) -> PostgresStore:
    """The collection of that name, made if it is not there.

    Raises:
        ConfigError: the database cannot be reached, or has no pgvector.
        DataError: there is one that another model embedded, or that is kept otherwise.
    """
    address, name = parts_of(url)
    connection = connected(address)
    name = name or unnamed(connection)
    try:
        with connection.transaction():
            # of two that begin at once, PostgreSQL refuses one extension and one table
            connection.execute("select pg_advisory_xact_lock(hashtext('nnclip'))")
            connection.execute("create extension if not exists vector")
            connection.execute(_CREATE_HEADS)
            made = connection.execute(
                f"insert into {HEADS} values (%s, %s, '[]', '[]') on conflict do nothing",
                [name, Jsonb(asdict(manifest.settled()))],
            )
            if made.rowcount:
                table = sql.Identifier(f"nnclip_{name}")
                kind = sql.SQL(f"{TYPES[manifest.dtype]}({manifest.embed})")
                connection.execute(sql.SQL(_CREATE).format(table=table, type=kind))
    except psycopg.Error as error:
        raise ConfigError(
            f"the collection cannot be made ({str(error).strip()}); is pgvector installed?"
        ) from error
    finally:
        connection.close()
    store = PostgresStore(url)
    if (store.manifest.digest, store.manifest.dtype) != (manifest.digest, manifest.dtype):
        raise DataError(
            f"{name}: found a collection of another model or dtype ({store.manifest.dtype}), "
            "expected the same: name another one after #"
        )
    if not store.manifest.read_as(manifest):
        raise DataError(
            f"{name}: found a collection whose images were read in another way: "
            f"{store.manifest.decoding}; leave out --exact-pixels and --as-seen, or name another "
            "one after #"
        )
    if not store.manifest.prepared_as(manifest.preprocess):
        raise DataError(
            f"{name}: found a collection whose images were prepared in another way, expected "
            f"{manifest.preprocess}: name another one after #"
        )
    return store
