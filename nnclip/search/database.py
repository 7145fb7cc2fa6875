"""Where a collection in PostgreSQL lies, and a connection to it.

`postgresql://user@host/database#photos`: what follows the # names the collection ("images" if
nothing does).
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urldefrag

import numpy as np

from nnclip.errors import ConfigError
from nnclip.extras import extra

with extra():
    import psycopg

logger = logging.getLogger(__name__)

NAME, FORMER = "images", "pictures"  # of a collection that the address does not name
HEADS = "nnclip_collections"  # the table of all collections


def parts_of(url: str) -> tuple[str, str]:
    """Address and name of the collection; "" where it has none."""
    address, name = urldefrag(url)
    if (name and not name.isidentifier()) or len(name) > 40:
        raise ConfigError(
            f"{url}: found the name {name!r} after #, expected letters, digits and _, at most 40"
        )
    return address, name


def connected(address: str) -> "psycopg.Connection[Any]":
    """A connection whose every statement counts at once; ConfigError if there is no server."""
    try:
        return psycopg.connect(address, autocommit=True, connect_timeout=10)
    except psycopg.Error as error:
        raise ConfigError(f"the database cannot be reached: {str(error).strip()}") from error


@contextmanager
def told(connection: "psycopg.Connection[Any]") -> Iterator[None]:
    """Inside, what the database says beside its answers is logged."""
    connection.add_notice_handler(_tell)
    try:
        yield
    finally:
        connection.remove_notice_handler(_tell)


def _tell(notice: "psycopg.errors.Diagnostic") -> None:
    """Such as that the graph of an index does not fit into maintenance_work_mem."""
    said = notice.message_primary, notice.message_detail, notice.message_hint
    logger.warning("the database says: %s", ". ".join(part.rstrip(".") for part in said if part))


def unnamed(connection: "psycopg.Connection[Any]") -> str:
    """The collection that is meant where none is named: `FORMER` if that alone is there."""
    there = connection.execute("select to_regclass(%s)", [HEADS]).fetchone()
    if not there or there[0] is None:
        return NAME
    query = f"select name from {HEADS} where name = any(%s)"
    names = [name for (name,) in connection.execute(query, [[NAME, FORMER]])]
    return FORMER if names == [FORMER] else NAME


def text_of(vector_E: np.ndarray) -> str:
    """A vector as pgvector reads it."""
    return json.dumps(vector_E.tolist())
