import os

import pytest

from nnclip.errors import DataError
from nnclip.service.uploads import Uploads


@pytest.fixture
def folder(tmp_path):
    inside = tmp_path / "uploads"
    inside.mkdir()
    (inside / "a.png").write_bytes(b"content")
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "uploads-not.png").write_bytes(b"secret")
    return inside


def test_an_upload_is_found_by_any_of_its_paths(folder, tmp_path):
    uploads = Uploads([folder])
    link = tmp_path / "link"
    link.symlink_to(folder)
    (folder / "inner.png").symlink_to("a.png")
    for path in ("a.png", "../uploads/a.png", "./a.png", "inner.png"):
        assert uploads.find(str(folder / path)).read() == b"content"
    assert uploads.find(str(link / "a.png")).path == folder / "a.png"
    assert Uploads([link]).find(str(folder / "a.png")).read() == b"content"


def test_what_lies_elsewhere_or_is_no_file_is_refused(folder, tmp_path):
    (folder / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "dir").symlink_to("/etc")
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "fifo.png")
    inside = ("out.png", "zero.png", "dir/passwd", "loop", "fifo.png", "", "..", "gone.png")
    outside = (
        "/etc/passwd", "/dev/zero", "/dev/stdin", "/proc/self/environ", "/proc/self/fd/0", "",
        str(tmp_path / "secret.png"), str(tmp_path / "uploads-not.png"),
        f"{folder}/../secret.png", "../../etc/passwd", "a.png", "~/a.png", "file:///etc/passwd",
        "http://example.com/a.png", "\0", f"{folder}/a.png\0", "\ud800", "x" * 100_000,
    )  # fmt: skip
    for path in (*(str(folder / name) for name in inside), *outside):
        with pytest.raises(DataError) as caught:
            Uploads([folder]).find(path)
        assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("path", [None, True, 0, 1.5, [], ["/etc/passwd"], {"path": "/x"}, b"/x"])
def test_what_is_no_text_is_refused(folder, path):
    with pytest.raises(DataError, match="path: found"):
        Uploads([folder]).find(path)
