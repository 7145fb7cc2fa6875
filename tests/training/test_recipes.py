"""The recipes of docs/systems.md, command by command, on small towers and drawn images."""

import json
import logging
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import yaml

from nnclip import clip
from nnclip.cli import main
from nnclip.commands.training_run import main as train
from nnclip.graph.bert import BertConfig
from nnclip.graph.parameters import make_tower_parameters
from nnclip.graph.resnet import ClipResNetConfig
from nnclip.graph.torch_resnet import ResNetConfig
from nnclip.graph.transformer import BlockConfig
from nnclip.image import Preprocess
from nnclip.training.boards import read_log
from nnclip.training.data.readers import read_pairs
from nnclip.weights.h5 import read_h5
from nnclip.weights.tower import TowerWeights, save_tower

SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]  # XLM-R's, whose padding is 1
Run = Callable[..., str]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Commands take signals and the log over."""
    signals = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1)}
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:], logging.root.level = handlers, level
    for number, handler in signals.items():
        signal.signal(number, handler)


@pytest.fixture
def run(capsys: pytest.CaptureFixture) -> Run:
    """Runs a command and returns what it printed; one that begins with train.py trains."""

    def call(*words: object) -> str:
        name, *rest = map(str, words)
        capsys.readouterr()
        status = train(rest) if name == "train.py" else main([name, *rest])
        found = capsys.readouterr()
        assert status == 0, found.err
        return found.out

    return call


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 drawn images of 64 pixels with captions in four languages each."""
    folder = tmp_path_factory.mktemp("drawn")
    flags = ["--count", "24", "--size", "64", "--captions", "4", "--languages", "en,es,fr,ru"]
    assert main(["draw-pairs", str(folder), *flags, "--workers", "1"]) == 0
    return folder / "pairs.csv"


def image_tower(path: Path, config: ClipResNetConfig | ResNetConfig, width: int) -> Path:
    save_tower(path, TowerWeights(config, width, make_tower_parameters(config, width, 1), {}))
    return path


def text_tower(path: Path, pairs: Path, **kind: object) -> Path:
    """A small encoder with a vocabulary of the captions."""
    words = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="<unk>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    words.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    trainer = tokenizers.trainers.WordPieceTrainer(vocab_size=400, special_tokens=SPECIALS)
    words.train_from_iterator(read_pairs(str(pairs)).captions(), trainer)
    blocks = BlockConfig(48, 2, 3, 96, "gelu", 1e-5)
    config = BertConfig(400, 66, 64, blocks, pad=1, **kind)  # type: ignore[arg-type]
    scope = make_tower_parameters(config, config.features, 2)
    save_tower(path, TowerWeights(config, config.features, scope, {"tokenizer": words.to_str()}))
    return path


def steps(folder: Path, name: str = "loss") -> list[float]:
    return [line[name] for line in read_log(folder) if name in line]


def test_multilingual_clip_with_search(drawn: Path, run: Run, tmp_path: Path) -> None:
    """Frozen CLIP-ResNet and XLM-R, residual heads, no temperature, two phases, search."""
    image = image_tower(
        tmp_path / "rn.h5", ClipResNetConfig(Preprocess(64), (1, 1, 1, 1), 8, 4), 40
    )
    text = text_tower(tmp_path / "xlm-r.h5", drawn, types=1, first_position=2)
    start, one, two = tmp_path / "start.h5", tmp_path / "phase1", tmp_path / "phase2"
    run("join", image, text, "-o", start, "--heads", "residual", "--width", 32)
    common = ["--cache", tmp_path / "features", "-b", 8, "--workers", 0, "--log-interval", 1]
    flags = ["--temperature", "none", "--lr", "1e-3", "--split", 0.8]
    run("train-heads", start, drawn, "-m", one, "-ep", 3, *flags, *common)
    assert len(steps(one)) == 7 and set(steps(one, "logit_scale")) == {1.0}
    assert {"image_accuracy", "text_accuracy"} <= read_log(one)[0].keys()
    heads = [word for side in ("image", "text")
             for word in (f"--{side}-head", one / f"{side}_head-last.h5")]  # fmt: skip
    run("join", image, text, "-o", start, *heads)
    run("train-heads", start, drawn, "-m", two, "-ep", 1, *flags, *common)
    before, after = (read_h5(folder / "model.h5").arrays for folder in (one, two))
    same = {name for name in before if np.array_equal(before[name], after[name])}
    assert {n for n in before if n.startswith(("visual/", "bert/"))} <= same
    assert "text_head/layers/2/W" not in same

    emb = tmp_path / "emb"
    run("embed", drawn.parent / "pictures", "-o", emb, "-m", two / "model.h5", "--workers", 0)
    asked = ["красный круг", "-i", emb, "-m", two / "model.h5", "-k", 10, "--json"]
    found = json.loads(run("search", *asked))
    assert len(found) == 10 and {"image", "prob", "cosine"} <= found[0].keys()
    assert [hit["prob"] for hit in found] == sorted((hit["prob"] for hit in found), reverse=True)


