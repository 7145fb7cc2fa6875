# ruff: noqa: E501
"""Lists of addresses and files of captions, as people have them: right, or refused in a sentence."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from nnclip.cli import main
from nnclip.errors import DataError
from nnclip.sources.texts import read_texts
from nnclip.training.data.fetch import FetchOrder, read_addresses
from tests.sources.test_variants import (  # fmt: skip
    BESIDE,
    COCO_IMAGES,
    COCO_NOTES,
    SHARD,
    lay_out,
    pack,
    parquet,
)

U, V = "http://127.0.0.1/1.jpg", "https://127.0.0.1/2.jpg?a=b,c"
BOTH = [(U, "a red ball"), (V, "a blue ball")]
LAION = "SAMPLE_ID,URL,TEXT,HEIGHT,WIDTH,LICENSE,NSFW,similarity\n"
IMG2DATASET: dict[str, list[Any]] = {
    "url": [U, V],
    "caption": ["a red ball", "a blue ball"],
    "key": ["000000000", "000000001"],
    "status": ["success", "failed_to_download"],
}

ADDRESSES: list[tuple[str, str, Any, Any, dict[str, Any]]] = [
    ("captions first, no header", "t.tsv", f"a red ball\t{U}\na blue ball\t{V}\n", BOTH, {}),
    ("addresses first, no header", "t.tsv", f"{U}\ta red ball\n{V}\ta blue ball\n", BOTH, {}),
    ("an index without a name", "t.csv", f',url,caption\n0,{U},a red ball\n1,"{V}",a blue ball\n', BOTH, {}),
    ("LAION's columns", "t.csv", f'{LAION}17,{U},a red ball,9,9,?,UNLIKELY,0.3\n18,"{V}",a blue ball,9,9,?,NSFW,0.3\n', BOTH, {}),
    ("LAION's parquet", "t.parquet", parquet({"SAMPLE_ID": [1, 2], "URL": [U, V], "TEXT": ["a red ball", "a blue ball"], "NSFW": ["UNLIKELY", None]}), BOTH, {}),
    ("img2dataset's parquet", "t.parquet", parquet(IMG2DATASET), BOTH, {}),
    ("JSON lines", "t.jsonl", "".join(json.dumps({"url": u, "text": t, "id": 1}) + "\n" for u, t in BOTH), BOTH, {}),
    ("compressed", "t.tsv.gz", gzip.compress(f"a red ball\t{U}\na blue ball\t{V}\n".encode()), BOTH, {}),
    ("keys between, no header", "t.tsv", f"{U}\t0001\ta red ball\n", "no header.*--caption-column 1", {}),
    ("keys between, by number", "t.tsv", f"{U}\t0001\ta red ball\n", BOTH[:1], {"url_column": "1", "caption_column": "3"}),
    ("any other column", "t.csv", f"query,url\na red ball,{U}\n", BOTH[:1], {}),
    ("two captions to choose from", "t.csv", f"url,caption,text\n{U},a,b\n", "no one column of captions.*--caption-column", {}),
    ("two captions, one is named", "t.csv", f"url,caption,text\n{U},a,a red ball\n", BOTH[:1], {"caption_column": "text"}),
    ("two addresses to choose from", "t.csv", f"a,b,caption\n{U},{V},red\n", "no one column of addresses.*--url-column", {}),
    ("a column that is not there", "t.csv", f"url,caption\n{U},red\n", "no column alt; it has url, caption", {"caption_column": "alt"}),
    ("bare commas", "t.csv", f"url,caption\n{U},a red ball\n{V},blue\n", BOTH[:1], {}),
    ("bare commas beyond --max-bad", "t.csv", f"url,caption\n{U},red\n{V},blue\n", "1 row with more fields.*--max-bad 0", {"max_bad": 0}),
    ("rows without an address", "t.csv", f"url,caption\n{U},a red ball\nfile:///etc/passwd,x\n", BOTH[:1], {}),
    ("bare commas in most rows", "t.csv", f"url,caption\n{U},red\n{U},red, round\n{U},red, flat\n", "2 of 3", {}),
    ("no addresses", "t.tsv", "caption\turl\n", "no line with a caption and an address", {}),
    ("images, not addresses", "t.csv", "filepath,title\nr.png,red\n", "no one column of addresses", {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "content", "expected", "given"),
    [it[1:] for it in ADDRESSES],
    ids=[it[0] for it in ADDRESSES],
)
def test_a_list_of_addresses(tmp_path: Path, file, content, expected, given) -> None:
    lay_out(tmp_path, {file: content})
    order = FetchOrder(tmp_path / "out", **given)
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            list(read_addresses(tmp_path / file, order))
    else:
        assert list(read_addresses(tmp_path / file, order)) == expected


TEXTS: list[tuple[str, dict[str, Any], str, Any, str]] = [
    ("lines", {"t.txt": "one, two\nthree\n"}, "t.txt", ["one, two", "three"], ""),
    ("lines in UTF-16", {"t.txt": "日本\nthree\n".encode("utf-16")}, "t.txt", ["日本", "three"], ""),
    ("lines of an unknown suffix", {"t.captions": "one\n"}, "t.captions", ["one"], ""),
    ("a table", {"t.csv": 'filepath,title\nr.png,"red, round"\n'}, "t.csv", ["red, round"], ""),
    ("a table of captions alone", {"t.csv": "title\nred\n"}, "t.csv", ["red"], ""),
    ("a table named as text", {"t.txt": "image,caption\nr.png,red\n"}, "t.txt", ["red"], ""),
    ("Flickr's tokens", {"t.txt": "r.png#0\tred\n"}, "t.txt", ["red"], ""),
    ("a column", {"t.tsv": 'a\tb\n1\t"a ""red"" ball"\n'}, "t.tsv", ['a "red" ball'], "b"),
    ("a column that is not there", {"t.csv": "image,caption\n1,x\n"}, "t.csv", "no column title; it has image, caption", "title"),
    ("bare commas", {"t.csv": "filepath,title\nr.png,red, round\n"}, "t.csv", "1 row with more fields than the header", ""),
    ("COCO", {"c.json": json.dumps({"images": COCO_IMAGES, "annotations": COCO_NOTES})}, "c.json", ["a red ball", "a green ball", "a blue ball"], ""),
    ("JSON lines", {"t.jsonl": '{"text": "red"}\n{"text": ["a", "b"]}\n'}, "t.jsonl", ["red", "a", "b"], ""),
    ("parquet", {"t.parquet": parquet({"url": [U], "caption": ["red"]})}, "t.parquet", ["red"], ""),
    ("a folder", {f"d/{k}": v for k, v in BESIDE.items()}, "d", ["a green ball", "a red ball"], ""),
    ("shards", {"s.tar": pack(SHARD)}, "s.tar", ["a red ball", "a green ball", "a blue ball"], ""),
    ("nothing", {}, "none.txt", "none.txt: cannot be read", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("files", "source", "expected", "column"), [it[1:] for it in TEXTS], ids=[it[0] for it in TEXTS]
)
def test_captions_for_a_vocabulary(tmp_path: Path, files, source, expected, column) -> None:
    lay_out(tmp_path, files)
    texts = read_texts(str(tmp_path / source), column, "", 0)
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            list(texts)
    else:
        assert [text.strip() for text in texts] == expected


def test_commands_say_what_they_took_a_list_for(tmp_path: Path, caplog) -> None:
    lay_out(tmp_path, {"t.csv": "image,caption\nr.png,red red red\n"})
    command = ["train-tokenizer", str(tmp_path / "t.csv"), "-o", str(tmp_path / "v.json")]
    assert main(command) == 0
    found = "t.csv: found a table, separated by commas: captions from column caption"
    assert found in caplog.text
