"""Names that several places publish; one server on this machine plays them all."""

import io
import logging
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from nnclip.errors import ConfigError, DownloadError
from nnclip.weights import transfer
from nnclip.weights.catalogue import (
    CATALOGUE,
    HUB,
    NNABLA,
    OPENAI,
    ORIGINS,
    ZENODO,
    Source,
    sources,
)
from nnclip.weights.download import fetch
from nnclip.weights.reachable import ask_all
from nnclip.weights.recorded import FILE, digests
from nnclip.weights.transfer import Patience
from tests.weights.conftest import publish

HASTY = Patience(timeout=2.0, attempts=2, pause=0.01)
PAGE = b"<!DOCTYPE html><p>This record has moved"


def h5_bytes(first: float = 0.0) -> bytes:
    """A file of weights, whatever model they make."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["logit_scale"] = np.float32(4.6)
        file["visual/proj"] = np.arange(first, first + 20_000, dtype=np.float32)
    return buffer.getvalue()


WEIGHTS = h5_bytes()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def three(served, monkeypatch: pytest.MonkeyPatch):
    """A name that three places publish, all on the server."""
    places = [Source(origin, f"{served.url}/{origin}/model.h5") for origin in ("a", "b", "c")]
    monkeypatch.setitem(CATALOGUE, "model", tuple(places))
    monkeypatch.delenv("NNCLIP_MIRROR", raising=False)
    monkeypatch.setattr(transfer, "QUICK", 0.5)
    for origin in "abc":
        served.files[f"/{origin}/model.h5"] = WEIGHTS
    return served


def asked(served) -> list[str]:
    return [path.split("/")[1] for path, _ in served.requests]


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said to a user."""
    return [r.message for r in caplog.records if r.levelno >= logging.WARNING]


def test_every_name_has_an_order_and_every_origin_can_be_asked_for() -> None:
    for name in CATALOGUE:
        origins = [source.origin for source in sources(name)]
        assert len(set(origins)) == len(origins) >= 2 and origins[-1] == "openai"
        for origin in origins:
            assert [s.origin for s in sources(name, origin)] == [origin]
    assert ORIGINS == ("zenodo", "nnabla", "timm", "huggingface", "openai")
    first = sources("ViT-B/32")[0]
    assert first.url == f"{ZENODO}/ViT-B-32.h5?download=1" and first.weights_name == "ViT-B-32.h5"
    assert sources("RN50x4", "timm")[0].repository == "timm/resnet50x4_clip.openai"
    assert {NNABLA, OPENAI, HUB}  # all three are addresses of the table


