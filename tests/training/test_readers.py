"""Every form in which captioned images come."""

import json
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from nnclip.errors import DataError
from nnclip.training.data.decode import read_picture
from nnclip.training.data.readers import read_pairs, shard_paths
from tests.lazy import lazy

webdataset = lazy("webdataset")  # imports torch


def picture(path: Path, colour: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(path)
    return path


def test_a_tab_separated_table(pairs_csv: Path) -> None:
    table = read_pairs(str(pairs_csv))
    assert len(table) == 40
    assert table[3].path == str(pairs_csv.parent / "images/3.png")
    assert table[3].captions == ("image number 3 of a few",)


def test_a_comma_separated_table_with_its_own_columns_and_root(tmp_path: Path) -> None:
    picture(tmp_path / "deep" / "a.png")
    (tmp_path / "t.csv").write_text('\ufeffurl,text,file\nx,"one, two",a.png\n', encoding="utf-8")
    root = str(tmp_path / "deep")
    table = read_pairs(str(tmp_path / "t.csv"), root, "file", "text")
    assert table[0].captions == ("one, two",)
    assert read_picture(table[0]).size == (8, 8)


def test_stray_quotes_of_a_tab_separated_table_are_kept(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('filepath\ttitle\na.png\t"so\nb.png\tit" is\n')
    table = read_pairs(str(tmp_path / "t.csv"))
    assert [table[i].captions for i in range(len(table))] == [('"so',), ('it" is',)]


def test_paths_may_begin_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(tmp_path / "images" / "a.png")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "t.csv").write_text("filepath\ttitle\nimages/a.png\tred\n")
    monkeypatch.chdir(tmp_path)
    assert read_picture(read_pairs("lists/t.csv")[0]).size == (8, 8)


def test_empty_captions_are_counted_and_left_out(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("filepath\ttitle\na.png\t\nb.png\tred\nc.png\t  \n")
    table = read_pairs(str(tmp_path / "t.csv"))
    assert len(table) == 1 and table.dropped == 2


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file\ttitle\na.png\tred\n")
    with pytest.raises(DataError, match=r"no column filepath; it has file, title"):
        read_pairs(str(tmp_path / "t.csv"))


def test_a_list_of_addresses_is_told_what_to_do_first(tmp_path: Path) -> None:
    """Conceptual Captions as it is published: captions and addresses, no header."""
    (tmp_path / "t.tsv").write_text("a red ball\thttp://127.0.0.1/a.jpg\n")
    with pytest.raises(DataError, match=r"first run nnclip fetch-pairs"):
        read_pairs(str(tmp_path / "t.tsv"))


@pytest.mark.parametrize("content", [b"", b"filepath\ttitle\n", b"\xff\xfe\x00"])
def test_a_table_without_pairs_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"t\.csv"):
        read_pairs(str(tmp_path / "t.csv"))


def test_coco_gives_one_pair_a_picture_or_one_a_caption(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "b.jpg"}],
        "annotations": [
            {"image_id": 7, "caption": "one"},
            {"image_id": 8, "caption": "three"},
            {"image_id": 7, "caption": "two"},
        ],
    }
    path = tmp_path / "captions.json"
    path.write_text(json.dumps(content))
    table = read_pairs(str(path), "/photos")
    assert [table[i].captions for i in range(len(table))] == [("one", "two"), ("three",)]
    assert table[0].path == "/photos/a.jpg"
    assert len(read_pairs(str(path), every_caption=True)) == 3
    path.write_text('{"images": []}')
    with pytest.raises(DataError, match="annotations"):
        read_pairs(str(path))


def test_a_folder_names_pictures_by_class_or_by_files_beside_them(tmp_path: Path) -> None:
    """Never both: a folder's name is no caption among captions."""
    picture(tmp_path / "hot_dog" / "two.png")
    assert read_pairs(str(tmp_path))[0].captions == ("hot dog",)
    picture(tmp_path / "one.jpg")
    (tmp_path / "one.txt").write_text("a red square\n")
    table = read_pairs(str(tmp_path))
    assert table[0].captions == ("a red square",) and (len(table), table.dropped) == (1, 1)


def stream(path: Path) -> list[dict[str, bytes]]:
    """The samples of a shard as the library reads them."""
    with open(path, "rb") as file:
        files = webdataset.tariterators.tar_file_expander([{"url": str(path), "stream": file}])
        return list(webdataset.tariterators.group_by_keys(files))


@pytest.mark.torch
def test_shards_of_the_library_are_read_where_they_lie(tmp_path: Path) -> None:
    with webdataset.ShardWriter(str(tmp_path / "s-%03d.tar"), maxcount=4, verbose=0) as writer:
        for number in range(10):
            file = picture(tmp_path / "p.png", f"#{number:02x}0000")
            writer.write(
                {"__key__": f"{number:04d}", "png": file.read_bytes(), "txt": f"number {number}"}
            )
    table = read_pairs(str(tmp_path / "s-{000..002}.tar"))
    assert len(shard_paths(str(tmp_path))) == 3 and len(table) == 10
    streamed = [sample for path in shard_paths(str(tmp_path)) for sample in stream(path)]
    for pair, sample in zip(map(table.__getitem__, range(10)), streamed, strict=True):
        assert pair.captions == (sample["txt"].decode(),)
        assert read_picture(pair) == Image.open(BytesIO(sample["png"]))


@pytest.mark.torch
def test_a_list_of_captions_in_a_shard_wins(tmp_path: Path) -> None:
    with webdataset.TarWriter(str(tmp_path / "s.tar")) as writer:
        content = picture(tmp_path / "p.jpg").read_bytes()
        about = {"captions": ["one", "two"]}
        writer.write({"__key__": "a", "jpg": content, "json": about, "txt": "one"})
    assert read_pairs(str(tmp_path / "s.tar"))[0].captions == ("one", "two")


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    (tmp_path / "s.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(DataError, match=r"s\.tar"):
        read_pairs(str(tmp_path / "s.tar"))
