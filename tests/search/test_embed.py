"""Images of every kind of source -> collections, by one process or several."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from nnclip.cli import main
from nnclip.errors import DataError
from nnclip.image import open_image
from nnclip.search.collection import Collection
from nnclip.search.log import Entry
from nnclip.search.sources import list_items
from tests.lazy import lazy

from .conftest import COLOURS, draw, embedded

pq = lazy("pyarrow.parquet")
webdataset = lazy("webdataset")  # imports torch

BIN = Path(sys.executable).parent


def names(collection):
    return [Path(record["image"]).name for _, record in collection.live()]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_embeddings_are_what_the_model_gives(tmp_path, model, pictures, dtype):
    collection = Collection(embedded(tmp_path / "EMB", model, pictures, dtype=dtype))
    assert len(collection) == len(COLOURS) == collection.rows
    files = [record["image"] for _, record in collection.live()]
    images = np.stack([model.preprocess(open_image(file)) for file in files])
    features = model.encode_image(images)
    expected = features / np.linalg.norm(features, axis=1, keepdims=True)
    vectors = np.load(tmp_path / "EMB" / "shards" / "00000.npy")
    assert vectors.dtype == dtype
    tolerance = 1e-6 if dtype == "float32" else 1e-3
    np.testing.assert_allclose(vectors, expected, atol=tolerance)


def test_pictures_that_cannot_be_read_are_named_in_the_table(tmp_path, model, pictures):
    collection = Collection(embedded(tmp_path / "EMB", model, pictures))
    ((image, reason),) = collection.failures()
    assert image == str(pictures / "broken.jpg") and "not an image" in reason
    table = pq.read_table(tmp_path / "EMB" / "shards" / "00000.parquet").to_pylist()
    assert len(table) == len(COLOURS) + 1
    assert sorted(row["row"] for row in table if row["error"] is None) == list(range(len(COLOURS)))


@pytest.mark.torch
def test_tables_tars_and_pictures_are_sources_too(tmp_path, pictures):
    files = sorted(pictures.glob("*.png"))
    table = tmp_path / "pictures.tsv"
    table.write_text("image\ttitle\n" + "".join(f"pictures/{f.name}\ta b\n" for f in files))
    with webdataset.TarWriter(str(tmp_path / "s.tar")) as writer:
        for number, file in enumerate(files):
            writer.write({"__key__": f"{number:04d}", "png": file.read_bytes(), "txt": "a b"})
    from_table = list_items([str(table)], "image")
    from_tar = list_items([str(tmp_path / "s.tar")])
    assert [item.path for item in from_table] == [str(f) for f in files]
    assert [item.read()[0] for item in from_tar] == [f.read_bytes() for f in files]
    assert from_tar[0].image == f"{tmp_path}/s.tar/0000.png"
    twice = list_items([str(pictures), str(files[0]), str(table)], "image")
    assert twice == list_items([str(pictures)])


def test_sources_that_are_none_are_told(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.tar").write_bytes(b"no tar")
    (tmp_path / "table.csv").write_text("file,title\na.png,a\n")
    for name, message in [
        ("none", "no such file or folder"),
        ("empty", "found no image in it"),
        ("bad.tar", "expected one without compression"),
        ("table.csv", "no column filepath; it has file, title"),
    ]:
        with pytest.raises(DataError, match=message):
            list_items([str(tmp_path / name)])


def test_a_damaged_member_of_a_tar_is_left_out(tmp_path, model, pictures):
    (pictures / "green.png").write_bytes((pictures / "green.png").read_bytes()[:60])
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        tar.add(pictures / "red.png", "a/red.png")
        tar.add(pictures / "green.png", "a/green.png")
    collection = Collection(embedded(tmp_path / "EMB", model, tmp_path / "s.tar"))
    assert names(collection) == ["red.png"]
    assert collection.failures()[0][0] == f"{tmp_path}/s.tar/a/green.png"


def test_workers_give_what_one_process_gives(tmp_path, model, pictures):
    for number in range(40):
        draw(pictures / "more" / f"{number}.png", COLOURS[number % 10], (40 + number, 50))
    alone = Collection(embedded(tmp_path / "A", model, pictures))
    helped = Collection(embedded(tmp_path / "B", model, pictures, workers=1))
    assert list(alone.live()) == list(helped.live())
    np.testing.assert_array_equal(alone.blocks[0], helped.blocks[0])


def test_a_folder_holds_one_collection(tmp_path, model, pictures):
    embedded(tmp_path / "EMB", model, pictures)
    embedded(tmp_path / "EMB", model, pictures)  # nothing is left to do
    with pytest.raises(DataError, match="another dtype"):
        embedded(tmp_path / "EMB", model, pictures, dtype="float32")


def test_a_place_that_cannot_be_written_is_told(tmp_path, model, pictures):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        embedded(tmp_path / "file" / "EMB", model, pictures)


def test_a_collection_that_is_not_finished_says_so(tmp_path, model, pictures):
    embedded(tmp_path / "EMB", model, pictures)
    (tmp_path / "EMB" / "shards" / "00000.parquet").unlink()
    collection = Collection(tmp_path / "EMB")
    assert (len(collection), collection.waiting) == (0, 11)
    with pytest.raises(DataError, match="11 of 11 images are not embedded yet"):
        collection.append(Entry([{"image": "x"}], np.eye(1, 32)))
    with pytest.raises(DataError, match=r"found no manifest\.json"):
        Collection(tmp_path)


def test_processes_of_mpirun_give_what_one_gives(tmp_path, small_h5, pictures, capsys):
    for number in range(270):  # five shards
        draw(pictures / f"{number}.png", COLOURS[number % 10], (20 + number % 7, 20))
    options = ["-m", str(small_h5), "--precision", "fp32", "--workers", "0", "--json"]
    assert main(["embed", str(pictures), "-o", str(tmp_path / "one"), *options]) == 0
    one = json.loads(capsys.readouterr().out)
    command = [str(BIN / "mpirun"), "-n", "2", "--oversubscribe", "--bind-to", "none"]
    command += [sys.executable, "-m", "nnclip", "embed", str(pictures), "-o", str(tmp_path / "two")]
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    environment = {**os.environ, **allowed, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *options], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    two = json.loads(done.stdout.splitlines()[-1])
    assert one["images"] == two["images"] == two["embedded_now"] - 1 == 280
    assert one["failures"] == two["failures"]
    first, second = Collection(tmp_path / "one"), Collection(tmp_path / "two")
    assert list(first.live()) == list(second.live()) and len(first.blocks) == 6
    for a, b in zip(first.blocks, second.blocks, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)
