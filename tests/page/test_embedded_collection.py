"""The page opens a collection with its own model, and finds at once."""

import json
import re

import pytest

from nnclip import cli

from .asking import ask, call, trigger

pytestmark = pytest.mark.heavy


@pytest.fixture
def collection(speaking_h5, folder, tmp_path):
    words = ["embed", str(folder), "-o", str(tmp_path / "EMB"), "-m", str(speaking_h5)]
    assert cli.main([*words, "--workers", "0", "--precision", "fp32"]) == 0
    return str(tmp_path / "EMB")


def test_a_collection_is_searched_without_its_model_being_named(collection, start):
    process, lines = start("--images", collection)
    try:
        url = re.search(r"open (\S+)", "\n".join(lines))[1]
        success, answer = call(url, "search", {"data": ["a dog", 9, "EMB", ""]})
        assert success, answer.text
        assert all(f"{colour}.png" in answer.text for colour in ("red", "green", "blue", "white"))
        config = json.loads(ask(f"{url}config").text)
        show = next(d for d in config["dependencies"] if d["api_name"] == "show")
        for query in ("a dog", ""):
            success, output = trigger(url, show["id"], [query, "EMB", 9, ""])
            assert success and output["data"][0].count("<button") == 4
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()
    assert "Traceback" not in "".join(lines)


def test_another_model_is_refused_at_the_start(collection, start, small_h5):
    process, lines = start("--images", collection, "--model", "bundled")
    assert process.wait(60) == 2
    process.stdout.close()
    assert "the collection was embedded by that one" in "\n".join(lines)
