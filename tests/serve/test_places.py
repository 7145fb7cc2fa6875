"""Where in an image texts are found, over HTTP."""

import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from .conftest import coded, photo

TEXTS = ["seal", "horse", "star"]
EXPLAIN, SEGMENT = "/v1/explain", "/v1/segment"


@pytest.mark.parametrize("method", ["maskclip", "relevance"])
def test_maps_are_the_model_s(served, expected, method):
    asked = {"image": coded(photo(1)), "texts": TEXTS * 2, "method": method, "model": "small"}
    found = served.post(EXPLAIN, asked).json()
    maps = expected.model.explain(Image.open(BytesIO(photo(1))), TEXTS * 2, method)
    told = np.array([one["map"] for one in found["data"]])
    np.testing.assert_allclose(told, maps, atol=1e-4)
    assert found["places"] == maps.shape[1] and found["method"] == method
    for one, map_GG in zip(found["data"], told, strict=True):
        row, column = int(one["top"] * found["places"]), int(one["left"] * found["places"])
        assert map_GG[row, column] == map_GG.max()


def test_regions_are_the_model_s(served, expected):
    asked = {"image": coded(photo(1)), "texts": TEXTS, "model": "small"}
    found = served.post(SEGMENT, asked).json()
    labels = np.asarray(Image.open(BytesIO(base64.b64decode(found["mask"]))))
    mine = expected.model.segment(Image.open(BytesIO(photo(1))), TEXTS)
    assert labels.shape == (found["height"], found["width"]) == mine.shape
    assert (labels == mine).mean() > 0.99
    assert sum(one["share"] for one in found["texts"]) == pytest.approx(1)
    assert {one["text"] for one in found["boxes"]} <= set(TEXTS)


@pytest.mark.parametrize(
    "route, change, said",
    [
        (EXPLAIN, {"texts": []}, "texts: found 0, expected 1 to 256"),
        (EXPLAIN, {"texts": ["a"] * 257}, "texts: found 257, expected 1 to 256"),
        (EXPLAIN, {"texts": ["a", " "]}, "texts[1]: found an empty text"),
        (EXPLAIN, {"texts": ["a " * 40]}, "texts[0]: "),
        (EXPLAIN, {"method": "other"}, "method"),
        (EXPLAIN, {"resolution": 4096}, "resolution"),
        (EXPLAIN, {"image": "data:image/png;base64,AAAA"}, "image: "),
        (EXPLAIN, {"image": "https://example.com/a.jpg"}, "this server fetches nothing"),
        (SEGMENT, {"texts": ["a"]}, "texts: found 1, expected 2 to 256"),
        (SEGMENT, {"image": coded(photo(1, (90, 10)))}, "image: found an image of 90 x 10"),
    ],
)
def test_what_cannot_be_explained_is_refused(served, route, change, said):
    answer = served.post(route, {"image": coded(photo(1)), "texts": TEXTS, **change})
    assert answer.status_code == 400, answer.text
    assert said in answer.json()["error"]["message"]
