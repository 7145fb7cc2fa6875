import csv
import json
import tarfile

import pytest
from PIL import Image

from nnclip.cli import main
from nnclip.drawing import draw_pair, writer
from nnclip.drawing.writer import Order, write_shards, write_table
from nnclip.errors import ConfigError


def files(folder):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def table(folder):
    with (folder / "pairs.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_the_table_lists_pictures_beside_it_with_their_captions(tmp_path):
    assert (
        main(["draw-pairs", str(tmp_path), "--count", "12", "--size", "48", "--workers", "1"]) == 0
    )
    rows = table(tmp_path)
    assert list(rows[0])[:2] == ["filepath", "title"] and len(rows) == 12
    for index, row in enumerate(rows):
        picture, caption, record = draw_pair(0, index, size=48)
        assert {"filepath": row["filepath"], "title": caption, **record} == row
        with Image.open(tmp_path / row["filepath"]) as stored:
            assert stored.size == picture.size and stored.format == "JPEG"


def test_any_number_of_workers_writes_the_same_files(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "CHUNK", 7)
    for workers in (1, 2):
        order = Order(tmp_path / str(workers), 20, seed=4, size=32, captions=2, start=3)
        assert sum(write_table(order, workers)) == 20
    one, two = (table(tmp_path / name) for name in "12")
    assert [row["title"] for row in one] == [row["title"] for row in two] and len(one) == 40
    pictures = [
        {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.jpg")} for name in "12"
    ]
    assert pictures[0] == pictures[1] and len(pictures[0]) == 20


def test_one_caption_in_each_language_and_lists_of_classes(tmp_path):
    order = Order(tmp_path, 2, size=16, languages=("en", "de"), captions=0)
    assert sum(write_table(order)) == 2
    rows = table(tmp_path)
    assert [row["language"] for row in rows] == ["en", "en", "de", "de"]
    assert [row["filepath"][-5] for row in rows] == list("0101")  # a group's first captions first
    names = (tmp_path / "shapes.de.txt").read_text(encoding="utf-8").splitlines()
    assert len(names) == 121 and "roter Stern" in names
    assert (tmp_path / "things.en.txt").exists() and (tmp_path / "workers.en.txt").exists()


def test_shards_are_readable_and_the_same_twice(tmp_path):
    for name in "ab":
        assert sum(write_shards(Order(tmp_path / name, 5, size=32, format="png", captions=2))) == 5
    assert files(tmp_path / "a") == files(tmp_path / "b")
    with tarfile.open(tmp_path / "a" / "pairs-000000.tar") as shard:
        names = shard.getnames()
        about = json.load(shard.extractfile("00000000.json"))
        caption = shard.extractfile("00000000.txt").read().decode()
        picture = Image.open(shard.extractfile("00000000.png"))
        picture.load()
    assert names[:3] == ["00000000.png", "00000000.txt", "00000000.json"] and len(names) == 15
    assert caption == about["title"] == about["captions"][0] and len(about["captions"]) == 2
    assert picture.tobytes() == draw_pair(0, 0, size=32)[0].tobytes()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"count": 0}, "count is 0"),
        ({"size": 4}, "size is 4"),
        ({"format": "gif"}, "'gif'"),
        ({"split": "test"}, "'test'"),
        ({"languages": ("en", "xx")}, "'xx'"),
        ({"languages": ()}, "no language"),
    ],
)
def test_bad_orders_are_refused_before_anything_is_written(tmp_path, change, says):
    order = Order(**{"folder": tmp_path / "out", "count": 3, **change})
    with pytest.raises(ConfigError, match=says):
        list(write_table(order))
    assert not (tmp_path / "out").exists()


def test_an_unfinished_run_leaves_no_table(tmp_path):
    steps = write_table(Order(tmp_path, 2000, size=16))
    next(steps)
    steps.close()
    assert not (tmp_path / "pairs.csv").exists()
