"""What all tests share: a small model with random weights, in memory and on disk."""

import dataclasses
from collections.abc import Generator, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnclip.graph.config import BlockConfig, ClipConfig, TextConfig, VitConfig
from nnclip.graph.parameters import make_parameters
from nnclip.image import Preprocess
from nnclip.weights.model import ModelWeights, save_model

SMALL = ClipConfig(
    embed=32,
    image=VitConfig(preprocess=Preprocess(32), patch=8, blocks=BlockConfig(64, 2, 2, 256)),
    text=TextConfig(vocabulary=49408, context=16, blocks=BlockConfig(64, 2, 4, 256)),
)


TORCH = ("torch", "torchvision", "transformers", "open_clip")


def pytest_configure(config: pytest.Config) -> None:
    """Hide torch from a run without the tests marked torch: one that lacks the mark then fails."""
    if "not torch" not in config.option.markexpr:
        return
    find = PathFinder.find_spec

    def without_torch(name: str, *arguments: Any) -> ModuleSpec | None:
        return None if name.split(".")[0] in TORCH else find(name, *arguments)

    PathFinder.find_spec = staticmethod(without_torch)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """Let names of files that are no UTF-8 stand in what a test printed: reports travel as it."""
    report = yield
    report.sections = [
        (title, text.encode("utf-8", "backslashreplace").decode())
        for title, text in report.sections
    ]
    return report


@pytest.fixture(scope="session", autouse=True)
def scales(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """int8's scales are kept in a folder of the run: nothing of the user's is read or written."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("int8")
        for module in ("nnclip.towers", "nnclip.model"):
            patch.setattr(f"{module}.scales_dir", lambda: folder)
        yield


@pytest.fixture(scope="session")
def small_config() -> ClipConfig:
    return SMALL


@pytest.fixture(scope="session")
def small_h5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file of 13 MB with OpenAI's vocabulary, 32 pixels and 16 tokens."""
    path = tmp_path_factory.mktemp("weights") / "small.h5"
    save_model(path, ModelWeights(SMALL, make_parameters(SMALL, seed=1), {}))
    return path


@pytest.fixture(scope="session")
def other_h5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model, with 48 pixels, GELU and a wider embedding."""
    image = dataclasses.replace(SMALL.image, preprocess=Preprocess(48))
    gelu = dataclasses.replace(image, blocks=dataclasses.replace(image.blocks, activation="gelu"))
    text = dataclasses.replace(
        SMALL.text, blocks=dataclasses.replace(SMALL.text.blocks, activation="gelu")
    )
    config = ClipConfig(embed=48, image=gelu, text=text)
    path = tmp_path_factory.mktemp("weights") / "other.h5"
    save_model(path, ModelWeights(config, make_parameters(config, seed=2), {}))
    return path


@pytest.fixture(scope="session")
def sigmoid_h5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model as if trained with the sigmoid loss, with a bias that shows."""
    config = dataclasses.replace(SMALL, loss="sigmoid")
    path = tmp_path_factory.mktemp("weights") / "sigmoid.h5"
    model = ModelWeights(config, make_parameters(config, seed=1), {})
    model.variables()["logit_bias"].d = -1.5
    save_model(path, model)
    return path


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(412)
