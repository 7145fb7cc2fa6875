"""What lies in a folder beside images, under whatever name: read, or named and left out."""

import json
import os
import socket
from pathlib import Path

import pytest

from nnclip.cli import main
from nnclip.files import to_name, to_path

from .conftest import draw

ODD = [b"caf\xe9.png", b"two\nlines.png", b"\x1b[31mansi.png", rb"looks\xe9like.png"]
SPECIAL = {"fifo.jpg": "a FIFO", "zero.jpg": "a device", "folder.jpg": "a folder"}


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    """Images with odd names, files that are none, and files of other kinds."""
    folder = tmp_path / "crowd"
    draw(folder / "red.png", "red")
    for raw, colour in zip(ODD, ("green", "blue", "white", "black"), strict=True):
        draw(folder / "x.png", colour)
        os.rename(folder / "x.png", os.fsencode(folder) + b"/" + raw)
    os.mkfifo(folder / "fifo.jpg")
    (folder / "zero.jpg").symlink_to("/dev/zero")
    draw(folder / "folder.jpg" / "inside.png", "pink")
    with open(folder / "sparse.png", "wb") as file:
        file.truncate(40 << 30)
    for name in ("a.svg", "b.SVG", "film.mp4", "notes"):
        (folder / name).write_text("x")
    return folder


NOT_READ = {".svg": 2, ".mp4": 1, "without a suffix": 1}


def run(capsys, *words: object) -> tuple[int, str, str]:
    status = main([str(word) for word in words])
    told = capsys.readouterr()
    return status, told.out, told.err


def test_every_image_is_found_and_the_rest_is_told(tmp_path, crowd, small_h5, capsys):
    model = ["-m", small_h5, "--precision", "fp32"]
    made = run(capsys, "embed", crowd, "-o", tmp_path / "E", "--workers", 1, "--json", *model)
    told = json.loads(made[1])
    assert made[0] == 0 and told["images"] == 6 and told["not_read"] == NOT_READ
    reasons = {Path(name).name: reason for name, reason in told["failures"]}
    assert {
        name: f"found {kind}" in reasons[name] for name, kind in SPECIAL.items()
    } == dict.fromkeys(SPECIAL, True)
    assert "expected at most 512 MB" in reasons["sparse.png"]

    status, out, _ = run(capsys, "search", "red", "-i", tmp_path / "E", "-k", 9, "--json", *model)
    found = {Path(to_path(hit["image"])) for hit in json.loads(out)}
    folder = os.fsencode(crowd)
    assert found >= {Path(os.fsdecode(folder + b"/" + raw)) for raw in ODD}
    assert all(path.is_file() for path in found)

    status, out, _ = run(capsys, "search", "red", "-i", tmp_path / "E", "-k", 9, *model)
    assert len(out.splitlines()) == 6 and "\x1b" not in out and r"caf\xe9.png" in out

    odd = os.fsdecode(folder + b"/" + ODD[0])
    status, out, _ = run(
        capsys, "search", "--image", odd, "-i", tmp_path / "E", "-k", 1, "--json", *model
    )
    assert json.loads(out)[0]["image"] == to_name(odd)

    _, out, _ = run(capsys, "update", tmp_path / "E", "--workers", 0, "--json", *model)
    told = json.loads(out)
    assert told["unchanged"] == 6 and told["removed"] == 0 and told["not_read"] == NOT_READ
    status, out, _ = run(capsys, "remove", tmp_path / "E", odd, to_name(crowd / "red.png"))
    assert status == 0 and "2 removed" in out


def test_a_listing_says_what_it_passed_over_in_a_line(tmp_path, crowd, small_h5, capsys):
    model = ["-m", small_h5, "--precision", "fp32", "--workers", 0]
    _, out, _ = run(capsys, "embed", crowd / "folder.jpg", "-o", tmp_path / "E", *model)
    assert "not read" not in out
    _, out, _ = run(capsys, "add", tmp_path / "E", crowd, *model)
    assert "2 .svg, 1 .mp4, 1 without a suffix not read" in out


@pytest.mark.parametrize("name", ["fifo.jpg", "fifo.csv", "fifo.json", "fifo.tar"])
def test_a_source_that_is_a_fifo_is_refused(tmp_path, small_h5, capsys, name):
    os.mkfifo(tmp_path / name)
    words = ["embed", tmp_path / name, "-o", tmp_path / "E", "-m", small_h5, "--workers", 0]
    _, out, err = run(capsys, *words)
    assert "found a FIFO" in err + out


def test_a_socket_is_named_and_left_out(tmp_path, small_h5, capsys):
    draw(tmp_path / "p" / "red.png", "red")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(tmp_path / "p", os.O_RDONLY)
        server.bind(f"/proc/self/fd/{here}/s.png")
        os.close(here)
        words = ["embed", tmp_path / "p", "-o", tmp_path / "E", "-m", small_h5, "--workers", 0]
        status, out, _ = run(capsys, *words)
    assert status == 0 and "s.png: found a socket" in out and "1 images in" in out


def test_an_unknown_suffix_is_told_with_those_that_are_known(tmp_path, small_h5, capsys):
    (tmp_path / "photo.svg").write_bytes(b"\0\0\0\x18ftypheic\xff\xfe\x00")
    words = ["embed", tmp_path / "photo.svg", "-o", tmp_path / "E", "-m", small_h5]
    status, _, err = run(capsys, *words)
    assert status == 2 and "found a file that ends in .svg, expected" in err
    assert all(kind in err for kind in (".avif", ".jpg", ".csv", ".tar", ".json", "a folder"))
    assert not {".eps", ".pdf", ".h5", ".wmf"} & set(err.replace(",", " ").split())


def test_a_folder_whose_name_is_no_utf8_is_followed(tmp_path, small_h5, capsys):
    folder = os.path.join(tmp_path, os.fsdecode(b"f\xe9"))
    draw(Path(folder) / "red.png", "red")
    model = ["-m", small_h5, "--precision", "fp32", "--workers", 0]
    assert run(capsys, "embed", folder, "-o", tmp_path / "E", *model)[0] == 0
    draw(Path(folder) / "blue.png", "blue")
    _, out, _ = run(capsys, "update", tmp_path / "E", "--json", *model)
    assert json.loads(out)["added"] == 1
