import fcntl
import hashlib
import io
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time

import h5py
import numpy as np
import pytest

from nnclip.errors import ConfigError, DownloadError
from nnclip.weights.catalogue import CATALOGUE, Source, sources
from nnclip.weights.download import cache_dir, fetch
from nnclip.weights.h5 import read_h5
from nnclip.weights.transfer import Patience

HASTY = Patience(timeout=5.0, attempts=2, pause=0.01)
NNCLIP = [sys.executable, "-m", "nnclip"]


def h5_bytes(length: int = 100_000) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["logit_scale"] = np.arange(length, dtype=np.float32)
    return buffer.getvalue()


WEIGHTS = h5_bytes()


@pytest.fixture
def mirror(served, monkeypatch):
    """The server, in the place of all publishers."""
    served.files["/ViT-B-32.h5"] = WEIGHTS
    monkeypatch.setenv("NNCLIP_MIRROR", served.url + "/")
    return served


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NNCLIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def hashed(served, monkeypatch):
    """A catalogue entry of ours whose hash is published."""
    served.files["/hashed.h5"] = WEIGHTS
    source = Source("nnabla", f"{served.url}/hashed.h5", hashlib.sha256(WEIGHTS).hexdigest())
    monkeypatch.setitem(CATALOGUE, "hashed", (source,))
    return served


