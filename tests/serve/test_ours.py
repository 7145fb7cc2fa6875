"""nnclip's own routes: labels, scores, search."""

import numpy as np
import pytest
from PIL import Image

from .conftest import coded, photo, started

LABELS = ["seal", "horse", "star"]
PHOTOS = [photo(1), photo(2)]


@pytest.mark.parametrize("model", ["small", "sigmoid"])
def test_labels_have_the_probabilities_of_the_model_s_loss(models, expected, model, sigmoid_h5):
    from nnclip.clip import CLIP

    asked = {"images": [coded(each) for each in PHOTOS], "labels": LABELS, "model": model}
    answer = models.post("/v1/classify", {**asked, "template": "a photo of a {}"})
    found = answer.json()
    assert answer.status_code == 200 and found["loss"] == {"small": "softmax"}.get(model, model)
    texts = [f"a photo of a {label}" for label in LABELS]
    scorer = (expected.model if model == "small" else CLIP(sigmoid_h5, precision="fp32")).scorer
    cosines = expected(*PHOTOS) @ expected(*texts).T
    for name, values in {
        "cosine": cosines,
        "logit": scorer.logits(cosines),
        "probability": scorer.probabilities(cosines),
    }.items():
        told = [[label[name] for label in each["labels"]] for each in found["data"]]
        np.testing.assert_allclose(told, values, atol=1e-4)
    assert [each["best"] for each in found["data"]] == [LABELS[i] for i in cosines.argmax(1)]
    total = sum(label["probability"] for label in found["data"][0]["labels"])
    assert (abs(total - 1) < 1e-5) == (model == "small")


def test_pairs_have_cosines(models, expected):
    pairs = [{"image": coded(p), "text": t} for p, t in zip(PHOTOS, LABELS[:2], strict=True)]
    found = models.post("/v1/score", {"pairs": pairs}).json()
    cosines = np.einsum("ne,ne->n", expected(*PHOTOS), expected(*LABELS[:2]))
    np.testing.assert_allclose([one["cosine"] for one in found["data"]], cosines, atol=1e-5)
    logits = [one["logit"] for one in found["data"]]
    np.testing.assert_allclose(logits, expected.model.scorer.logits(cosines), atol=1e-3)


@pytest.fixture(scope="module")
def models(small_h5, sigmoid_h5, collection):
    flags = ("-m", str(small_h5), "-m", str(sigmoid_h5), "--precision", "fp32")
    server = started(*flags, "--collection", str(collection))
    assert server.url and "ready" in server.lines[-1], server.lines
    yield server
    assert server.ends() == 0


@pytest.fixture(scope="module")
def collection(small_h5, tmp_path_factory):
    """Twelve images in two folders, embedded by the small model."""
    from nnclip.cli import main

    folder = tmp_path_factory.mktemp("holiday")
    for index in range(12):
        path = folder / ("sea" if index % 2 else "hills") / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(photo(index, kind="PNG"))
    place = folder.parent / "EMB"
    flags = ["-m", str(small_h5), "--precision", "fp32", "--workers", "0"]
    assert main(["embed", str(folder), "-o", str(place), *flags]) == 0
    return place


def names(answer):
    assert answer.status_code == 200, answer.text
    return [hit["image"].rsplit("/", 2)[-2:] for hit in answer.json()["data"]]


def test_search_finds_an_image_by_itself(models):
    answer = models.post("/v1/search", {"image": coded(photo(3, kind="PNG")), "k": 2})
    assert names(answer)[0] == ["sea", "3.png"]
    found = answer.json()
    assert found["data"][0]["cosine"] == pytest.approx(1, abs=2e-3)
    assert (found["model"], found["collection"], found["images"]) == ("small", "EMB", 12)
    assert 0 < found["data"][1]["probability"] < found["data"][0]["probability"] <= 1


def test_search_joins_a_text_and_an_image(models, expected):
    image = photo(3, kind="PNG")
    asked = {"text": "a seal", "image": coded(image), "image_weight": 0.25, "k": 12}
    query = 0.75 * expected("a seal")[0] + 0.25 * expected(image)[0]
    every = expected(*(photo(index, kind="PNG") for index in range(12)))
    order = np.argsort(-(every @ query))
    found = [int(name.removesuffix(".png")) for _, name in names(models.post("/v1/search", asked))]
    assert found[:3] == order[:3].tolist()
    alone = models.post("/v1/search", {**asked, "image_weight": 1})
    assert names(alone)[0] == ["sea", "3.png"]


