"""A collection knows how its images were prepared."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest

from nnclip.errors import ConfigError, DataError
from nnclip.image import Preprocess
from nnclip.search.embed import prepare
from nnclip.search.manifest import manifest_of, read_manifest


def model(preprocess: Preprocess) -> SimpleNamespace:
    image = SimpleNamespace(preprocess=preprocess)
    config = SimpleNamespace(image=image, embed=4, loss="softmax", scalars={})
    return SimpleNamespace(
        path=Path("m.h5"), config=config, precision="fp32", digest=lambda: "0" * 32
    )


OPENAI, SQUASHED = model(Preprocess(8)), model(Preprocess(8, "squash"))


@pytest.fixture
def photos(tmp_path):
    from PIL import Image

    (tmp_path / "photos").mkdir()
    Image.new("RGB", (9, 5)).save(tmp_path / "photos/a.png")
    return [str(tmp_path / "photos")]


def test_the_same_parameters_that_prepare_otherwise_are_refused(tmp_path, photos):
    folder = tmp_path / "embedded"
    prepare(folder, manifest_of(SQUASHED, "m.h5", "float16"), photos, "filepath")
    found = read_manifest(folder)
    found.check_model(SQUASHED)
    with pytest.raises(ConfigError, match="prepares images in another way"):
        found.check_model(OPENAI)
    with pytest.raises(DataError, match="were prepared in another way"):
        prepare(folder, manifest_of(OPENAI, "m.h5", "float16"), photos, "filepath")


def test_a_collection_of_earlier_versions_was_cropped():
    old = dataclasses.replace(manifest_of(OPENAI, "m.h5", "float16"), preprocess="")
    old.check_model(OPENAI)
    old.check_model(model(Preprocess(8, mean=(0.5, 0.5, 0.5))))
    with pytest.raises(ConfigError, match="expected the pipeline of OpenAI"):
        old.check_model(SQUASHED)