def test_low_resource_clip_from_scratch(drawn: Path, run: Run, tmp_path: Path) -> None:
    """A vocabulary of its own, training from scratch, resuming, evaluation, figures."""
    vocabulary, folder = tmp_path / "bpe.json", tmp_path / "run"
    run("train-tokenizer", drawn, "--column", "title", "--vocab-size", 600, "-o", vocabulary)
    flags = ["--model", "tiny", "--tokenizer", vocabulary, "--context-length", 24,
             "--train-txt-path", drawn, "--val-txt-path", drawn, "-b", 8, "-wi", 1,
             "--lr", "5e-4", "--beta1", 0.9, "--beta2", 0.98, "--eps", "1e-6",
             "--weight-decay", 0.2, "--workers", 0, "--log-interval", 1, "-m", folder]  # fmt: skip
    run("train.py", *flags, "-i", 2)
    run("train.py", *flags, "-i", 3, "--resume", "latest")
    assert len(steps(folder)) == 3
    model = clip.CLIP(folder / "model.h5", precision="fp32")
    assert model.tokenizer.vocab_size == model.config.text.vocabulary <= 600
    classes = tmp_path / "classes"
    for number, pair in enumerate(sorted((drawn.parent / "pictures").rglob("*.jpg"))[:6]):
        target = classes / ("even", "odd")[number % 2] / pair.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(pair)
    texts = tmp_path / "texts.txt"
    texts.write_text("a good photo\na bad photo\n")
    figures, which = tmp_path / "figures", ["-m", folder / "model.h5", "--batch-size", 8]
    one = json.loads(run("evaluate", "zero-shot", classes, *which, "--templates", "imagenet",
                         "--json", "--figures", figures))  # fmt: skip
    assert 0 <= one["metrics"]["acc1"] <= 1
    run("evaluate", "typographic", classes, *which, "--figures", figures)
    run("evaluate", "bias", classes, "--texts", texts, *which, "--figures", figures)
    run("evaluate", "training", folder, "--figures", figures)
    assert len(list(figures.rglob("*.png"))) >= 4


def test_frozen_encoders_with_trained_heads(drawn: Path, run: Run, tmp_path: Path) -> None:
    """A ResNet of torchvision's kind, DistilBERT, simple heads, the nearest five of a query."""
    image = image_tower(
        tmp_path / "resnet.h5", ResNetConfig(Preprocess(64), (1, 1, 1, 1), False), 512
    )
    text = text_tower(tmp_path / "distilbert.h5", drawn)
    start, folder = tmp_path / "start.h5", tmp_path / "run"
    run("join", image, text, "-o", start, "--heads", "simple", "--width", 32)
    run("train-heads", start, drawn, "-m", folder, "-ep", 2, "-b", 8, "--lr", "1e-3",
        "--clip-norm", 1.0, "--split", 0.8, "--log-interval", 1, "--workers", 0,
        "--tensorboard")  # fmt: skip
    assert len(steps(folder)) == 5 and len(steps(folder, "validation_loss")) >= 2
    assert list(folder.glob("events.out.tfevents.*"))
    figures = tmp_path / "figures"
    run("evaluate", "retrieval", drawn, "-m", folder / "model.h5", "--figures", figures)
    assert list(figures.rglob("*nearest*.png")), sorted(figures.rglob("*"))


