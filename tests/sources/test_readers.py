"""Every kind of source gives every consumer the same images; what is passed over is counted."""

import io
import json
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from nnclip.errors import DataError
from nnclip.evaluate.captioned import read_captioned
from nnclip.evaluate.labelled import read_labelled
from nnclip.image import NotRead, image_suffixes, open_image
from nnclip.search.sources import list_items
from nnclip.sources import Ask, Found, open_stored, read_source
from nnclip.training.data.readers import read_pairs

COLOURS = {"red": (255, 0, 0), "blue": (0, 0, 255)}


def png(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), COLOURS[colour]).save(file, "PNG")
    return file.getvalue()


def folder(root: Path) -> Path:
    for colour in COLOURS:
        (root / f"a_{colour}").mkdir(parents=True)
        (root / f"a_{colour}" / "1.png").write_bytes(png(colour))
        (root / f"a_{colour}" / "1.txt").write_text(f"a {colour} square")
    return root


def table(root: Path) -> Path:
    folder(root)
    rows = [f"a_{c}/1.png\ta {c} square\ta_{c}" for c in COLOURS]
    (root / "t.tsv").write_text("\n".join(["filepath\ttitle\tlabel", *rows]) + "\n")
    return root / "t.tsv"


def shard(root: Path) -> Path:
    root.mkdir()
    with tarfile.open(root / "s.tar", "w") as tar:
        for number, colour in enumerate(COLOURS):
            for suffix, content in (
                ("png", png(colour)),
                ("txt", f"a {colour} square".encode()),
                ("cls", f"a_{colour}".encode()),
            ):
                member = tarfile.TarInfo(f"{number:03d}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return root / "s.tar"


def coco(root: Path) -> Path:
    folder(root)
    images = [{"id": i, "file_name": f"a_{c}/1.png"} for i, c in enumerate(COLOURS)]
    notes = [{"image_id": i, "caption": f"a {c} square"} for i, c in enumerate(COLOURS)]
    (root / "c.json").write_text(json.dumps({"images": images, "annotations": notes}))
    return root / "c.json"


def karpathy(root: Path) -> Path:
    folder(root)
    images = [
        {"split": "test", "filename": f"a_{c}/1.png", "sentences": [{"raw": f"a {c} square"}]}
        for c in COLOURS
    ]
    restval = [{**image, "split": "restval"} for image in images]
    (root / "k.json").write_text(json.dumps({"images": [*images, *restval]}))
    return root / "k.json"


def planes() -> np.ndarray:
    return np.stack([np.repeat(np.array(c, np.uint8), 1024) for c in COLOURS.values()])


def cifar_binary(root: Path) -> Path:
    root.mkdir()
    (root / "batches.meta.txt").write_text("\n".join(f"a_{c}" for c in COLOURS))
    rows = np.c_[np.arange(2, dtype=np.uint8), planes()].tobytes()
    (root / "test_batch.bin").write_bytes(rows)
    for number in range(1, 6):
        (root / f"data_batch_{number}.bin").write_bytes(rows)
    return root


def cifar_python(root: Path) -> Path:
    root.mkdir()
    names = {"fine_label_names": [f"a_{c}" for c in COLOURS]}
    rows = {"data": planes(), "fine_labels": [0, 1]}
    for name, content in (("meta", names), ("test", rows), ("train", rows)):
        (root / name).write_bytes(pickle.dumps(content, protocol=2))
    return root


KINDS = [folder, table, shard, coco, karpathy, cifar_binary, cifar_python]


def colour_of(image: Image.Image) -> str:
    found = image.convert("RGB").getpixel((5, 5))
    return next(name for name, colour in COLOURS.items() if colour == found)


@pytest.fixture(params=KINDS, ids=lambda make: make.__name__)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return request.param(tmp_path / "data")


def test_it_is_embedded(source: Path) -> None:
    items = list_items([str(source)])
    read = [colour_of(open_image(item.read()[0])) for item in items]
    assert set(read) == set(COLOURS) and len({item.image for item in items}) == len(items)


def test_it_is_trained_on(source: Path) -> None:
    pairs = read_pairs(str(source))
    for row in range(len(pairs)):
        words = " ".join(pairs[row].captions)
        assert colour_of(open_stored(pairs[row])) in words
    assert len(pairs) >= 2


def test_its_captions_are_evaluated(source: Path) -> None:
    data = read_captioned(source)
    for text, place in zip(data.texts, data.image_of_text, strict=True):
        assert colour_of(open_stored(data.paths[place])) in text
    assert len(data.texts) == 2


@pytest.mark.parametrize(
    "make", [folder, table, shard, cifar_binary, cifar_python], ids=lambda make: make.__name__
)
def test_its_classes_are_evaluated(make: Callable[[Path], Path], tmp_path: Path) -> None:
    data = read_labelled(make(tmp_path / "data"))
    for source, label in zip(data.sources, data.labels, strict=True):
        assert colour_of(open_stored(source)) in data.classes[label]
    assert len(data.classes) == 2


def test_what_is_passed_over_is_counted_for_everybody(tmp_path: Path, caplog) -> None:
    root = folder(tmp_path / "data")
    for name in ("b.svg", "c.SVG", "d.mp4", "e"):
        (root / "a_red" / name).write_text("x")
    expected = {".svg": 2, ".mp4": 1, "without a suffix": 1}
    embedded = NotRead()
    list_items([str(root)], not_read=embedded)
    assert embedded == {**expected, ".txt": 2}  # captions are nothing to embed
    assert str(embedded) == "2 .svg, 2 .txt, 1 .mp4, 1 without a suffix not read"
    assert read_pairs(str(root)).not_read == expected
    assert read_captioned(root).not_read == expected
    assert read_labelled(root).not_read == {**expected, ".txt": 2}
    assert caplog.text.count("2 .svg, 1 .mp4, 1 without a suffix not read") == 2


def test_folders_that_cannot_be_entered_are_counted(tmp_path: Path, monkeypatch) -> None:
    root = folder(tmp_path / "data")
    (root / "again").symlink_to(root)
    scan = os.scandir

    def scandir(path):
        if str(path).endswith("a_red"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = Found()
    assert len(list(read_source(root, Ask(), found))) == 1
    assert found.not_read == {"unreadable folder": 1, "linked folder": 1, ".txt": 1}
    assert found.not_read.closed == [str(root / "a_red")]


def test_damaged_captions_are_counted_and_a_fifo_is_none(tmp_path: Path) -> None:
    root = folder(tmp_path / "data")
    for name, text in (("2", "{"), ("3", "[" * 100_000), ("4", '"text"')):
        (root / f"{name}.png").write_bytes(png("red"))
        (root / f"{name}.json").write_text(text)
    (root / "5.png").write_bytes(png("red"))
    os.mkfifo(root / "5.txt")
    with open(root / "6.txt", "wb") as file:
        file.truncate(40 << 30)
    (root / "6.png").write_bytes(png("red"))
    pairs = read_pairs(str(root))
    assert len(pairs) == 2 and pairs.dropped == 5
    assert pairs.not_read == {"damaged .json": 3, "damaged .txt": 1, ".txt": 1}


def test_a_shard_passes_over_links_masks_and_large_headers(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name, content in (("1.jpg", png("red")), ("1.mask.png", png("blue")), ("1.txt", b"a")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("2.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    pairs = read_pairs(str(tmp_path / "s.tar"))
    assert [colour_of(open_stored(pairs[row])) for row in range(len(pairs))] == ["red"]
    assert pairs.not_read == {".png": 1, "links and special files in tar files": 1}
    assert len(list_items([str(tmp_path / "s.tar")])) == 2
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 40 << 30
    with open(tmp_path / "bomb.tar", "wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        file.truncate(41 << 30)
    with pytest.raises(DataError, match=r"bomb\.tar: cannot be read as a tar file"):
        list_items([str(tmp_path / "bomb.tar")])


def test_a_table_is_told_by_its_header_under_any_suffix(tmp_path: Path) -> None:
    table(tmp_path / "data")
    (tmp_path / "data" / "t.tsv").rename(tmp_path / "data" / "list.pairs")
    assert len(read_pairs(str(tmp_path / "data" / "list.pairs"))) == 2
    (tmp_path / "drawing.svg").write_text("<svg/>\n")
    with pytest.raises(DataError, match=r"found a file that ends in \.svg, expected"):
        read_pairs(str(tmp_path / "drawing.svg"))


@pytest.mark.parametrize("name", ["zero.csv", "zero.json", "zero.tar", "zero.png"])
def test_a_sparse_source_ends_in_a_sentence(tmp_path: Path, name: str) -> None:
    with open(tmp_path / name, "wb") as file:
        file.truncate(40 << 30)
    with pytest.raises(DataError, match="zero"):
        read_pairs(str(tmp_path / name))


def test_a_table_names_files_that_are_no_utf8_in_the_escaped_form(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png("red"))
    os.rename(tmp_path / "x.png", os.fsencode(tmp_path) + b"/caf\xe9.png")
    (tmp_path / "t.csv").write_text("filepath,title\ncaf\\xe9.png,a\n")
    assert colour_of(open_stored(read_pairs(str(tmp_path / "t.csv"))[0])) == "red"


def test_a_format_that_a_plugin_brings_is_listed_and_read(tmp_path: Path, monkeypatch) -> None:
    class Made(ImageFile.ImageFile):
        format = "MADE"

        def _open(self) -> None:
            self._size, self._mode = (4, 4), "L"
            self.tile = [ImageFile._Tile("raw", (0, 0, 4, 4), 4, ("L", 0, 1))]

    assert ".made" not in image_suffixes()
    monkeypatch.setattr(Image, "ID", [*Image.ID])
    for name in ("OPEN", "EXTENSION"):
        monkeypatch.setattr(Image, name, dict(getattr(Image, name)))
    Image.register_open("MADE", Made, lambda start: start.startswith(b"MADE"))
    Image.register_extension("MADE", ".made")
    (tmp_path / "a.made").write_bytes(b"MADE" + bytes(range(16)))
    (item,) = list_items([str(tmp_path)])
    assert open_image(item.read()[0]).size == (4, 4)


def test_suffixes_are_those_of_images_made_of_pixels() -> None:
    known = image_suffixes()
    usual = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".mpo"}
    assert known > usual | {".jp2", ".tga", ".ico", ".avif", ".qoi"}
    assert not known & {
        ".eps",
        ".ps",
        ".pdf",
        ".wmf",
        ".emf",
        ".mpg",
        ".h5",
        ".hdf",
        ".grib",
        ".palm",
    }


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is PostScript"),
        (b"%PDF-1.7\n", "is a document"),
        (b"\0\0\1\xb3\x04\x00\x40" + bytes(20), "is a film"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "is a container of arrays"),
        (b"GRIB\0\0\0\1" + bytes(20), "is a container of weather data"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1", "is HEIC, which libheif cannot read"),
    ],
)
def test_what_is_no_image_of_pixels_is_named(content: bytes, says: str) -> None:
    with pytest.raises(DataError, match=says):
        open_image(content)
