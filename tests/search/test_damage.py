"""Damage in every file of a collection: told, never cut off, and made again by `repair`."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from nnclip.cli import main
from nnclip.errors import DataError, NnclipError
from nnclip.search.collection import Collection
from nnclip.search.index import build_index
from nnclip.search.log import ACKNOWLEDGED, Entry
from nnclip.search.repair import repair
from nnclip.search.store import FolderStore

from .conftest import draw, embedded, unit_vectors, vector_collection

OLD = Path(__file__).parent / "format1"
HEADER, HEADER_1 = 32, 20  # bytes


def entries_of(collection):
    """All that the log says, as a collection shows it."""
    told = list(collection.live()), collection.sources, sorted(collection.banned)
    return told, np.asarray(collection.blocks[-1]).tolist()


@pytest.fixture
def folder(tmp_path, rng):
    """A collection with entries of all kinds; the vectors hold runs of zeros."""
    folder = vector_collection(tmp_path / "EMB", [unit_vectors(rng, 40).astype(np.float16)])
    collection = Collection(folder)
    for number in range(5):
        rows = np.eye(16, dtype=np.float16)[: number % 3]
        records = [{"image": f"/later/{number}-{i}.png"} for i in range(len(rows))]
        collection.append(Entry(records, rows, [number], ["/a"] if number == 3 else None, ["/b"]))
    return folder


def headers(content, magic):
    """Where the entries of a log begin."""
    places, at = [], content.find(magic)
    while at >= 0:
        places.append(at)
        at = content.find(magic, at + 1)
    return places


@pytest.mark.parametrize("known", [True, False], ids=["acknowledged", "unknown"])
def test_every_bit_of_every_header_counts(folder, known):
    log = folder / "log"
    if not known:
        (folder / ACKNOWLEDGED).unlink()
    content, wanted = log.read_bytes(), entries_of(Collection(folder))
    places = headers(content, b"NnC2")
    assert len(places) == 5
    for at in places:
        for bit in range(8 * HEADER):
            damaged = bytearray(content)
            damaged[at + bit // 8] ^= 1 << bit % 8
            log.write_bytes(damaged)
            with pytest.raises(DataError, match=r"log: found damage .*`nnclip repair"):
                Collection(folder)
            assert log.read_bytes() == damaged
    log.write_bytes(content)
    assert entries_of(Collection(folder)) == wanted


def test_every_bit_of_headers_of_format_1_counts(tmp_path):
    shutil.copytree(OLD, tmp_path / "EMB")
    log = tmp_path / "EMB" / "log"
    content = log.read_bytes()
    places = headers(content, b"NnC1")
    assert len(places) == 3
    for at in places:
        for bit in range(8 * HEADER_1):
            damaged = bytearray(content)
            damaged[at + bit // 8] ^= 1 << bit % 8
            log.write_bytes(damaged)
            with pytest.raises(DataError, match="log: found damage"):
                Collection(tmp_path / "EMB")
            assert log.read_bytes() == damaged


@pytest.mark.parametrize("entry", range(5))
def test_zeros_in_place_of_a_header_are_damage(folder, entry):
    log = folder / "log"
    content = bytearray(log.read_bytes())
    at = headers(content, b"NnC2")[entry]
    content[at : at + HEADER] = bytes(HEADER)
    log.write_bytes(content)
    with pytest.raises(DataError, match="found damage"):
        Collection(folder).append(Entry([{"image": "x"}], np.eye(1, 16)))
    assert log.read_bytes() == content


def test_a_cut_or_missing_log_is_told_and_what_came_behind_the_last_entry_is_cut_off(folder, rng):
    log = folder / "log"
    content, wanted = log.read_bytes(), entries_of(Collection(folder))
    for length in range(0, len(content), 5):
        log.write_bytes(content[:length])
        with pytest.raises(DataError, match="were acknowledged"):
            Collection(folder)
    log.unlink()
    with pytest.raises(DataError, match="were acknowledged"):
        Collection(folder)
    acknowledged = (folder / ACKNOWLEDGED).read_bytes()
    for tail in (b"NnC2" + bytes(rng.bytes(60)), b"N", bytes(5000), rng.bytes(700)):
        log.write_bytes(content + tail)
        (folder / ACKNOWLEDGED).write_bytes(acknowledged)
        collection = Collection(folder)
        assert entries_of(collection) == wanted
        collection.append(Entry([{"image": "new"}], np.eye(1, 16)))
        assert Collection(folder).rows == collection.rows


def test_entries_that_change_places_or_go_are_damage(folder):
    log = folder / "log"
    content = log.read_bytes()
    a, b, c = headers(content, b"NnC2")[1:4]
    first, second = content[a:b], content[b:c]
    for damaged in (
        content[:a] + second + first + content[c:],
        content[:a] + content[b:],
        content[:b] + first + content[b:],
    ):
        log.write_bytes(damaged)
        with pytest.raises(DataError, match="whole entries follow"):
            Collection(folder)


def test_a_collection_of_format_1_opens_and_grows(tmp_path):
    shutil.copytree(OLD, tmp_path / "EMB")
    collection = FolderStore(tmp_path / "EMB")
    assert (len(collection), collection.rows) == (44, 46)
    assert collection.sources == ["/pictures", "/more"] and collection.banned == {"/pictures/3.png"}
    assert [image for image, _ in collection.failures()] == ["/pictures/30.png"]
    assert not collection.nearest(np.eye(16, dtype=np.float32)[0], 3, 1.0).exact
    collection.append(Entry([{"image": "new"}], np.eye(1, 16), [4]))
    again = FolderStore(tmp_path / "EMB", exact=True)
    assert list(again.live()) == list(collection.live()) and len(again) == 44
    assert again.nearest(np.eye(16, dtype=np.float32)[0], 1, 1.0).rows == [46]
    content = (tmp_path / "EMB" / "log").read_bytes()
    (tmp_path / "EMB" / "log").write_bytes(content[:-1])
    with pytest.raises(DataError, match="were acknowledged"):
        Collection(tmp_path / "EMB")


def test_a_damaged_row_is_told_when_it_is_read(folder):
    path = folder / "shards" / "00000.npy"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    store = FolderStore(folder)
    with pytest.raises(DataError, match=r"00000\.npy: rows 0 to 39 are damaged.*nnclip repair"):
        store.nearest(np.eye(16, dtype=np.float32)[0], 3, 1.0)
    with pytest.raises(DataError, match="rows 0 to 39"):
        np.asarray(store.blocks[0])


# what is damaged: file, and whether it is cut, changed or gone
FILES = ["manifest.json", "plan.parquet", "log", "index.json", "index-*.faiss", "index-*.npz"]
FILES += [f"shards/00000.{suffix}" for suffix in ("npy", "parquet", "json")]


@pytest.mark.parametrize("how", ["changed", "cut", "gone"])
@pytest.mark.parametrize("name", FILES)
def test_the_remedy_that_a_message_names_works(tmp_path, model, pictures, capsys, name, how):
    folder = embedded(tmp_path / "EMB", model, pictures)
    store = FolderStore(folder)
    added = draw(tmp_path / "added.png", "blue", (60, 50))
    assert main(["add", str(folder), str(added), "--precision", "fp32"]) == 0
    assert main(["remove", str(folder), str(pictures / "red.png")]) == 0
    build_index(FolderStore(folder), "ivf", 0.5)
    capsys.readouterr()
    wanted = list(FolderStore(folder).live())
    (file,) = folder.glob(name)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    {
        "changed": lambda: file.write_bytes(content),
        "cut": lambda: file.write_bytes(content[: len(content) // 2]),
        "gone": file.unlink,
    }[how]()
    options = ["--precision", "fp32", "--workers", "0"]
    if how != "gone" or not name.startswith(("plan", "index.json")):
        with pytest.raises(NnclipError, match=r"`nnclip |embed the pic"):
            store = FolderStore(folder)
            list(store.live())
            store.nearest(np.eye(32, dtype=np.float32)[0], 3, 1.0)
            np.asarray(store.blocks[0])
            FolderStore(folder, exact=True).nearest(np.eye(32, dtype=np.float32)[0], 3, 1.0)
            repair_needed(folder)
    if name.startswith("index"):
        assert main(["index", str(folder), "--kind", "ivf", "--recall", "0.5", *options[:2]]) == 0
    else:
        assert main(["repair", str(folder), *options]) == 0
    out = capsys.readouterr().out
    assert name.startswith("index") or "EMB" in out
    if name == "log":
        assert main(["update", str(folder), "--yes", *options]) in (0, 1)
        names = {record["image"] for _, record in FolderStore(folder).live()}
        assert names >= {record["image"] for _, record in wanted} - {str(added)}
    else:
        assert [r["image"] for _, r in FolderStore(folder).live()] == [
            r["image"] for _, r in wanted
        ]
    assert repair(folder, lambda _: model) == []
    assert FolderStore(folder).nearest(np.eye(32, dtype=np.float32)[0], 3, 1.0).rows.size == 3


def repair_needed(folder):
    """The plan is read by `embed` alone."""
    from nnclip.search.shards import planned_items

    collection = Collection(folder)
    planned_items(folder, collection.manifest, collection.roots)


def test_a_shard_that_is_embedded_again_keeps_its_rows(tmp_path, model, pictures):
    folder = embedded(tmp_path / "EMB", model, pictures)
    before = FolderStore(folder)
    rows = np.asarray(before.blocks[0]).copy()
    gone = next(row for row, record in before.live() if record["image"].endswith("green.png"))
    (pictures / "green.png").unlink()
    draw(pictures / "broken.jpg", "pink")  # could not be read at first
    path = folder / "shards" / "00000.npy"
    path.write_bytes(path.read_bytes()[:-5])
    (said,) = repair(folder, lambda _: model)
    assert "embedded again" in said
    after = FolderStore(folder)
    assert (after.rows, len(after), after.dead.tolist()) == (10, 9, [gone])
    np.testing.assert_allclose(
        np.delete(after.blocks[0], gone, 0), np.delete(rows, gone, 0), atol=2e-3
    )
    assert [image for image, _ in after.failures()] == [str(pictures / "broken.jpg")]


def test_what_is_whole_in_a_damaged_log_is_kept(folder):
    log, before = folder / "log", Collection(folder)
    content = bytearray(log.read_bytes())
    at = headers(content, b"NnC2")[2]
    content[at + HEADER + 3] ^= 1  # the third entry: two rows, and one that goes
    log.write_bytes(content)
    *_, said = repair(folder, lambda _: None)
    assert "4 entries were whole" in said
    assert (folder / "log.damaged-1").read_bytes() == content
    after = Collection(folder)
    assert set(after.dead.tolist()) == {0, 1, 3, 4}
    lost = {"/later/2-0.png", "/later/2-1.png"}
    kept = {record["image"] for _, record in before.live()} - lost
    assert {record["image"] for _, record in after.live()} == kept | {"/pictures/2"}
    found = np.asarray(after.blocks[-1])
    np.testing.assert_array_equal(found, np.eye(16)[[0, 0]])
    assert repair(folder, lambda _: None) == []


def test_an_index_of_more_rows_than_there_are_is_told(folder):
    build_index(FolderStore(folder), "ivf", 0.5)
    (folder / "log").unlink()
    (folder / ACKNOWLEDGED).unlink()
    with pytest.raises(DataError, match="found an index of 4"):
        FolderStore(folder).nearest(np.eye(16, dtype=np.float32)[0], 3, 1.0)


def test_a_manifest_says_what_it_cannot_be(folder):
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    for key, value in [("format", 9), ("items", -1), ("embed", "x"), ("sources", 5), ("more", 1)]:
        path.write_text(json.dumps({**content, key: value}))
        with pytest.raises(DataError, match=r"manifest\.json: .*nnclip repair"):
            Collection(folder)
        old = {k: v for k, v in content.items() if k not in ("checksum", "plan")}
        path.write_text(json.dumps({**old, "format": 1, key: value}))
        with pytest.raises(DataError, match=r"manifest\.json: .*nnclip repair"):
            Collection(folder)
