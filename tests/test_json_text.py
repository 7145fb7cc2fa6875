"""JSON that somebody else has written: bounds, and sentences that stay short."""

from collections import OrderedDict
from pathlib import Path

import pytest

from nnclip.errors import CheckpointError, DownloadError
from nnclip.json_text import brief, parse_json, read_json


def test_json_in_utf_8_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": [1, 2.5, "ä", null]}', encoding="utf-8")
    assert read_json(tmp_path / "a.json") == {"a": [1, 2.5, "ä", None]}


BAD = {
    "no JSON": (b"{", "Expecting"),
    "no UTF-8": (b'"\xff"', "utf-8"),
    "deep lists": (b"[" * 65 + b"]" * 65, "more than 64 levels"),
    "very deep lists": (b"[" * 100_000 + b"]" * 100_000, "more than 64 levels"),
    "deep objects": (b'{"a":' * 65 + b"1" + b"}" * 65, "more than 64 levels"),
    "a key twice": (b'{"b": {"a": 1, "c": 2, "a": 3}}', "key 'a' twice"),
    "a number of a million digits": (b"1" * 1_000_000, "digits"),
    "too much": (b" " * (8 << 20) + b"11", "expected at most 8 MB"),
}


@pytest.mark.parametrize("kind", BAD)
def test_other_json_is_a_sentence(kind: str, tmp_path: Path) -> None:
    content, words = BAD[kind]
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_json(tmp_path / "a.json")


def test_many_keys_are_compared_at_once() -> None:
    pairs = ", ".join(f'"{i}": 0' for i in range(200_000))
    with pytest.raises(ValueError, match="key '199999' twice"):
        parse_json(f'{{{pairs}, "199999": 1}}')


def test_what_is_shown_is_short_before_it_is_made() -> None:
    doubled: object = 1
    for _ in range(60):
        doubled = (doubled, OrderedDict(a=doubled))
    for value in (doubled, [doubled], "a" * 10**6, 10**5000, [[[[[1]]]]], object()):
        assert len(brief(value)) < 500
    for value in ("swish", [1, 2], [0.5], float("nan"), None, True, -3, {"a": 1.5}):
        assert brief(value) == repr(value)


@pytest.mark.parametrize("kind", [CheckpointError, DownloadError])
def test_every_error_is_one_line_of_bounded_length(kind: type[Exception]) -> None:
    message = str(kind("tensor a\nb\x1b[31m\udcff" + "c" * 10**6 + ": missing"))
    assert len(message) < 2100 and message.isprintable()
    assert message.startswith(r"tensor a\nb\x1b[31m\udcffc") and message.endswith("c: missing")
