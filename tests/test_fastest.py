"""precision="auto": the bound decides, and what was measured is kept."""

import json
from pathlib import Path

import numpy as np
import pytest

from nnclip.clip import CLIP
from nnclip.engine import available_precisions
from nnclip.errors import ConfigError
from nnclip.fastest import fastest

TEXTS = ["a dog", "two red cars in the rain"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the models keep what they find."""
    return tmp_path_factory.mktemp("found")


@pytest.fixture
def auto(small_h5: Path, folder: Path):
    """A model that chooses, by its bound."""
    images = list(np.random.default_rng(0).normal(size=(4, 3, 32, 32)).astype(np.float32))

    def make(least_cosine: float) -> CLIP:
        return CLIP(
            small_h5,
            precision="auto",
            least_cosine=least_cosine,
            calibration=images,
            calibration_texts=TEXTS,
            cache_dir=folder,
        )

    return make


def test_the_bound_decides_and_what_was_measured_is_kept(auto, folder):
    assert auto(1 - 1e-7).precision == "fp32"  # nothing else is as close
    (note,) = folder.glob("*.json")
    measured = json.loads(note.read_text())
    assert list(measured) == sorted(available_precisions())
    assert measured["fp32"]["cosine"] == pytest.approx(1)
    assert measured["int8"]["cosine"] < 1 - 1e-5
    assert all(row["seconds"] > 0 for row in measured.values())

    measured["int8"]["seconds"] = 1e-9  # taken from there, not measured again
    note.write_text(json.dumps(measured))
    quick = auto(0.9)
    assert quick.precision == "int8"
    assert quick.encode_text(quick.tokenize(TEXTS)).shape == (2, 32)


@pytest.mark.parametrize("damaged", ["", "{}", '{"fp32": 1}'])
def test_a_damaged_note_is_measured_again(auto, folder, damaged):
    auto(1 - 1e-7)
    (note,) = folder.glob("*.json")
    note.write_text(damaged)
    assert auto(1 - 1e-7).precision == "fp32"
    assert "fp32" in json.loads(note.read_text())


@pytest.mark.parametrize("bound", [-0.1, 1.0, 2])
def test_a_bound_that_nothing_can_meet_is_refused(bound, tmp_path):
    with pytest.raises(ConfigError, match="from 0 to below 1"):
        fastest(None, None, None, bound, tmp_path)
