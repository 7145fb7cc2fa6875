# ruff: noqa: E501
"""The forms in which people have captioned images: each is read right, or refused in a sentence.

A variant is the files of a folder, the source in it, and the captions that must come out in order,
each with the image that it describes; or words of the refusal.
"""

import gzip
import io
import json
import re
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nnclip.errors import NnclipError
from nnclip.sources import open_stored
from nnclip.training.data.readers import read_pairs, show_pairs

COLOURS = {"red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255)}
RGB = ["a red ball", "a green ball", "a blue ball"]


def png(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16), COLOURS[colour]).save(file, "PNG")
    return file.getvalue()


R, G, B = (png(colour) for colour in COLOURS)
IMAGES: dict[str, Any] = {"r.png": R, "g.png": G, "b.png": B}


@dataclass(frozen=True)
class Variant:
    name: str
    files: Mapping[str, Any]
    source: str
    expected: list[Any] | str
    says: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


def pack(members: list[tuple[str, Any]]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in members:
            content = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def parquet(columns: Mapping[str, list[Any]], keep: int | None = None) -> Callable[[], bytes]:
    def make() -> bytes:
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = io.BytesIO()
        pq.write_table(pa.table(dict(columns)), file, row_group_size=2)
        return file.getvalue()[:keep]

    return make


def table(name: str, content: str | bytes, expected: list[Any] | str, *rest: Any, **more: Any):
    file = more.pop("file", "t.csv")
    return Variant(name, {**IMAGES, file: content}, file, expected, *rest, options=more)


def folder(name: str, files: Mapping[str, Any], expected: list[Any] | str, *rest: Any, **more: Any):
    return Variant(
        name, {f"d/{k}": v for k, v in files.items()}, "d", expected, *rest, options=more
    )


def shard(name: str, members: list[tuple[str, Any]], expected: list[Any] | str, *rest: Any):
    return Variant(name, {"s.tar": pack(members)}, "s.tar", expected, *rest)


def document(name: str, content: Any, expected: list[Any] | str, *rest: Any, **more: Any):
    return table(
        name, json.dumps(content), expected, *rest, file=more.pop("file", "c.json"), **more
    )


PLAIN = "filepath,title\nr.png,a red ball\ng.png,a green ball\nb.png,a blue ball\n"
TABS = PLAIN.replace(",", "\t")
OWN = {"image_key": "file", "caption_key": "says"}
COCO_IMAGES = [{"id": i, "file_name": name} for i, name in enumerate(IMAGES)]
COCO_NOTES = [{"image_id": i, "caption": text} for i, text in enumerate(RGB)]
SHARD = [("1.png", R), ("1.txt", RGB[0]), ("2.png", G), ("2.txt", RGB[1]), ("3.png", B), ("3.txt", RGB[2])]  # fmt: skip
BESIDE = {"r.png": R, "r.txt": RGB[0], "g.png": G, "g.txt": RGB[1]}

TABLES = [
    table("commas", PLAIN, RGB, "a table, separated by commas: images from column filepath, captions from column title"),
    table("tabs", TABS, RGB, "separated by tabs"),
    table("semicolons", PLAIN.replace(",", ";"), RGB, "separated by semicolons"),
    table("bars", PLAIN.replace(",", "|"), RGB, "separated by bars"),
    table("a separator that is asked for", PLAIN.replace(",", "^"), RGB, separator="^"),
    table("a separator that is not there", PLAIN, "no column filepath", separator=";"),
    table("a separator of two letters", PLAIN, "found '::', expected one character", separator="::"),
    table("sep= of a spreadsheet", "sep=;\r\n" + PLAIN.replace(",", ";").replace("\n", "\r\n"), RGB),
    table("semicolons around commas", "filepath;title\nr.png;red, on a table\n", ["red, on a table"]),
    table("own columns", "n,says,file\n1,red,r.png\n", ["red"], **OWN),
    table("columns by number", "r.png,7,a red ball\ng.png,8,a green ball\n", RGB[:2], image_key="1", caption_key="3"),
    table("names as data sets have them", PLAIN.replace("filepath,title", "image,caption"), RGB, "column caption"),
    table("two captions to choose from", "filepath,text,caption\nr.png,a,b\n", "no column title.*--csv-caption-key"),
    table("a column twice", "filepath,title,title\nr.png,a,b\n", r"no column title; it has filepath, title \(2\), title \(3\)"),
    table("a column twice, by number", "filepath,title,title\nr.png,red,b\n", ["red"], caption_key="2"),
    table("spaces after commas", PLAIN.replace(",", ", "), RGB),
    table("a space before a quote", 'filepath, title\nr.png, "red, round"\n', ["red, round"]),
    table("an index without a name", ",filepath,title\n0,r.png,a red ball\n", RGB[:1]),
    table("a quoted comma", 'filepath,title\nr.png,"red, round"\n', ["red, round"]),
    table("a quoted end of a line", 'filepath,title\nr.png,"red\nand round"\ng.png,green\n', ["red\nand round", "green"]),
    table("doubled quotes", 'filepath,title\nr.png,"a ""red"" ball"\n', ['a "red" ball']),
    table("an inch", 'filepath,title\nr.png,a 5" red pipe\n', ['a 5" red pipe']),
    table("bare commas in some rows", PLAIN + "r.png,red, on a table\n", RGB, "1 row with more fields than the header.*row 5"),
    table("bare commas in most rows", "filepath,title\nr.png,red, on a table\ng.png,green, too\n", "t.csv: found no captioned image.*2 rows with more fields than the header"),
    table("bare commas beyond --max-bad", PLAIN + "r.png,red, on a table\n" * 2, "2 .*more than --max-bad 1", max_bad=1),
    table("a quote that does not close", 'filepath,title\nr.png,"a red ball\ng.png,a green ball\nb.png,a blue ball\n', RGB[1:], "1 row with a quote that does not close.*row 2"),
    table("a quote that swallows a row", 'filepath,title\nr.png,"red\ng.png,green"\nb.png,blue\n', ['green"', "blue"], "1 row with a quote that does not close"),
    table("quotes after backslashes", 'filepath,title\nr.png,"a \\"red\\" ball"\ng.png,green\nb.png,blue\n', ["green", "blue"], "1 row with a quote"),
    table("quoted tabs", 'filepath\ttitle\nr.png\t"a ""red"" ball"\n', ['a "red" ball']),
    table("stray quotes of tabs", 'filepath\ttitle\nr.png\t"red\ng.png\tgreen" is\nb.png\tblue "\n', ['"red', 'green" is', 'blue "']),
    table("a quoted tab", 'filepath\ttitle\nr.png\t"red\tround"\ng.png\tgreen\n', ["red\tround", "green"]),
    table("a quoted end of a line among tabs", 'filepath\ttitle\nr.png\t"red\nround"\n', ["red\nround"]),
    table("too few fields", PLAIN + "r.png\n", RGB, "1 row with fewer fields than the header"),
    table("empty lines", PLAIN.replace("\n", "\n\n"), RGB),
    table("empty captions", PLAIN + "r.png,\n", RGB, "1 without a caption"),
    table("nothing but a header", "filepath,title\n", "no captioned image"),
    table("an empty file", "", "t.csv"),
    table("zero bytes", PLAIN + "r.png,re\0d\n", RGB, "1 row with a zero byte"),
    table("UTF-8 with a mark", "\ufeff" + PLAIN, RGB),
    table("UTF-16", (PLAIN + "r.png,日本 red\n").encode("utf-16"), [*RGB, "日本 red"]),
    table("UTF-16 without a mark", PLAIN.encode("utf-16-le"), RGB),
    table("Windows-1252", PLAIN.replace("a green", "a très green").encode("cp1252"), "row 3.*no UTF-8.*iconv"),
    table("lines end as on Windows", PLAIN.replace("\n", "\r\n"), RGB),
    table("lines end as on old Macs", PLAIN.replace("\n", "\r"), RGB),
    table("compressed", gzip.compress(PLAIN.encode()), RGB, file="t.csv.gz"),
    table("cut while compressed", gzip.compress(PLAIN.encode() * 99)[:-9], "t.csv.gz.*cannot be read", file="t.csv.gz"),
    Variant("backslashes", {"x/r.png": R, "t.csv": "filepath,title\nx\\r.png,red\n"}, "t.csv", ["red"], "backslash"),
    table("a drive of Windows", "filepath,title\nC:\\x\\r.png,red\n", "is there.*--image-root"),
    table("another folder", "filepath,title\nno/r.png,red\n", "is there.*no/r.png.*--image-root"),
    table("addresses", "url,caption\nhttp://127.0.0.1/r.png,red\n", "fetch-pairs"),
    table("addresses for paths", "filepath,title\nhttp://127.0.0.1/r.png,red\n", "fetch-pairs"),
    table("addresses without a header", "red\thttp://127.0.0.1/r.png\n", "fetch-pairs", file="t.tsv"),
    table("Flickr's tokens", "r.png#0\ta red ball\nr.png#1\tred\n", ["a red ball", "red"], "without a header", file="t.txt"),
    table("Flickr's table", "image_name| comment_number| comment\nr.png| 0| red , round .\n", ["red , round ."]),
    table("Flickr's tokens by their own suffix", "r.png#0\ta red ball\nr.png#1\tred\n", ["a red ball", "red"], file="results.token"),
    table("a quoted header", PLAIN.replace("filepath,title", '"filepath","title"'), RGB),
    table("empty lines before the header", "\n \n" + PLAIN.replace(",", ";"), RGB),
    table("empty fields behind", PLAIN.replace("\n", ",,\n").replace("title,,", "title"), RGB),
    table("numbered captions", "image,caption_1,caption_2\nr.png,red,a red ball\n", "no column title; it has image, caption_1"),
    table("several captions in rows", "image,caption\nr.png,red\nr.png,a red ball\n", ["red", "a red ball"]),
    table("text that is Python", "image,caption\nr.png,\"['red', 'a ball']\"\n", ["['red', 'a ball']"]),
    table("names alone", "r.png\ng.png\n", "no header|no column"),
    table("a comment before the header", "# my data\n" + PLAIN, "no column filepath; it has # my data"),
    table("parquet of a WebDataset", parquet({"jpg": [R], "txt": ["red"], "json": ["{}"], "__key__": ["1"]}), ["red"], file="t.parquet"),
    table("no header and three columns", "r.png,7,a red ball\n", "no header.*--csv-img-key 1"),
    table("no table", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "t.csv"),
    table("JSON lines", '{"filepath": "r.png", "title": "red"}\n{"filepath": "g.png", "title": ["green", "g"]}\n', ["red", ("green", "g")], file="t.jsonl"),
    table("bad JSON lines", '{"filepath": "r.png", "title": "red"}\n{"filepath": "g.png"\n[]\n{"filepath": "b.png", "title": null}\n{"filepath": "b.png", "title": "blue"}\n{"filepath": "b.png", "title": "blue"}\n', ["red", "blue", "blue"], "2 rows with no JSON object.*row 2", file="t.jsonl"),
    table("compressed JSON lines", gzip.compress(b'{"image": "r.png", "caption": "red"}\n'), ["red"], file="t.jsonl.gz"),
    table("parquet with paths", parquet({"filepath": list(IMAGES), "title": RGB}), RGB, file="t.parquet"),
    table("parquet with several captions", parquet({"image": ["r.png"], "captions": [["red", "a red ball"]]}), [("red", "a red ball")], file="t.parquet"),
    table("parquet of img2dataset with images", parquet({"key": ["0", "1", "2"], "jpg": [R, G, B], "caption": [RGB[0], None, RGB[2]], "status": ["success"] * 3}), [RGB[0], RGB[2]], "column jpg", file="t.parquet"),
    table("parquet of Hugging Face", parquet({"image": [{"bytes": x, "path": None} for x in (R, G, B)], "text": RGB}), RGB, file="t.parquet"),
    table("parquet of LAION", parquet({"SAMPLE_ID": [1], "URL": ["http://127.0.0.1/r.png"], "TEXT": ["red"], "NSFW": ["UNLIKELY"]}), "fetch-pairs", file="t.parquet"),
    table("parquet without captions", parquet({"filepath": ["r.png"], "label": [1]}), "no column title; it has filepath, label", file="t.parquet"),
    table("parquet that is cut", parquet({"filepath": ["r.png"], "title": ["red"]}, -9), "t.parquet.*cannot be read", file="t.parquet"),
    Variant("a folder of parquet files", {f"d/{n}.parquet": parquet({"jpg": [x], "caption": [c]}) for n, x, c in zip("123", (R, G, B), RGB, strict=True)}, "d", RGB),
]  # fmt: skip

FOLDERS = [
    folder("captions beside", BESIDE, ["a green ball", "a red ball"], "captions from the files beside the images"),
    folder("captions beside in capitals", {"P00.PNG": R, "P00.TXT": "red"}, ["red"]),
    folder("captions beside some", {**BESIDE, "b.png": B}, ["a green ball", "a red ball"], "1 without a caption"),
    folder("captions beside some in folders", {f"x/{k}": v for k, v in {**BESIDE, "b.png": B}.items()}, ["a green ball", "a red ball"], "1 without a caption"),
    folder("captions beside most lack", {"r.png": R, "r.txt": "red", "g.png": G, "b.png": B}, "2 without a caption, more than --max-bad 1", max_bad=1),
    folder("captions beside in UTF-16", {"r.png": R, "r.txt": "日本 red".encode("utf-16")}, ["日本 red"]),
    folder("captions beside with a mark", {"r.png": R, "r.txt": "\ufeffred\n"}, ["red"]),
    folder("captions beside in Windows-1252", {**BESIDE, "b.png": B, "b.txt": "très blue".encode("cp1252")}, ["a green ball", "a red ball"], "1 damaged .txt"),
    folder("an empty text beside JSON", {"r.png": R, "r.txt": "", "r.json": '{"caption": "red"}'}, ["red"]),
    folder("JSON without a caption beside text", {"r.png": R, "r.json": '{"width": 9}', "r.txt": "red"}, ["red"]),
    folder("a caption of null", {"r.png": R, "r.json": '{"caption": null}', "g.png": G, "g.txt": "green"}, ["green"], "1 without a caption"),
    folder("a caption of a number", {"r.png": R, "r.json": '{"caption": 7}', "g.png": G, "g.txt": "green"}, ["green"], "1 damaged .json"),
    folder("a folder for each class", {"a_red_ball/1.png": R, "a_green_ball/1.png": G}, ["a green ball", "a red ball"], "captions from the names of 2 folders"),
    folder("one folder of images", {"red_images/r.png": R, "red_images/s.png": R}, ["red images"] * 2, "the name of 1 folder: all are 'red images'"),
    folder("a table beside a folder", {"images/r.png": R, "captions.csv": "image,caption\nr.png,red\n"}, "captions.csv"),
    folder("no captions at all", {"r.png": R, "g.png": G}, "no captioned image"),
    folder("Hugging Face's csv", {"r.png": R, "x/g.png": G, "metadata.csv": "file_name,text\nr.png,a red ball\nx/g.png,a green ball\n"}, RGB[:2], "a Hugging Face image folder: captions from metadata.csv, column text"),
    folder("Hugging Face's JSON lines", {"r.png": R, "metadata.jsonl": '{"file_name": "r.png", "caption": "red"}\n'}, ["red"], "metadata.jsonl, column caption"),
    folder("Hugging Face's parquet", {"r.png": R, "metadata.parquet": parquet({"file_name": ["r.png"], "text": ["red"]})}, ["red"]),
    folder("Hugging Face's split", {"train/r.png": R, "train/metadata.csv": "file_name,text\nr.png,red\n"}, ["red"]),
    folder("Hugging Face's splits", {f"{s}/{k}": v for s in ("train", "test") for k, v in {"r.png": R, "metadata.csv": "file_name,text\nr.png,red\n"}.items()}, ["red"], "the split train of test, train"),
    folder("Hugging Face without captions", {"r.png": R, "metadata.csv": "file_name,label\nr.png,1\n"}, "metadata.csv: no column title; it has file_name, label"),
    folder("Hugging Face with an image too many", {"r.png": R, "g.png": G, "metadata.csv": "file_name,text\nr.png,red\n"}, ["red"], "1 image that metadata.csv does not name"),
    folder("hidden files of Macs", {**BESIDE, "._r.png": b"\0\5\x16\7", "._r.txt": b"\0\5\x16\7", ".DS_Store": b"x"}, ["a green ball", "a red ball"], "2 ._ files of macOS"),
    folder("text that belongs to no image", {**BESIDE, "readme.txt": "x"}, ["a green ball", "a red ball"], "1 .txt not read"),
    folder("one text for two images", {"r.png": R, "r.bmp": R, "r.txt": "red"}, ["red", "red"]),
    folder("classes in folders in folders", {"x/red_ball/1.png": R, "y/green_ball/1.png": G}, ["red ball", "green ball"], "2 folders"),
    folder("splits of classes", {"train/red/1.png": R, "train/more_red/1.png": R, "test/blue/1.png": B}, ["more red", "red"], "the split train of test, train, a folder: captions from the names of 2 folders"),
    folder("splits of classes for validation", {"train/red/1.png": R, "val/blue/1.png": B, "val/more_blue/1.png": B}, ["blue", "more blue"], split="validation"),
    folder("parquet of splits", {f"{n}-00000-of-00001.parquet": parquet({"image": [{"bytes": x, "path": "x"}], "text": [n + c]}) for n, x, c in (("train", R, " red"), ("test", B, " blue"))}, ["train red"]),
    folder("shards of splits", {"train_0.tar": pack(SHARD[:2]), "val_0.tar": pack(SHARD[2:])}, ["a green ball", "a blue ball"], split="validation"),
    folder("a table beside images", {"r.png": R, "g.png": G, "captions.csv": "image,caption\nr.png,red\n"}, "captions.csv; name the table itself"),
    folder("nothing", {"x.mp4": b""}, "no captioned image.*1 .mp4"),
    folder("compressed shards", {"1.tar.gz": gzip.compress(pack(SHARD))}, "1.tar.gz.*gunzip"),
    folder("shards of which one is empty", {"1.tar": b"", "2.tar": pack(SHARD)}, RGB, r"1 empty \.tar"),
]  # fmt: skip

SHARDS = [
    shard("images and texts", SHARD, RGB, "captions from .txt"),
    shard("JSON and text", [("1.json", '{"caption": "red", "url": "x"}'), ("1.png", R), ("1.txt", "red")], ["red"]),
    shard("JSON without a caption", [("1.json", '{"url": "x"}'), ("1.png", R), ("1.txt", "red")], ["red"]),
    shard("a caption of null", [*SHARD, ("4.png", R), ("4.json", '{"caption": null}')], RGB, "1 without a caption"),
    shard("an empty text", [*SHARD, ("4.png", R), ("4.txt", " \n")], RGB, "1 without a caption"),
    shard("bad JSON", [*SHARD, ("4.png", R), ("4.json", '{"caption": ')], RGB, r"1 damaged \.json.*s\.tar/4\.json"),
    shard("several captions", [("1.png", R), ("1.json", '{"captions": ["red", "a ball"]}'), ("1.txt", "red")], [("red", "a ball")]),
    shard("dots in names", [("r.v2.png", R), ("r.v2.txt", "red"), ("r.v3.png", R), ("r.v3.txt", "more red")], ["red", "more red"]),
    shard("masks beside images", [("1.png", R), ("1.mask.png", B), ("1.txt", "red")], ["red"], r"1 \.png not read"),
    shard("images first, then texts", SHARD[::2] + SHARD[1::2], RGB),
    shard("folders", [("x/1.png", R), ("x/1.txt", "red"), ("y/1.png", G), ("y/1.txt", "green")], ["red", "green"]),
    shard("dots and slashes", [("./x.y/1.png", R), ("./x.y/1.txt", "red")], ["red"]),
    shard("suffixes of many kinds", [("1.JPEG", R), ("1.json", '{"caption": "red"}'), ("2.webp", G), ("2.txt", "green"), ("3.png", B), ("3.caption", "blue")], ["red", "green", "blue"]),
    shard("texts named by the whole image", [("1.png", R), ("1.png.txt", "red")], r"no captioned image.*1 \.txt"),
    shard("capitals", [("1.PNG", R), ("1.TXT", "red")], ["red"]),
    shard("a caption with a zero byte", [*SHARD, ("4.png", R), ("4.txt", "re\0d")], RGB, r"1 damaged \.txt"),
    shard("half a character", [*SHARD, ("4.png", R), ("4.json", '{"caption": "\\ud83d red"}')], RGB, r"1 damaged \.json"),
    shard("UTF-16", [("1.png", R), ("1.txt", "日本 red".encode("utf-16"))], ["日本 red"]),
    shard("hidden files of Macs", [("./._1.png", b"x"), *SHARD], RGB),
    shard("a member twice", [*SHARD, ("1.txt", "again red")], ["again red", *RGB[1:]], r"1 \.txt written over"),
    Variant("compressed", {"s.tar.gz": gzip.compress(pack(SHARD))}, "s.tar.gz", "s.tar.gz.*gunzip"),
    Variant("an empty shard alone", {"s.tar": b""}, "s.tar", r"s.tar.*1 empty \.tar"),
    Variant("cut", {"s.tar": pack(SHARD)[:2600]}, "s.tar", "s.tar.*cannot be read"),
    Variant("damaged in its middle", {"s.tar": pack(SHARD)[:2048] + b"x" * 512 + pack(SHARD)[2048:]}, "s.tar", "s.tar.*damaged"),
    Variant("two in one file", {"s.tar": pack(SHARD) + pack(SHARD)}, "s.tar", "s.tar.*after its end"),
    Variant("one that is missing", {"s-0.tar": pack(SHARD)}, "s-{0..1}.tar", "s-1.tar"),
]  # fmt: skip

DOCUMENTS = [
    document("COCO", {"images": COCO_IMAGES, "annotations": COCO_NOTES}, RGB, "COCO's captions"),
    document("COCO's own folder", {"images": COCO_IMAGES[:2], "annotations": COCO_NOTES}, RGB[:2], "1 caption of an image that is not in `images`.*image_id 2"),
    document("COCO with a caption of null", {"images": COCO_IMAGES, "annotations": [*COCO_NOTES[:2], {"image_id": 2, "caption": None}]}, RGB[:2], "1 without a caption"),
    document("COCO's boxes", {"images": COCO_IMAGES, "annotations": [{"image_id": 0, "bbox": [1, 2, 3, 4]}]}, "no captions.*captions_train"),
    document("COCO without names", {"images": [{"id": 1}], "annotations": COCO_NOTES}, "file_name"),
    document("Karpathy", {"images": [{"filename": "r.png", "split": "train", "sentences": [{"raw": "red"}, {"raw": "a red ball"}]}, {"filename": "g.png", "split": "test", "sentences": [{"raw": "green"}]}]}, [("red", "a red ball")], "Karpathy's split: 1 image of train, restval"),
    document("Karpathy for validation", {"images": [{"filename": "r.png", "split": "train", "sentences": [{"raw": "red"}]}, {"filename": "g.png", "split": "val", "sentences": [{"raw": "green"}]}]}, ["green"], split="validation"),
    document("Karpathy without splits", {"images": [{"filename": "r.png", "sentences": [{"raw": "red"}]}]}, "split"),
    document("a list of records", [{"image": "r.png", "caption": "red"}, {"image": "g.png", "caption": ["green", "a ball of green"]}], ["red", ("green", "a ball of green")]),
    document("records with two captions", [{"image": "r.png", "caption": "red", "text": "a"}], "no column title.*--csv-caption-key"),
    document("a list of texts", ["red", "green"], "c.json"),
    document("captions by name", {"r.png": "red"}, "c.json.*neither"),
    document("a number", 7, "c.json.*neither"),
    table("JSON lines named .json", '{"image": "r.png", "caption": "red"}\n{"image": "g.png", "caption": "green"}\n', ["red", "green"], file="c.json"),
    table("JSON with a mark", "\ufeff" + json.dumps([{"image": "r.png", "caption": "red"}]), ["red"], file="c.json"),
    table("no JSON", "{'image': 1}", "c.json.*JSON", file="c.json"),
]  # fmt: skip

VARIANTS = [
    pytest.param(it, id=f"{kind}: {it.name}")
    for kind, group in (
        ("table", TABLES),
        ("folder", FOLDERS),
        ("shard", SHARDS),
        ("document", DOCUMENTS),
    )
    for it in group
]


def lay_out(root: Path, files: Mapping[str, Any]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = content() if callable(content) else content
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def colour_of(image: Image.Image) -> str:
    found = image.convert("RGB").getpixel((5, 5))
    return next(name for name, colour in COLOURS.items() if colour == found)


@pytest.mark.parametrize("it", VARIANTS)
def test_it_is_read_right_or_refused(it: Variant, tmp_path: Path, caplog) -> None:
    lay_out(tmp_path, it.files)
    caplog.set_level("INFO")
    if isinstance(it.expected, str):
        with pytest.raises(NnclipError, match=it.expected) as refused:
            show_pairs(it.source, read_pairs(str(tmp_path / it.source), **it.options))
        assert str(refused.value).count("t.csv: ") <= 1  # said once
        return
    found = read_pairs(str(tmp_path / it.source), **it.options)
    pairs = [found[row] for row in range(len(found))]
    expected = [one if isinstance(one, tuple) else (one,) for one in it.expected]
    assert [pair.captions for pair in pairs] == expected
    for pair in pairs:
        assert colour_of(open_stored(pair)) in pair.captions[0]
    assert re.search(it.says, caplog.text), caplog.text
