"""Where NNabla is not installed, the same source gives the same graphs and the same features."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nnclip.assets import asset
from nnclip.graph.config import ClipConfig, ClipResNetConfig, ResNetConfig
from nnclip.graph.parameters import make_parameters
from nnclip.image import Preprocess
from nnclip.weights.model import ModelWeights, save_model

IMAGES = {
    "clip-resnet": ClipResNetConfig(Preprocess(64), (1, 1, 1, 1), 16, heads=8),
    "bottleneck": ResNetConfig(Preprocess(64), (1, 1, 1, 1), bottleneck=True),
}
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def models(tmp_path_factory, small_config, small_h5, other_h5):
    """One model file for every kind of tower."""
    folder = tmp_path_factory.mktemp("models")
    paths = [asset("nnclip.h5"), small_h5, other_h5]
    for name, image in IMAGES.items():
        embed = 2048 if name == "bottleneck" else 32
        config = ClipConfig(embed, image, small_config.text)
        paths.append(folder / f"{name}.h5")
        save_model(paths[-1], ModelWeights(config, make_parameters(config, seed=3), {}))
    return [str(path) for path in paths]


@pytest.fixture(scope="module")
def both(tmp_path_factory, models):
    """Traces and features: with NNabla, and without."""
    found = []
    for hidden in ("", "1"):
        out = tmp_path_factory.mktemp("out") / "found"
        environment = {**os.environ, "NNCLIP_TEST_WITHOUT_NNABLA": hidden}
        command = [sys.executable, HERE / "traces.py", out, *models]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        with np.load(f"{out}.npz") as features:
            found.append((json.loads(Path(f"{out}.json").read_text()), dict(features)))
    return found


def test_every_tower_is_traced_alike(both, models):
    (wanted, _), (found, _) = both
    assert list(wanted) == list(found) == models
    for model, towers in wanted.items():
        for tower, rows in towers.items():
            assert len(rows) > 10
            assert found[model][tower] == rows, f"{model} {tower}"


def test_features_are_the_same_bits(both):
    (_, wanted), (_, found) = both
    assert wanted.pop("installed") and not found.pop("installed")
    for name, features in wanted.items():
        assert np.array_equal(features, found[name]), name


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("from nnclip import clip; clip.load(context='cudnn')", "context cudnn"),
        ("import nnclip.training.launch as t; t.main(['--train-txt-path', 'x.csv'])", "training"),
    ],
)
def test_what_needs_nnabla_says_so(code, what):
    hidden = f"import sys; sys.modules['nnabla'] = None\ntry:\n    {code}\nexcept Exception as e:"
    hidden += "\n    print(type(e).__name__, e)"
    done = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert f"{what} needs NNabla: found none, expected it; pip install" in said
    assert "Traceback" not in said