def files_in(folder):
    """The names of all weight files, finished or not."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return sorted(path.name for path in found if path.name != "digests.json")


def test_a_name_becomes_a_file_in_the_cache(mirror, cache):
    path = fetch("ViT-B/32", patience=HASTY)
    assert path == cache / "zenodo" / "ViT-B-32.h5"
    assert path.read_bytes() == WEIGHTS
    assert files_in(cache) == ["ViT-B-32.h5"]


def test_the_cache_needs_no_network(mirror, cache):
    first = fetch("ViT-B/32", patience=HASTY)
    assert fetch("ViT-B/32", patience=HASTY) == first
    assert len(mirror.requests) == 1


def test_what_another_origin_left_in_the_cache_serves_as_well(cache):
    (cache / "openai").mkdir(parents=True)
    (cache / "openai" / "ViT-B-32.h5").write_bytes(WEIGHTS)
    assert fetch("ViT-B/32") == cache / "openai" / "ViT-B-32.h5"


def test_the_home_folder_holds_the_cache_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("NNCLIP_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "nnclip"


def test_two_addresses_with_one_file_name_do_not_meet(served, tmp_path):
    served.files |= {"/a/model.h5": WEIGHTS, "/b/model.h5": h5_bytes(7)}
    first = fetch(f"{served.url}/a/model.h5", tmp_path)
    second = fetch(f"{served.url}/b/model.h5", tmp_path)
    assert first.read_bytes() == WEIGHTS
    assert second.read_bytes() == h5_bytes(7)


def test_the_published_hash_is_compared(hashed, cache):
    assert fetch("hashed", patience=HASTY).read_bytes() == WEIGHTS


def test_a_wrong_hash_leaves_nothing_behind(hashed, cache):
    hashed.files["/hashed.h5"] = WEIGHTS[:-1] + b"?"
    found = hashlib.sha256(WEIGHTS[:-1] + b"?").hexdigest()
    with pytest.raises(DownloadError, match=rf"found sha256 {found}, expected [0-9a-f]{{64}};"):
        fetch("hashed", patience=HASTY)
    assert not [name for name in files_in(cache) if name.endswith((".h5", ".part"))]
    hashed.files["/hashed.h5"], hashed.tag = WEIGHTS, '"2"'
    assert fetch("hashed", patience=HASTY).read_bytes() == WEIGHTS


@pytest.mark.parametrize("body", [b"<!DOCTYPE html><p>Sign in to the network", WEIGHTS[:-5000]])
def test_what_is_no_whole_h5_never_gets_its_name(mirror, cache, body):
    mirror.files["/ViT-B-32.h5"] = body
    with pytest.raises(DownloadError, match=re.escape(f"begin with {body[:24]!r}")):
        fetch("ViT-B/32", patience=HASTY)
    assert not [name for name in files_in(cache) if name.endswith((".h5", ".part"))]


def test_a_cut_download_goes_on_in_the_next_call(mirror, cache):
    mirror.cuts = [100_000]
    with pytest.raises(DownloadError, match="100,000 bytes are kept"):
        fetch("ViT-B/32", origin="zenodo", patience=Patience(attempts=1))
    assert not (cache / "zenodo" / "ViT-B-32.h5").exists()
    assert fetch("ViT-B/32", patience=HASTY).read_bytes() == WEIGHTS
    assert mirror.asked("Range") == [None, "bytes=100000-"]


def test_a_killed_process_leaves_what_the_next_one_needs(mirror, cache):
    mirror.pace = 0.2
    process = subprocess.Popen([*NNCLIP, "download", "ViT-B/32"])
    partial = cache / "zenodo" / "ViT-B-32.h5.part"
    while not (partial.exists() and partial.stat().st_size):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    mirror.pace = 0.0
    assert fetch("ViT-B/32", patience=HASTY).read_bytes() == WEIGHTS
    assert re.fullmatch(r"bytes=[1-9]\d*-", mirror.asked("Range")[1] or "")


def test_processes_that_want_the_same_file_fetch_it_once(mirror, cache):
    mirror.pace = 0.1
    command = [*NNCLIP, "download", "ViT-B/32"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    printed = [process.communicate()[0].strip() for process in processes]
    path = cache / "zenodo" / "ViT-B-32.h5"
    assert printed == [str(path)] * 3
    assert path.read_bytes() == WEIGHTS
    assert len(mirror.requests) == 1


def test_a_cache_that_cannot_be_written(mirror, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(DownloadError, match=r"cannot be written .* NNCLIP_CACHE"):
        fetch("ViT-B/32", tmp_path / "cache", patience=HASTY)
    assert not mirror.requests


@pytest.mark.parametrize(
    ("name", "origin", "message"),
    [
        ("ViT-B-33", None, "no published weights named 'ViT-B-33', expected one of ViT-B/32,"),
        ("ViT-L/14@336px", "nnabla", "is published by timm, huggingface, openai, not by"),
        ("file:///etc/model.h5", None, r"expected one that starts with http\(s\)"),
        ("http://localhost/model.zip", None, "expected it to end in .h5 or .pt"),
    ],
)
def test_names_that_cannot_be_fetched(name, origin, message, cache):
    with pytest.raises(ConfigError, match=message):
        fetch(name, origin=origin)
    assert not cache.exists()


def test_openai_names_its_folders_by_the_hash():
    files = [source for name in CATALOGUE for source in sources(name) if source.sha256]
    assert len(files) == 9
    for source in files:
        assert source.url.split("/")[-2] == source.sha256
        assert re.fullmatch("[0-9a-f]{64}", source.sha256)


@pytest.fixture
def published(served, monkeypatch):
    """Publishes bytes as OpenAI does: a PyTorch file of known hash."""

    def publish(body: bytes) -> str:
        served.files["/tiny.pt"] = body
        source = Source("openai", f"{served.url}/tiny.pt", hashlib.sha256(body).hexdigest())
        monkeypatch.setitem(CATALOGUE, "tiny", (source,))
        return "tiny"

    return publish


@pytest.mark.torch
def test_a_pytorch_file_becomes_an_h5(published, cache):
    import torch
    from clip.model import CLIP

    reference, file = CLIP(16, 32, 1, 64, 16, 8, 49408, 64, 1, 1), io.BytesIO()
    torch.save(reference.state_dict(), file)
    path = fetch(published(file.getvalue()), patience=HASTY)
    assert path == cache / "openai" / "tiny.h5"
    assert files_in(cache) == ["tiny.h5"]
    arrays = read_h5(path).arrays
    np.testing.assert_array_equal(
        arrays["text_projection"], reference.text_projection.detach().numpy()
    )


@pytest.mark.torch
def test_what_does_not_convert_stays_only_if_its_hash_was_right(published, served, cache):
    with pytest.raises(DownloadError, match=r"tiny.pt: could not be converted to tiny.h5: \S"):
        fetch(published(b"no checkpoint"), patience=HASTY)
    assert files_in(cache) == ["tiny.pt"]
    with pytest.raises(DownloadError, match=r"could not be converted"):
        fetch(f"{served.url}/tiny.pt", patience=HASTY)
    assert files_in(cache) == ["tiny.pt"]


def test_the_command_prints_the_path_and_nothing_else(mirror, cache):
    done = subprocess.run([*NNCLIP, "download", "ViT-B/32"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{cache / 'zenodo' / 'ViT-B-32.h5'}\n"


def test_the_command_without_a_name_lists_the_catalogue():
    done = subprocess.run([*NNCLIP, "download"], capture_output=True, text=True, check=True)
    assert "ViT-L/14@336px\ttimm huggingface openai\n" in done.stdout


def test_the_command_tells_what_went_wrong_in_a_sentence(mirror, cache):
    del mirror.files["/ViT-B-32.h5"]
    done = subprocess.run([*NNCLIP, "download", "ViT-B/32"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    *asked, told = done.stderr.splitlines()
    assert len(asked) == 2 and all("the server answers 404" in line for line in asked)
    assert told.startswith("nnclip download: ViT-B/32: found no source that gives it")


def test_whoever_watches_sees_progress(mirror, cache):
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 80, 0, 0))
    process = subprocess.Popen([*NNCLIP, "download", "ViT-B/32"], stderr=end)
    os.close(end)
    shown = b""
    try:
        while block := os.read(terminal, 4096):
            shown += block
    except OSError:  # how a pseudo-terminal says that the other end is closed
        pass
    os.close(terminal)
    assert process.wait() == 0
    assert re.search(rb"ViT-B-32.h5: 100%.*40\dk/40\dk", shown)
