"""Where NNabla is not installed, the same source gives the same graphs and the same features."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nnclip.assets import asset
from nnclip.weights.model import load_model
from tests.towers.samples import SAMPLES, saved

HERE = Path(__file__).parent
OTHERS = ("bundled", "small", "other")


@pytest.fixture(scope="module")
def models(tmp_path_factory, small_h5, other_h5):
    """Name -> the file of a model: one for every tower and for every option that one has."""
    folder = tmp_path_factory.mktemp("models")
    found = dict(zip(OTHERS, (asset("nnclip.h5"), small_h5, other_h5), strict=True))
    for number, (name, sample) in enumerate(SAMPLES.items()):
        found[name] = saved(sample.config, folder / f"{number}.h5")
    return {name: str(path) for name, path in found.items()}


@pytest.fixture(scope="module")
def both(tmp_path_factory, models):
    """Traces and features: with NNabla, and without."""
    outs, runs = [tmp_path_factory.mktemp("out") / "found" for _ in range(2)], []
    for out, hidden in zip(outs, ("", "1"), strict=True):  # both at once
        environment = {**os.environ, "NNCLIP_TEST_WITHOUT_NNABLA": hidden}
        command = [sys.executable, HERE / "traces.py", out, *models.values()]
        runs.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    found = []
    for out, done in zip(outs, runs, strict=True):
        said = done.communicate()[1]
        assert done.returncode == 0, said
        with np.load(f"{out}.npz") as features:
            found.append((json.loads(Path(f"{out}.json").read_text()), dict(features)))
    return found


@pytest.mark.parametrize("name", [*OTHERS, *SAMPLES])
def test_every_tower_and_length_is_traced_alike(both, models, name):
    (wanted, _), (found, _) = both
    wanted, found = wanted[models[name]], found[models[name]]
    text = load_model(models[name]).config.text
    lengths = range(1, text.context + 1) if text.trims else [text.context]
    assert list(wanted) == ["image", *(f"text {n}" for n in lengths)]
    for tower, rows in wanted.items():
        assert len(rows) > 10
        assert found[tower] == rows, tower


@pytest.mark.parametrize("name", [*OTHERS, *SAMPLES])
def test_features_are_the_same_bits(both, models, name):
    (_, wanted), (_, found) = both
    assert wanted["installed"] and not found["installed"]
    for side in ("image", "text"):
        key = f"{models[name]} {side}"
        assert np.array_equal(wanted[key], found[key])


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("from nnclip import clip; clip.load(context='cudnn')", "context cudnn"),
        (
            "import nnclip.commands.training_run as t; t.main(['--train-txt-path', 'x.csv'])",
            "training",
        ),
    ],
)
def test_what_needs_nnabla_says_so(code, what):
    hidden = f"import sys; sys.modules['nnabla'] = None\ntry:\n    {code}\nexcept Exception as e:"
    hidden += "\n    print(type(e).__name__, e)"
    done = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert f"{what} needs NNabla, which is not installed; pip install" in said
    assert "Traceback" not in said
