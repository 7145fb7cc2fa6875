"""Requests as Weaviate's module and Immich's server make them."""

import json

import httpx
import numpy as np
import pytest

from .conftest import coded, photo

PHOTOS = [photo(1), photo(2)]
TEXTS = ["a red seal", "two horses"]


def vectorize(served, content, **headers):
    """As its Go client does: JSON, in old versions without a content type."""
    body = json.dumps(content).encode()
    return httpx.post(f"{served.url}/vectorize", content=body, headers=headers, timeout=60)


@pytest.mark.parametrize("headers", [{}, {"content-type": "application/json"}])
def test_weaviate_gets_vectors_of_texts_and_images(served, expected, headers):
    asked = {"texts": TEXTS, "images": [coded(each, "") for each in PHOTOS]}
    answer = vectorize(served, asked, **headers)
    assert answer.status_code == 200 and set(answer.json()) == {"textVectors", "imageVectors"}
    np.testing.assert_allclose(answer.json()["textVectors"], expected(*TEXTS), atol=1e-6)
    np.testing.assert_allclose(answer.json()["imageVectors"], expected(*PHOTOS), atol=1e-6)
    only = vectorize(served, {"texts": TEXTS[:1], "images": None}).json()  # a nil slice of Go
    assert len(only["textVectors"]) == 1 and only["imageVectors"] == []


def test_weaviate_sends_properties_without_words(served, expected):
    answer = vectorize(served, {"texts": ["", TEXTS[0]], "images": []})
    model = expected.model
    empty = model.encode_text(model.tokenize([""]))[0]
    vectors = np.array(answer.json()["textVectors"])
    assert vectors[0] @ empty / np.linalg.norm(empty) > 1 - 1e-6
    np.testing.assert_allclose(vectors[1], expected(TEXTS[0])[0], atol=1e-6)


def test_weaviate_sends_whole_articles(served, expected):
    answer = vectorize(served, {"texts": ["word " * 5000]})
    assert answer.headers["x-nnclip-truncated"] == "1"
    model = expected.model
    cut = model.encode_text(model.tokenize(["word " * 5000], truncate=True))
    cosine = cut[0] @ np.array(answer.json()["textVectors"][0]) / np.linalg.norm(cut)
    assert cosine > 1 - 1e-6


@pytest.mark.parametrize(
    "asked, said",
    [
        ({"images": ["aGVsbG8="]}, "images[0]: "),
        ({"images": [coded(PHOTOS[0], ""), "!"]}, "images[1]: "),
        ({"texts": "a"}, "texts: "),
        ({}, "found 0 inputs"),
        ([], "valid dictionary"),
    ],
)
def test_weaviate_s_errors_are_a_sentence(served, asked, said):
    answer = vectorize(served, asked)
    assert answer.status_code == 500 and set(answer.json()) == {"error"}
    assert said in answer.json()["error"]


def test_weaviate_s_probes(served):
    for name in ("live", "ready"):
        answer = served.get(f"/.well-known/{name}")
        assert (answer.status_code, answer.content) == (204, b"")
    assert served.get("/meta").json()["embedding_size"] == 32


def predict(served, entries, image=None, text=None):
    """As its server does: a form whose entries are JSON, and a file or a text."""
    form = {"entries": (None, entries if isinstance(entries, str) else json.dumps(entries))}
    if image is not None:
        form["image"] = ("blob", image, "application/octet-stream")
    if text is not None:
        form["text"] = (None, text)
    return httpx.post(f"{served.url}/predict", files=form, timeout=60)


VISUAL = {"clip": {"visual": {"modelName": "small"}}}
TEXTUAL = {"clip": {"textual": {"modelName": "small", "options": {"language": "de"}}}}


def test_immich_gets_an_array_as_a_string(served, expected):
    answer = predict(served, VISUAL, image=PHOTOS[0])
    found = answer.json()
    assert set(found) == {"clip", "imageHeight", "imageWidth"}
    assert (found["imageWidth"], found["imageHeight"]) == (60, 40)
    assert isinstance(found["clip"], str) and " " not in found["clip"]
    np.testing.assert_allclose(json.loads(found["clip"]), expected(PHOTOS[0])[0], atol=1e-6)
    answer = predict(served, TEXTUAL, text=TEXTS[0])
    assert set(answer.json()) == {"clip"}
    np.testing.assert_allclose(json.loads(answer.json()["clip"]), expected(TEXTS[0])[0], atol=1e-6)


def test_immich_finds_a_model_under_its_own_name(served):
    named = {"clip": {"textual": {"modelName": "ViT-B-32__openai"}}}
    assert len(json.loads(predict(served, named, text="a seal").json()["clip"])) == 48


def test_immich_s_probes(served):
    assert served.get("/ping").text == "pong"
    assert set(served.get("/").json()) == {"message"}


@pytest.mark.parametrize(
    "entries, parts, status",
    [
        (VISUAL, {}, 400),
        (VISUAL, {"text": "a"}, 422),
        (TEXTUAL, {"image": PHOTOS[0]}, 422),
        ({"facial-recognition": {}}, {"image": PHOTOS[0]}, 422),
        ({"clip": {"visual": {}}}, {"image": PHOTOS[0]}, 422),
        ({"clip": {}}, {"image": PHOTOS[0]}, 422),
        ("{", {"text": "a"}, 422),
        ("[]", {"text": "a"}, 422),
        (VISUAL, {"image": b"no image"}, 400),
        (VISUAL, {"image": b""}, 400),
        (TEXTUAL, {"text": " "}, 400),
        ({"clip": {"visual": {"modelName": "none"}}}, {"image": PHOTOS[0]}, 404),
    ],
)
def test_immich_s_errors_are_details(served, entries, parts, status):
    answer = predict(served, entries, **parts)
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"detail"} and isinstance(answer.json()["detail"], str)
    without = httpx.post(f"{served.url}/predict", data={"text": "a"}, timeout=60)
    assert without.status_code == 422


def test_an_api_that_is_not_offered_is_not_there(start, small_h5):
    server = start("-m", str(small_h5), "--apis", "immich")
    assert server.get("/ping").status_code == 200
    for path in ("/v1/models", "/meta", "/none"):
        answer = server.get(path)
        assert answer.status_code == 404 and "found no route" in answer.text
    assert server.post("/v1/score", {}).status_code == 400  # nnclip's own are always there