def test_clip_of_a_resnet_from_yaml_files(drawn: Path, run: Run, tmp_path: Path) -> None:
    """Settings of training, model and data in YAML, flags over them, answers as a figure."""
    folder = tmp_path / "run"
    files = {
        "train": {"training": {"batch_size": 8, "lr": 5e-4, "eps": 1e-8, "weight_decay": 0.1,
                               "warmup_iter": 0.2, "epochs": 35, "seed": 11, "log_interval": 1}},
        "model": {"model": {"model": "tiny-RN"}},
        "data": {"data": {"train": "nowhere.json", "workers": 0}},
    }  # fmt: skip
    configs = []
    for name, content in files.items():
        path = tmp_path / f"{name}_config.yaml"
        path.write_text(yaml.safe_dump(content))
        configs += ["--config", path]
    run("train.py", *configs, "--train-txt-path", drawn, "-i", 5, "-m", folder)
    settings = yaml.safe_load((folder / "settings.yaml").read_text())
    assert (settings["seed"], settings["train"], settings["eps"]) == (11, str(drawn), 1e-8)
    assert steps(folder, "learning_rate")[0] == pytest.approx(5e-4)  # a fifth of five steps
    assert max(steps(folder, "logit_scale")) <= 100
    classes = tmp_path / "classes.txt"
    classes.write_text("circle\nsquare\ncat\n")
    figures = tmp_path / "figures"
    flags = ["--texts", classes, "--templates", "a photo of a {}", "--figures", figures]
    run("evaluate", "predict", drawn.parent / "pictures", "-m", folder / "model.h5", *flags)
    assert list(figures.rglob("*.png"))


def test_a_student_of_a_teacher(drawn: Path, small_h5: Path, run: Run, tmp_path: Path) -> None:
    """A multilingual encoder learns what an English model says of the same captions."""
    text = text_tower(tmp_path / "xlm-r.h5", drawn, types=1, first_position=2, pooling="mean")
    lesson = tmp_path / "lesson.tsv"
    captions = [read_pairs(str(drawn))[row].captions[0] for row in range(24)]
    lesson.write_text("".join(f"{c}\t{c}\n" for c in ["english", *captions]))
    start, folder = tmp_path / "start.h5", tmp_path / "run"
    run("join", small_h5, text, "-o", start, "--heads", "linear", "--width", 32)
    run("train-heads", start, lesson, "--teacher", small_h5, "-m", folder, "-i", 30, "-b", 8,
        "--lr", "1e-2", "--log-interval", 1)  # fmt: skip
    assert np.mean(steps(folder)[-5:]) < 0.8 * steps(folder)[0]
    whole = tmp_path / "whole.h5"
    run("join", small_h5, text, "-o", whole, "--text-head", folder / "text_head.h5")
    model = clip.CLIP(whole, precision="fp32")  # images as the teacher sees them
    images = np.zeros((1, 3, 32, 32), np.float32)
    np.testing.assert_array_equal(
        model.encode_image(images), clip.CLIP(small_h5, precision="fp32").encode_image(images)
    )
    assert model.encode_text(model.tokenize("круг")).shape == (1, 32)
    tower = tmp_path / "tower"
    run("train-heads", start, lesson, "--teacher", small_h5, "--whole-tower", "-m", tower,
        "-i", 24, "-b", 8, "--lr", "3e-3", "--log-interval", 1)  # fmt: skip
    assert np.mean(steps(tower)[-5:]) < 0.5 * steps(tower)[0]
    assert len(steps(tower, "validation_loss")) > 1
    before, after, best = (read_h5(path).arrays for path in (start, tower / "model.h5",
                                                             tower / "best.h5"))  # fmt: skip
    moved = {name.split("/")[0] for name in before if not np.array_equal(before[name], after[name])}
    assert moved == {"bert", "text_head"} and best.keys() == after.keys()
