"""The page opens a collection with its own model, and finds at once."""

import json
import re
import urllib.request

import pytest

from nnclip import cli

from .asking import ask, call, trigger

pytestmark = pytest.mark.heavy


@pytest.fixture
def collection(speaking_h5, folder, tmp_path):
    words = ["embed", str(folder), "-o", str(tmp_path / "EMB"), "-m", str(speaking_h5)]
    assert cli.main([*words, "--workers", "0", "--precision", "fp32"]) == 0
    return str(tmp_path / "EMB")


def ask_kind(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        assert answer.headers["x-content-type-options"] == "nosniff" and answer.read()
        return answer.headers["content-type"]


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
            asked = [query, None, "", "EMB", "", "", "", "", -1, ""]
            success, output = trigger(url, show["id"], asked)
            assert success and output["data"][0].count('class="tile"') == 4
            tokens = re.findall(r'data-token="(\w{32})"', output["data"][0])
            for token in tokens:
                kinds = [ask_kind(f"{url}photos/{token}/{form}") for form in ("320", "original")]
                assert kinds == ["image/webp", "image/png"]
        asked[2] = tokens[0]
        success, output = trigger(url, show["id"], asked)
        assert success and tokens[0] not in re.findall(r'data-token="(\w{32})"', str(output))
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
