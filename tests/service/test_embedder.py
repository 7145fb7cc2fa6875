import numpy as np
import pytest
from PIL import Image

from nnclip.clip import CLIP
from nnclip.errors import DataError, TextTooLongError
from nnclip.service.answers import classify
from nnclip.service.embedder import Embedder
from nnclip.service.images import ImageBytes, ImageFile


@pytest.fixture(scope="module")
def embedder(small_h5):
    return Embedder("small", CLIP(small_h5, precision="fp32"))


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (40, 30), "teal").save(path)
    return path


def test_an_answer_is_that_of_the_model(embedder, picture):
    answer = classify(embedder, [ImageFile.find(picture)], ["dog", "cat"], "a {}")
    model = embedder.model
    ids = model.tokenize(["a dog", "a cat"])
    expected = model.probabilities(model.preprocess_image(picture), ids)
    np.testing.assert_allclose(answer.probabilities, expected, atol=1e-6)
    assert answer.texts == ["a dog", "a cat"]


def test_nothing_is_computed_twice(embedder, picture, monkeypatch):
    image = ImageFile.find(picture)
    first = classify(embedder, [image], ["dog", "cat"], "the {}")

    def fail(_):
        raise AssertionError("computed again")

    monkeypatch.setattr(embedder, "_encode_text", fail)
    monkeypatch.setattr(embedder, "_encode_image", fail)
    again = classify(embedder, [image], ["cat", "dog"], "the {}")
    np.testing.assert_array_equal(again.cosines, first.cosines[:, ::-1])


def test_a_picture_that_changed_is_computed_again(embedder, picture):
    before = embedder.images([ImageFile.find(picture)])
    Image.effect_noise((50, 50), 90).save(picture)
    assert np.abs(embedder.images([ImageFile.find(picture)]) - before).max() > 1e-4


def test_too_long_a_category_is_told(embedder, picture):
    with pytest.raises(DataError):
        classify(embedder, [ImageFile.find(picture)], ["word " * 2000])


def test_bytes_and_the_file_that_holds_them_have_one_embedding(embedder, picture):
    as_bytes = embedder.images([ImageBytes(picture.read_bytes())])
    np.testing.assert_array_equal(as_bytes, embedder.images([ImageFile.find(picture)]))


@pytest.mark.parametrize(("amount", "found"), [(0, "no images"), (17, "17 images")])
def test_too_few_and_too_many_images_are_told(embedder, picture, amount, found):
    with pytest.raises(DataError, match=f"found {found}, expected 1 to 16"):
        classify(embedder, [ImageFile.find(picture)] * amount, "a dog")


def test_places_are_what_the_model_explains(embedder, picture):
    texts = ["a dog", "a ball", "a star"]
    found = embedder.places(ImageFile.find(picture), texts, 40)
    assert found.view.size == (40, 40)
    np.testing.assert_allclose(found.maps, embedder.model.explain(picture, texts), atol=1e-4)


def test_a_text_that_is_too_long_fails_alone_where_that_is_wanted(embedder, picture):
    texts, long = ["a dog", "word " * 300, "a cat"], ("word " * 300).strip()
    images = [ImageFile.find(picture)]
    with pytest.raises(TextTooLongError):
        classify(embedder, images, texts)
    found = classify(embedder, images, texts, "a photo of {}", strict=False)
    assert found.categories == ["a dog", "a cat"] and list(found.left_out) == [f"a photo of {long}"]
    assert found.left_out[f"a photo of {long}"] > found.most == embedder.model.config.text.context
    alone = classify(embedder, images, ["a dog", "a cat"], "a photo of {}")
    np.testing.assert_array_equal(found.cosines, alone.cosines)
    with pytest.raises(TextTooLongError):
        classify(embedder, images, [long], strict=False)