def test_search_filters(models, collection):
    folder = collection.parent
    asked = {"text": "a seal", "k": 6, "filters": {"image": {"contains": "/sea/"}}}
    found = models.post("/v1/search", asked)
    assert len(names(found)) == 6 and {folder for folder, _ in names(found)} == {"sea"}
    assert found.json()["passed"] == 6
    best = models.post("/v1/search", {"text": "a seal", "k": 12}).json()["data"]
    in_sea = [hit["image"] for hit in best if "/sea/" in hit["image"]]
    assert [hit["image"] for hit in found.json()["data"]] == in_sea
    none = models.post("/v1/search", {**asked, "filters": {"bytes": {"max": 1}}})
    assert names(none) == [] and folder.exists()


def test_search_takes_what_the_command_takes(models, expected):
    every = expected(*(photo(index, kind="PNG") for index in range(12)))
    asked = {"text": "a seal:1 a star:0.5", "not": ["a horse"], "k": 12}
    query = expected("a seal", "a star", "a horse").T @ [1, 0.5, -0.5]
    answer = models.post("/v1/search", asked)
    found = [int(name.removesuffix(".png")) for _, name in names(answer)]
    assert found[:3] == np.argsort(-(every @ query))[:3].tolist()
    assert [answer.json()["data"][place]["percentile"] for place in (0, -1)] == [100, 0]
    image = answer.json()["data"][0]["image"]
    alike = models.post("/v1/search", {"like": image, "k": 12}).json()["data"]
    assert len(alike) == 11 and image not in {hit["image"] for hit in alike}
    under = models.post("/v1/search", {**asked, "filters": {"under": image.rsplit("/", 1)[0]}})
    assert (under.json()["passed"], len(names(under))) == (6, 6)
    bound = alike[4]["cosine"]
    kept = models.post("/v1/search", {"like": image, "k": 12, "min_cosine": bound}).json()["data"]
    assert len(kept) == 5
    assert models.post("/v1/search", {"text": "a " * 999, "truncate": True}).status_code == 200


@pytest.mark.parametrize(
    "path, asked, said",
    [
        ("search", {}, "found neither text nor image"),
        ("search", {"text": "a", "k": 0}, "k: "),
        ("search", {"not": ["a"]}, "also what they should show"),
        ("search", {"text": "a", "not": ["a:1"]}, "cancel out"),
        ("search", {"like": "/etc/passwd"}, "like: found no image '/etc/passwd'"),
        ("search", {"text": "a", "filters": {"after": "soon"}}, "filters.after: found 'soon'"),
        ("search", {"text": "a", "filters": {"bytes": {"min": "b"}}}, "filters.bytes: found 'b'"),
        ("search", {"text": "a", "collection": "other"}, "expected one of EMB"),
        ("search", {"text": "a", "filters": {"none": 1}}, "filters.none: found no such field"),
        ("search", {"text": "a", "filters": {"image": {"like": "a"}}}, "prefix"),
        ("search", {"text": "a", "filters": {"image": {"prefix": 1}}}, "prefix"),
        ("search", {"text": "a", "model": "none"}, "expected one of small"),
        ("search", {"text": "a", "model": "sigmoid"}, "cannot be compared"),
        ("search", {"text": "a", "other": 1}, "other: "),
        ("classify", {"images": [], "labels": ["a"]}, "images: found 0"),
        ("classify", {"images": ["aGVsbG8="], "labels": ["a"]}, "images[0]: "),
        ("classify", {"images": ["a"], "labels": ["a", "a"]}, "twice"),
        ("classify", {"images": ["a"], "labels": ["a"], "template": "b"}, "template: "),
        ("score", {"pairs": [{"image": coded(PHOTOS[0])}]}, "found no pairs.0.text"),
    ],
)
def test_what_cannot_be_answered_is_said(models, path, asked, said):
    answer = models.post(f"/v1/{path}", asked)
    assert answer.status_code in (400, 404), answer.text
    assert said in answer.json()["error"]["message"]


def test_a_collection_of_another_model_is_told_at_the_start(start, other_h5, collection):
    server = start("-m", str(other_h5), "--collection", str(collection))
    assert server.process.wait(60) == 2
    assert "cannot be compared" in server.lines[-1]


def test_pixels_and_bytes_have_limits(models, tmp_path):
    path = tmp_path / "large.png"
    Image.new("1", (8000, 8000)).save(path)
    asked = {"pairs": [{"image": coded(path.read_bytes()), "text": "a"}]}
    answer = models.post("/v1/score", asked)
    assert answer.status_code == 400
    assert "pairs[0].image: " in answer.json()["error"]["message"]
    assert "8000 x 8000 pixels" in answer.json()["error"]["message"]
    asked["pairs"][0]["image"] = coded(bytes(17 * 2**20))
    assert "16 MB" in models.post("/v1/score", asked).json()["error"]["message"]
