"""The graph against arrays that open_clip computed once; needs no torch."""

from pathlib import Path

import numpy as np
import pytest

from nnclip.convert.answers import Answers
from nnclip.weights.h5 import read_h5
from nnclip.weights.model import load_model
from tests.graph.make_goldens import FOLDER, MODELS, make


def read(path: Path) -> tuple[Answers, np.ndarray, np.ndarray]:
    """The answers, the images and the ids."""
    with np.load(path) as file:
        arrays = dict(file)
    blocks = {t: sum(k.startswith(f"hidden/{t}/") for k in arrays) for t in ("image", "text")}
    answers = Answers(
        {t: [arrays[f"hidden/{t}/{i}"] for i in range(n)] for t, n in blocks.items()},
        {t: arrays[f"features/{t}"] for t in blocks},
        arrays["logits"],
        float(arrays["loss"]),
        {k.removeprefix("gradients/"): a for k, a in arrays.items() if k.startswith("gradients/")},
    )
    return answers, arrays["images"], arrays["ids"]


@pytest.mark.parametrize("name", MODELS)
def test_every_stage_and_gradient_agrees(name, graph_answers, differences, too_far):
    expected, images, ids = read(FOLDER / f"{name}.npz")
    model = load_model(FOLDER / f"{name}.h5")
    assert model.config == MODELS[name]
    found = graph_answers(model.config, model.scope, images, ids)
    parts = differences(found, expected, ids)
    blocks = model.config.image.blocks.layers + model.config.text.blocks.layers
    assert len(parts) == blocks + 4 + len(model.variables())
    assert not too_far(parts)


def test_the_files_are_small():
    assert 0 < sum(file.stat().st_size for file in FOLDER.iterdir()) < 300_000


@pytest.mark.torch
def test_the_script_makes_these_files(tmp_path):
    make(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in FOLDER.iterdir()}
    for name in MODELS:
        kept, made = (read_h5(folder / f"{name}.h5") for folder in (FOLDER, tmp_path))
        # the kept files are older than some metadata of the text side, and are still read
        assert {**made.metadata, **kept.metadata} == made.metadata
        for key, array in kept.arrays.items():
            np.testing.assert_array_equal(made.arrays[key], array)
        with np.load(FOLDER / f"{name}.npz") as kept, np.load(tmp_path / f"{name}.npz") as made:
            assert set(made) == set(kept)
            for key, array in kept.items():  # processors round differently
                limit = 1e-4 if key.startswith("gradients/") else 2e-5
                assert np.linalg.norm(made[key] - array) <= limit * np.linalg.norm(array), key