def test_a_mirror_is_asked_alone(served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNCLIP_MIRROR", served.url)
    assert [s.url for s in sources("ViT-B/32")] == [
        f"{served.url}/ViT-B-32.h5",
        f"{served.url}/ViT-B-32.pt",
    ]
    with pytest.raises(ConfigError, match="HF_ENDPOINT"):
        sources("ViT-B/32", "timm")


DEAD = {
    "404": lambda served: served.files.pop("/a/model.h5"),
    "500": lambda served: served.refusals.update({"/a/model.h5": [(500, {})]}),
    "HTML with status 200": lambda served: served.files.update({"/a/model.h5": PAGE}),
    "half a file": lambda served: served.files.update({"/a/model.h5": WEIGHTS[:-4000]}),
    "silence": lambda served: served.silent.add("/a/model.h5"),
    "wait an hour": lambda served: served.refusals.update(
        {"/a/model.h5": [(429, {"Retry-After": "3600"})]}
    ),
    "a loop": lambda served: served.redirects.update({"/a/model.h5": "/a/model.h5"}),
}


@pytest.mark.parametrize("dead", DEAD)
def test_a_dead_source_is_passed_over_in_seconds(
    three, cache: Path, caplog: pytest.LogCaptureFixture, dead: str
) -> None:
    DEAD[dead](three)
    start = time.monotonic()
    path = fetch("model", cache)
    assert time.monotonic() - start < 10
    assert path == cache / "b" / "model.h5" and path.read_bytes() == WEIGHTS
    assert set(asked(three)) == {"a", "b"}
    lines = warned(caplog)
    assert lines[-2].startswith(f"model from a: {three.url}/a/model.h5")
    assert lines[-1] == f"model from b: {three.url}/b/model.h5: fetched"
    assert not [p for p in (cache / "a").iterdir() if p.suffix in (".h5", ".part")]


def test_whoever_asks_to_wait_a_little_is_waited_for(three, cache: Path) -> None:
    three.refusals["/a/model.h5"] = [(429, {"Retry-After": "1"})]
    three.files.pop("/b/model.h5")
    three.files.pop("/c/model.h5")
    with pytest.raises(DownloadError, match=r"asks to wait 1 s"):  # more than QUICK here
        fetch("model", cache, patience=HASTY)
    three.refusals["/c/model.h5"] = [(429, {"Retry-After": "1"}), (404, {})]
    start = time.monotonic()
    with pytest.raises(DownloadError, match="404"):  # alone, it is waited for
        fetch("model", cache, origin="c", patience=HASTY)
    assert time.monotonic() - start >= 1


def test_a_date_to_wait_for_is_read(three, cache: Path) -> None:
    three.refusals["/a/model.h5"] = [(503, {"Retry-After": "Fri, 31 Dec 2099 23:59:59 GMT"})]
    with pytest.raises(DownloadError, match=r"503 .* asks to wait \d{7,} s"):
        fetch("model", cache, origin="a", patience=HASTY)


def test_a_redirect_is_followed(three, cache: Path) -> None:
    address = f"{three.url}/a/model.h5?download=1"
    three.redirects["/a/model.h5?download=1"] = "/b/model.h5"
    path = fetch(address, cache, patience=HASTY)
    assert path.name == "model.h5" and path.read_bytes() == WEIGHTS


def test_all_dead_is_told_with_each_answer(three, cache: Path) -> None:
    for origin in "abc":
        three.files.pop(f"/{origin}/model.h5")
    with pytest.raises(DownloadError, match=r"model: found no source .*: a, b, c: .*404"):
        fetch("model", cache, patience=HASTY)


def test_a_full_disk_is_not_asked_elsewhere(three, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(DownloadError, match=r"cannot be written .* NNCLIP_CACHE"):
        fetch("model", tmp_path / "cache", patience=HASTY)
    assert not three.requests


def test_an_origin_is_asked_alone(three, cache: Path) -> None:
    assert fetch("model", cache, origin="c") == cache / "c" / "model.h5"
    assert asked(three) == ["c"]
    assert fetch("model", cache) == cache / "c" / "model.h5"
    assert asked(three) == ["c"]


def test_digests_are_written_down_and_a_difference_is_told(
    three, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fetch("model", cache, origin="a")
    fetch("model", cache, origin="b")
    known = digests(cache)["model"]
    assert set(known) == {"a", "b"} and known["a"] == known["b"] and len(known["a"]) == 32
    assert not warned(caplog)
    three.files["/c/model.h5"] = h5_bytes(first=1.0)
    fetch("model", cache, origin="c")
    told = warned(caplog)
    assert len(told) == 2 and all("are not those of" in line for line in told)
    fetch("model", cache, origin="c")
    assert warned(caplog) == told  # once


def test_a_digest_counts_the_parameters_not_the_file(three, cache: Path) -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver="latest") as file:
        file.create_dataset("visual/proj", data=np.arange(20_000.0, dtype=np.float32), chunks=True)
        file["logit_scale"] = np.array([4.6], np.float32)
        file.attrs["nnclip.note"] = "another file of the same parameters"
    three.files["/b/model.h5"] = buffer.getvalue()
    fetch("model", cache, origin="a")
    fetch("model", cache, origin="b")
    known = digests(cache)["model"]
    assert known["a"] == known["b"]


@pytest.mark.parametrize("spoiled", [b"{", b"[]", b'{"model": 3}', b"\xff"])
def test_spoiled_digests_begin_anew(three, cache: Path, spoiled: bytes) -> None:
    cache.mkdir()
    (cache / FILE).write_bytes(spoiled)
    fetch("model", cache, origin="a")
    assert set(digests(cache)["model"]) == {"a"}


def test_every_source_is_asked_for_a_few_bytes(three) -> None:
    three.files["/b/model.h5"] = PAGE
    three.files.pop("/c/model.h5")
    answers = ask_all(["model"])
    assert [(a.source.origin, a.alive) for a in answers] == [
        ("a", True),
        ("b", False),
        ("c", False),
    ]
    assert answers[0].said == f"{len(WEIGHTS) / 1e6:,.1f} MB"
    assert "begins with" in answers[1].said and answers[2].said == "404 Not Found"


def test_the_check_prints_a_row_for_each_source(hub) -> None:
    publish(hub, "timm/resnet50_clip.openai", {"open_clip_model.safetensors": b"x" * 3_000_000})
    hub.files["/ViT-B-32.h5"] = WEIGHTS
    done = hub.run("RN50", "--origin", "timm", "--check")
    assert done.returncode == 0, done.stderr
    assert "ok  open_clip_model.safetensors, 3.0 MB" in done.stdout
    mirrored = hub.run("ViT-B/32", "--check", NNCLIP_MIRROR=hub.url)
    assert mirrored.returncode == 0 and "404" in mirrored.stdout and "ok" in mirrored.stdout
    assert hub.run("RN101", "--check", NNCLIP_MIRROR=hub.url).returncode == 1


def test_the_check_of_everything_names_everything(hub) -> None:
    done = hub.run("--check", NNCLIP_MIRROR=hub.url)
    assert done.returncode == 1
    assert {line.split()[0] for line in done.stdout.splitlines()[1:]} == set(CATALOGUE)


def test_nothing_is_said_where_the_first_source_answers(
    three, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fetch("model", cache)
    assert not warned(caplog) and asked(three) == ["a"]
