"""What single settings do to a run."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from nnclip import clip
from nnclip.cli import main
from nnclip.errors import ConfigError, NnclipError
from nnclip.graph.config import BlockConfig
from nnclip.graph.parameters import expected_shapes
from nnclip.training.boards import read_log
from nnclip.training.communicator import Alone
from nnclip.training.config import TrainConfig
from nnclip.training.model import make_trainee
from nnclip.training.sizes import SIZES, named_size
from nnclip.training.trainer import Trainer
from nnclip.weights.model import load_model


@pytest.fixture
def settings(small_h5: Path, pairs_csv: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        train=str(pairs_csv), finetuning=True, model_load_path=str(small_h5), batch_size=8,
        max_iter=2, warmup_iter=0, lr=1e-4, workers=0, log_interval=1,
        monitor_path=str(tmp_path / "run"), overwrite=True,
    )  # fmt: skip


def trained(config: TrainConfig, **changes: object) -> Trainer:
    trainer = Trainer(dataclasses.replace(config, **changes), Alone(), "cpu")
    trainer.run()
    return trainer


def test_a_clipped_gradient_moves_as_one_of_that_norm(settings: TrainConfig) -> None:
    """Adam forgets the scale of the first gradient but for epsilon, which is made large here."""
    moved = {}
    for clip_norm in (0.0, 1e-3):
        before = load_model(settings.model_load_path).variables()
        after = trained(
            settings, max_iter=1, lr=1e4, eps=100.0, weight_decay=0.0, clip_norm=clip_norm
        )._variables
        moved[clip_norm] = np.linalg.norm(after["visual/proj"].d - before["visual/proj"].d)
    norm = read_log(Path(settings.monitor_path))[0]["gradient_norm"]
    assert norm > 0.1  # what is logged is the norm before
    assert moved[1e-3] == pytest.approx(moved[0.0] * 1e-3 / norm, rel=0.1)


def test_a_vocabulary_of_ones_own_stays_with_the_model(
    settings: TrainConfig, pairs_csv: Path, tmp_path: Path
) -> None:
    bpe = tmp_path / "bpe.json"
    command = ["train-tokenizer", str(pairs_csv), "--column", "title", "-o", str(bpe)]
    assert main([*command, "--vocab-size", "530", "--min-frequency", "1"]) == 0
    trained(settings, finetuning=False, model="tiny", tokenizer=str(bpe), max_iter=1, image_size=16)
    model = clip.CLIP(tmp_path / "run" / "model.h5", precision="fp32")
    ids = model.tokenize("image number 7")
    assert 0 < ids.max() < 530 and model.config.text.vocabulary <= 530
    again = dataclasses.replace(settings, model_load_path=str(tmp_path / "run" / "model.h5"))
    assert make_trainee(again).tokenizer == make_trainee(again).tokenizer
    np.testing.assert_array_equal(
        make_trainee(again).tokenizer(["image number 7"], 32)[0, :8], ids[0, :8]
    )


def test_what_was_frozen_stays_frozen_unless_asked_otherwise(
    settings: TrainConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained(settings, freeze="image", max_iter=1)
    locked = dataclasses.replace(settings, model_load_path=str(tmp_path / "run" / "model.h5"))

    def moving(**changes: object) -> set[str]:
        variables = make_trainee(dataclasses.replace(locked, **changes)).variables()
        return {name for name, v in variables.items() if v.need_grad}

    assert not any(name.startswith("visual/") for name in moving())
    assert "--freeze none" in caplog.text
    everything = set(load_model(settings.model_load_path).variables())
    assert moving(freeze="none") == everything
    assert moving(freeze="none,logit_scale") == everything - {"logit_scale"}


class Disagreeing(Alone):
    """The other of two ranks holds other parameters from its second answer on."""

    size = 2
    asked = 0

    def gather_rows(self, rows: np.ndarray) -> np.ndarray:
        self.asked += rows.dtype == np.int64  # checksums
        return np.concatenate([rows, rows + (self.asked > 1)])


def test_ranks_are_compared_at_the_start_and_every_so_often(settings: TrainConfig) -> None:
    trainer = Trainer(
        dataclasses.replace(settings, max_iter=9, check_interval=3), Disagreeing(), "cpu"
    )
    with pytest.raises(NnclipError, match="the ranks hold different parameters"):
        trainer.run()
    assert trainer.state.step == 3


@pytest.mark.parametrize("solver", ["Adam", "Lamb", "Lars"])
def test_every_solver_lowers_the_loss(settings: TrainConfig, solver: str) -> None:
    rate = {"Adam": 1e-4, "Lamb": 1e-3, "Lars": 1.0}[solver]
    trained(settings, solver=solver, lr=rate, max_iter=15, schedule="constant", weight_decay=0.0)
    losses = [line["loss"] for line in read_log(Path(settings.monitor_path))]
    assert np.mean(losses[-4:]) < np.mean(losses[:4])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"finetuning": False, "model": "huge"}, "found no such size"),
        ({"context_length": 99}, "--context-length: found 99, expected at most the model's 16"),
        ({"image_size": 4}, "--image-size"),
        ({"finetuning": False, "model": "tiny", "image_size": 4}, "--image-size"),
        ({"tokenizer": "x.json"}, "--tokenizer"),
    ],
)
def test_a_model_that_cannot_be_is_told(settings: TrainConfig, changes: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_trainee(dataclasses.replace(settings, **changes))


def test_every_named_size_can_be_built() -> None:
    for name, size in SIZES.items():
        shapes = expected_shapes(size)
        assert any(k.startswith("visual/") for k in shapes) and "logit_scale" in shapes, name


def test_a_spelled_size_is_what_it_says() -> None:
    size = named_size("vit:64,8,128,3+gpt:192,4,6")
    assert (size.image.resolution, size.image.patch, size.embed) == (64, 8, 192)
    assert size.image.blocks == BlockConfig(128, 3, 2, 512)
    assert size.text.blocks == BlockConfig(192, 4, 6, 768)
    assert (size.text.vocabulary, size.text.context) == (49408, 77)
    convolutions = named_size("resnet:64,24,1,2,2,1+gpt:192,4,6+embed:100")
    bundled = dataclasses.replace(SIZES["bundled"].image)
    assert convolutions.image == bundled and convolutions.embed == 100
    shapes = expected_shapes(convolutions)
    assert shapes["text_projection"] == (192, 100)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("vit:64,8,128,3", "found ''"),
        ("vit:64,8,128+gpt:128,3", "found 'vit:64,8,128'"),
        ("vit:64,8,128,3,2,1+gpt:128,3", "expected vit:RESOLUTION"),
        ("vit:64,8,x,3+gpt:128,3", "numbers above 0"),
        ("vit:64,8,0,3+gpt:128,3", "numbers above 0"),
        ("gpt:128,3+vit:64,8,128,3", "found 'gpt:128,3'"),
        ("vit:64,8,128,3+bert:128,3", "found 'bert:128,3'"),
        ("vit:64,7,128,3+gpt:128,3", "patches of 7 for 64 pixels"),
        ("vit:64,8,100,3,3+gpt:128,3", "3 heads for a width of 100"),
        ("resnet:60,24,1,2,2,1+gpt:128,3", "a multiple of 32"),
        ("vit:64,8,128,3+gpt:128,3+embed:0", "found 'embed:0'"),
        ("vit:64,8,128,3+gpt:128,3+embed:8+embed:9", "found 'embed:8'"),
        ("vit:64,8,128,3+gpt:128,3+", "found ''"),
    ],
)
def test_a_size_that_cannot_be_read_is_told(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        named_size(name)


def test_low_resource_towers_are_those_of_their_system() -> None:
    small, base = SIZES["M/14@112+S"], SIZES["B/16@112+B"]
    assert (small.image.resolution, small.image.patch) == (112, 14)
    blocks = (small.image.blocks, small.text.blocks, base.image.blocks, base.text.blocks)
    assert [(b.layers, b.width, b.hidden, b.heads) for b in blocks] == [
        (6, 256, 512, 8), (8, 512, 1024, 8), (12, 768, 3072, 8), (12, 512, 2048, 8),
    ]  # fmt: skip
    assert small.embed == base.embed == 512 and small.text.context == 32
