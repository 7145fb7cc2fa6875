"""Names that are no UTF-8 or hold control characters; files that are none."""

import os
import socket
from pathlib import Path

import pytest

from nnclip.errors import DataError
from nnclip.files import open_regular, read_regular, shown, to_name, to_path

NAMES = [
    b"plain.jpg",
    "größe 大.jpg".encode(),
    b"caf\xe9.jpg",
    b"\xff\xfe\x80.png",
    rb"back\slash.jpg",
    rb"looks\xe9like.jpg",
    rb"\x5cx41.jpg",
    b"two\nlines.jpg",
    b"\x1b[31mred\x1b[0m.jpg",
    "turned\u202egpj.exe".encode(),
]


@pytest.mark.parametrize("raw", NAMES)
def test_a_name_is_utf8_and_gives_the_path_back(raw: bytes) -> None:
    path = os.fsdecode(raw)
    name = to_name(path)
    name.encode("utf-8")
    assert os.fsencode(to_path(name)) == raw
    if b"\\x" not in raw and raw.decode("utf-8", "replace").encode() == raw:
        assert name == path


def test_names_of_different_paths_differ() -> None:
    names = [to_name(os.fsdecode(raw)) for raw in [*NAMES, rb"caf\xe9.jpg", rb"caf\x5cxe9.jpg"]]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("raw", NAMES)
def test_what_is_shown_is_one_printable_line(raw: bytes) -> None:
    path = os.fsdecode(raw)
    line = shown(path)
    line.encode("utf-8")
    assert not set(line) & {chr(c) for c in (*range(32), 127, 0x202E)}
    assert shown(line) == line and shown(to_name(path)).isprintable()


def test_the_escape_is_the_byte_in_hexadecimal() -> None:
    assert to_name(os.fsdecode(b"caf\xe9\n.jpg")) == "caf\\xe9\n.jpg"
    assert shown(os.fsdecode(b"caf\xe9\n\x1b.jpg")) == r"caf\xe9\x0a\x1b.jpg"
    assert shown("👩\u200d🚀.jpg") == "👩\u200d🚀.jpg"  # joined, not a control character


def test_a_surrogate_that_no_file_name_gives_is_shown_too() -> None:
    assert shown("\ud800") == r"\xed\xa0\x80" and to_name("\ud800").isprintable()


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(tmp_path, os.O_RDONLY)  # a socket's path has at most 107 bytes
        server.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
        kinds = {"fifo": "a FIFO", "zero": "a device", "folder": "a folder", "socket": "a socket"}
        for name, kind in kinds.items():
            with pytest.raises(DataError, match=f"{name}: found {kind}, expected a regular file"):
                open_regular(tmp_path / name)


def test_a_link_is_followed_and_its_file_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert read_regular(tmp_path / "b", 10)[0] == b"0123456789"
    assert read_regular(tmp_path / "b", 3, 4, 3)[0] == b"456"
    with pytest.raises(DataError, match="expected at most"):
        read_regular(tmp_path / "b", 9)


def test_a_file_that_is_swapped_for_a_fifo_does_not_block(tmp_path: Path, monkeypatch) -> None:
    """Between the two looks another file may come; the second look is at the open descriptor."""
    path = tmp_path / "a.jpg"
    path.write_bytes(b"x")
    look = os.stat

    def stat_and_swap(name, *given, **options):
        found = look(name, *given, **options)
        path.unlink()
        os.mkfifo(path)
        return found

    monkeypatch.setattr(os, "stat", stat_and_swap)
    with pytest.raises(DataError, match="found a FIFO"):
        open_regular(path)


def test_a_sparse_file_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "large", "wb") as file:
        file.truncate(40 << 30)
    with pytest.raises(DataError, match="found 40,960 MB, expected at most 1 MB"):
        read_regular(tmp_path / "large", 1 << 20)
