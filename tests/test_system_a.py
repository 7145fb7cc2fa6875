"""The notebook and the page of System A, told again with nnclip's class: they run unchanged."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnclip.clip import CLIP
from nnclip.errors import ConfigError, DataError
from nnclip.nnabla import F, nn

CATEGORIES = ["a person with white hair", "a person with brown hair", "a person with pink hair"]


@pytest.fixture(scope="module")
def upload() -> BytesIO:
    """What the notebook fetches: the bytes of an image."""
    values = np.random.default_rng(3).integers(0, 255, (50, 70, 3), dtype=np.uint8)
    content = BytesIO()
    Image.fromarray(values).save(content, "PNG")
    return content


@pytest.fixture(scope="module")
def model(small_h5: Path) -> CLIP:
    return CLIP(model_path=small_h5, precision="fp32")


def test_its_page_labels_an_upload(small_h5: Path, upload: BytesIO) -> None:
    class Page(CLIP):
        """A class of its own, as the page has one."""

        def labels(self, content: BytesIO, lines: str) -> dict[str, float]:
            names = [line.strip() for line in lines.splitlines() if line.strip()]
            content.seek(0)
            likely = self.run(content, names)
            return {names[place]: float(likely[place]) for place in likely.argsort()[::-1]}

    found = Page(model_path=str(small_h5)).labels(upload, "\n".join(CATEGORIES) + "\n\n")
    assert set(found) == set(CATEGORIES) and abs(sum(found.values()) - 1) < 1e-5
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_its_notebook_runs_at_once_and_step_by_step(model: CLIP, upload: BytesIO) -> None:
    upload.seek(0)
    with nn.auto_forward(), nn.no_grad():
        at_once = model.run(upload, CATEGORIES)
    assert at_once.shape == (3,)
    ranked = sorted(zip(CATEGORIES, at_once, strict=True), key=lambda pair: pair[1], reverse=True)
    assert ranked[0][1] == at_once.max()

    upload.seek(0)
    with nn.auto_forward(), nn.no_grad():
        image, tokens = model.preprocess_image(upload), model.preprocess_texts(CATEGORIES)
        features = model.encode_image(image), model.encode_text(tokens)
        likely = model.probabilities(*features)
    assert (image.shape, tokens.shape) == ((1, 3, 32, 32), (3, 16))
    assert [one.shape for one in features] == [(1, 32), (3, 32)] and likely.shape == (1, 3)
    np.testing.assert_allclose(likely[0], at_once, rtol=1e-5)
    np.testing.assert_array_equal(model.probabilities(image, tokens), likely)


@pytest.mark.parametrize("auto", [False, True])
def test_variables_stay_variables(model: CLIP, upload: BytesIO, auto: bool) -> None:
    upload.seek(0)
    image, tokens = model.preprocess_image(upload), model.preprocess_texts(CATEGORIES)
    with nn.auto_forward(auto):
        x, t = nn.Variable.from_numpy_array(image), nn.Variable.from_numpy_array(tokens)
        features = model.encode_image(x), model.encode_text(t)
        of_features, of_images = model.probabilities(*features), model.probabilities(x, t)
        per_image, per_text = model(x, t)
        softmax = F.softmax(per_image, axis=-1)
    if not auto:
        nn.forward_all([of_features, of_images, softmax, per_text])
    wanted = model.probabilities(image, tokens)
    for found in (of_features, of_images, softmax):
        np.testing.assert_allclose(found.d, wanted, rtol=1e-4)
    assert per_text.shape == (3, 1)


def test_a_call_gives_logits(model: CLIP, upload: BytesIO) -> None:
    upload.seek(0)
    pair = model.preprocess_image(upload), model.preprocess_texts(CATEGORIES)
    for called, named in zip(model(*pair), model.logits(*pair), strict=True):
        np.testing.assert_array_equal(called, named)


def test_what_does_not_fit_is_told(model: CLIP, small_h5: Path) -> None:
    with pytest.raises(ConfigError, match="expected one of them"):
        CLIP(small_h5, model_path=small_h5)
    one = np.ones((1, 32), np.float32)
    with pytest.raises(DataError, match=r"text features: found shape \(3, 16\), expected"):
        model.probabilities(one, model.preprocess_texts(CATEGORIES))
    with pytest.raises(DataError, match="found a Variable and an array"):
        model.probabilities(one, nn.Variable((1, 32)))
