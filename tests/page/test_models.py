"""A model is downloaded from the page and answers; a server here stands for all others."""

import contextlib
import json
import os
import re
import shutil
import time

import pytest

from nnclip.errors import ConfigError
from nnclip.service import downloads
from nnclip.service.downloads import FIRST, Download, published
from nnclip.weights.published import is_open_clip
from tests.weights.conftest import served as _served

from .asking import ask, trigger

mirror_server = _served  # the fixture, under a name that this folder does not have


@pytest.fixture
def mirror(mirror_server, small_h5, tmp_path):
    """Variables of a process that finds a small model in the place of ViT-B/32."""
    mirror_server.files["/ViT-B-32.h5"] = small_h5.read_bytes()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "NNCLIP_"))}
    there = {"NNCLIP_MIRROR": mirror_server.url, "NNCLIP_CACHE": str(tmp_path / "cache")}
    return {**environment, **there}


def until(true, seconds=120):
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert true()


def test_a_download_comes_stops_goes_on_and_is_watched(mirror, mirror_server, monkeypatch):
    monkeypatch.setenv("NNCLIP_CACHE", mirror["NNCLIP_CACHE"])
    whole = len(mirror_server.files["/ViT-B-32.h5"])
    mirror_server.pace = 0.3
    download = Download(mirror)
    download.start("ViT-B/32")
    download.start("ViT-B/32")  # it goes on
    with pytest.raises(ConfigError, match="ViT-B/32 is being fetched"):
        download.start("ViT-B/16")
    until(lambda: 0 < download.bytes() < whole)
    download.stop()
    until(lambda: not download.running)
    assert download.stopped and not download.error and download.path is None
    mirror_server.pace, mirror_server.requests = 0, []
    download.start("ViT-B/32")
    until(lambda: not download.running)
    assert download.path.read_bytes() == mirror_server.files["/ViT-B-32.h5"], download.error
    assert any("Range" in headers for _, headers in mirror_server.requests)


def test_why_it_does_not_come_is_told(mirror):
    download = Download({**mirror, "NNCLIP_MIRROR": "http://127.0.0.1:9"})
    download.start("ViT-B/32")
    until(lambda: not download.running)
    assert "ViT-B/32" in download.error and "Traceback" not in download.error


@pytest.mark.parametrize("name", ["", "none", "http://1.1.1.1/a.h5", "hf-hub:x", "/etc/passwd"])
def test_other_names_are_refused(name):
    with pytest.raises(ConfigError):
        Download().start(name)


def test_the_list_begins_with_models_that_know_photographs(tmp_path, monkeypatch):
    monkeypatch.setenv("NNCLIP_CACHE", str(tmp_path))
    models = published()
    assert [model.name for model in models[: len(FIRST)]] == list(FIRST)
    assert all(name == "ViT-B/32" or is_open_clip(name) for name in FIRST)
    assert downloads.size_of(models[0]) == pytest.approx(605e6, rel=0.01)
    assert {"bundled"}.isdisjoint(model.name for model in models)


@contextlib.contextmanager
def page(start, *flags, **environment):
    process, lines = start(*flags, **environment)
    try:
        url = re.search(r"open (\S+)", "\n".join(lines))[1]
        yield url, json.loads(ask(f"{url}config").text)
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()
    assert "Traceback" not in "\n".join(lines)


def event(config, name):
    return next(each["id"] for each in config["dependencies"] if each["api_name"] == name)


@pytest.mark.heavy
def test_the_owner_downloads_a_model_and_it_answers(start, speaking_h5, mirror):
    chosen = {name: mirror[name] for name in ("NNCLIP_MIRROR", "NNCLIP_CACHE")}
    with page(start, "--model", str(speaking_h5), **chosen) as (url, config):
        shutil.rmtree(mirror["NNCLIP_CACHE"], ignore_errors=True)
        success, output = trigger(url, event(config, "fetch"), ["ViT-B/32"])
        assert success and "ViT-B/32" in output["data"][0]

        def here():
            success, output = trigger(url, event(config, "look"), [])
            assert success and "problem" not in output["data"][0], output
            return "is here" in output["data"][0]

        until(here)
        picture = next(p["props"] for p in config["components"] if p["type"] == "dropdown")
        assert picture["label"] == "Model"
        answer = ask(f"{url}gradio_api/call/models", {"data": []})
        event_id = json.loads(answer.text)["event_id"]
        assert "ViT-B/32" in ask(f"{url}gradio_api/call/models/{event_id}").text


@pytest.mark.heavy
@pytest.mark.parametrize("flags", [("--allow-host", "photos.example"), ("--no-owner",)])
def test_visitors_have_no_such_button(start, speaking_h5, flags):
    with page(start, "--model", str(speaking_h5), *flags) as (_, config):
        assert "look" not in [each["api_name"] for each in config["dependencies"]]
        assert not [p for p in config["components"] if p["props"].get("elem_id") == "published"]
