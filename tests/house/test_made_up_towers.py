"""A new tower is one file and one row: this file holds two such, and `registered` adds the rows.

The image tower is a mosaic of tiles; the text tower a weighted bag of words, which sees padding and
reads every position, so that cutting a text would change it. Nothing else in the project knows
them.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import nnabla as nn
import nnabla.functions as F
import numpy as np
import pytest
import tokenizers
from nnabla.initializer import NormalInitializer
from PIL import Image

from nnclip.cli import main
from nnclip.clip import CLIP
from nnclip.errors import CheckpointError, ConfigError, DataError
from nnclip.export import export
from nnclip.graph import towers
from nnclip.graph.beside import empty_inputs
from nnclip.graph.config import ClipConfig
from nnclip.graph.convolution import average_pool
from nnclip.graph.derived import Beside
from nnclip.graph.layers import affine, parameter
from nnclip.graph.parameters import make_parameters
from nnclip.graph.positions import GridPositions
from nnclip.graph.reading import Reader, option, option_metadata
from nnclip.image import Preprocess
from nnclip.text import ForeignTokenizer
from nnclip.text.stored import foreign_tokenizer
from nnclip.training.communicator import Alone
from nnclip.training.config import TrainConfig
from nnclip.training.trainer import Trainer
from nnclip.weights.model import ModelWeights, save_model
from nnclip.weights.tower import load_tower
from tests.lazy import lazy

openvino = lazy("openvino")
onnxruntime = lazy("onnxruntime")

WORDS = ["[start]", "[end]", "a", "dog", "cat", "red", "colour", "[pad]", "[unknown]", *"01234567"]
PAD, CONTEXT, SIZE, TILE, EMBED = 7, 10, 32, 8, 12


@dataclass(frozen=True)
class Mosaic:
    """The mean colours of square tiles, mixed by one matrix."""

    preprocess: Preprocess
    tile: int
    mixed: str = option("image_mixed", "plain", ("plain", "squared"))

    side: ClassVar[Literal["image"]] = "image"
    kind: ClassVar[str] = "mosaic"
    whole_strides: ClassVar[bool] = True
    positions: ClassVar[GridPositions | None] = None

    @property
    def resolution(self) -> int:
        return self.preprocess.resolution

    @property
    def stride(self) -> int:
        return self.tile

    @classmethod
    def read(cls, reader: Reader) -> "tuple[Mosaic, int] | None":
        if not reader.has("visual/mosaic/"):
            return None
        width, colours = reader.shape("visual/mosaic/W", 2)
        tile = int(reader.number("tile", 8, 1))
        default = Preprocess(tile * round((colours / 3) ** 0.5))
        preprocess = reader.preprocess(default, tile)
        return cls(preprocess, tile, **reader.options(cls)), width

    def metadata(self) -> dict[str, Any]:
        return {"tile": self.tile, **self.preprocess.metadata(), **option_metadata(self)}

    def describe(self) -> str:
        return f"{self.kind} of tiles of {self.tile} pixels, {self.resolution} pixels"

    def build(
        self,
        images_N3RR: nn.Variable,
        width: int,
        hidden: list[nn.Variable] | None = None,
        trained_statistics: bool = False,
    ) -> nn.Variable:
        tiles = average_pool(images_N3RR, self.tile)
        colours_NC = F.reshape(tiles, (tiles.shape[0], 3 * (self.resolution // self.tile) ** 2))
        with nn.parameter_scope("visual/mosaic"):
            w_EC = parameter("W", (width, colours_NC.shape[1]), NormalInitializer(0.2))
        features = affine(colours_NC, w_EC)
        return features * features if self.mixed == "squared" else features


@dataclass(frozen=True)
class Bag:
    """The sum of all words, padding included, each weighted by its place."""

    vocabulary: int
    context: int
    pad: int = PAD

    side: ClassVar[Literal["text"]] = "text"
    kind: ClassVar[str] = "bag of words"
    cleaning: ClassVar[str] = "none"
    beside: ClassVar[Beside] = {}
    trims: ClassVar[str | None] = None

    @classmethod
    def read(cls, reader: Reader) -> "tuple[Bag, int] | None":
        if not reader.has("bag/"):
            return None
        vocabulary, width = reader.shape("bag/words", 2)
        context = reader.shape("bag/places", 1)[0]
        return cls(vocabulary, context, int(reader.number("bag_pad", PAD, 0))), width

    def metadata(self) -> dict[str, Any]:
        return {"bag_pad": self.pad}

    def describe(self) -> str:
        return f"{self.kind}: {self.vocabulary} words, texts of at most {self.context} tokens"

    def build(
        self,
        inputs: Mapping[str, nn.Variable],
        width: int,
        hidden: list[nn.Variable] | None = None,
    ) -> nn.Variable:
        length = inputs["ids"].shape[1]
        with nn.parameter_scope("bag"):
            words_VE = parameter("words", (self.vocabulary, width), NormalInitializer(1.0))
            places_L = parameter("places", (self.context,), NormalInitializer(1.0))
        weighted = F.embed(inputs["ids"], words_VE) * F.reshape(places_L, (1, length, 1))
        return F.sum(weighted, axis=1)

    def tokenizer(self, metadata: Mapping[str, Any], path: str | Path) -> ForeignTokenizer:
        stored = metadata.get("tokenizer")
        return foreign_tokenizer(stored, self.pad, self.vocabulary, path, "bag/words")


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(towers, "IMAGE_TOWERS", (*towers.IMAGE_TOWERS, Mosaic))
    monkeypatch.setattr(towers, "TEXT_TOWERS", (*towers.TEXT_TOWERS, Bag))


CONFIG = ClipConfig(EMBED, Mosaic(Preprocess(SIZE), TILE), Bag(len(WORDS), CONTEXT))


def words() -> str:
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, "[unknown]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[start] $A [end]", special_tokens=[("[start]", 0), ("[end]", 1)]
    )
    return made.to_str()


@pytest.fixture
def h5(tmp_path: Path) -> Path:
    weights = ModelWeights(CONFIG, make_parameters(CONFIG, seed=3), {"tokenizer": words()})
    save_model(tmp_path / "made-up.h5", weights)
    return tmp_path / "made-up.h5"


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rows = ["filepath\ttitle"]
    for number in range(8):
        colour = (30 * number, 255 - 30 * number, 90)
        Image.new("RGB", (40, 36), colour).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png\ta colour {number}")
    table = tmp_path / "pairs.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return table


def images_of(count: int) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(count, 3, SIZE, SIZE)).astype(np.float32)


def by_hand(model: CLIP, ids_NL: np.ndarray) -> np.ndarray:
    """The features of the bag, in NumPy."""
    parameters = {name: v.d.copy() for name, v in model.parameters().items()}
    full_NL = np.pad(ids_NL, ((0, 0), (0, CONTEXT - ids_NL.shape[1])), constant_values=PAD)
    return np.einsum("nle,l->ne", parameters["bag/words"][full_NL], parameters["bag/places"])


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "interpreted"])
def test_it_is_loaded_and_answers(h5: Path, monkeypatch: pytest.MonkeyPatch, compiled) -> None:
    if not compiled:
        monkeypatch.setattr("nnclip.towers.openvino_available", lambda: False)
    model = CLIP(h5, precision="fp32")
    assert model.config == CONFIG and type(model.tokenizer) is ForeignTokenizer
    images, ids = images_of(3), model.tokenize(["a red dog", "a cat"])
    assert ids.shape == (2, CONTEXT) and ids[1, 4:].tolist() == [PAD] * (CONTEXT - 4)
    np.testing.assert_allclose(model.encode_text(ids), by_hand(model, ids), atol=1e-5)
    tiles = images.reshape(3, 3, 4, TILE, 4, TILE).mean(axis=(3, 5)).reshape(3, -1)
    wanted = tiles @ model.parameters()["visual/mosaic/W"].d.T
    np.testing.assert_allclose(model.encode_image(images), wanted, atol=1e-5)
    assert model.probabilities(images, ids).sum(axis=1) == pytest.approx([1, 1, 1], abs=1e-5)


def test_no_text_is_cut_where_padding_is_seen(h5: Path) -> None:
    model = CLIP(h5, precision="fp32")
    ids = model.tokenize(["a dog", "a red cat a red cat"])
    whole = model.encode_text(ids)
    for length in (5, 8, CONTEXT):  # what is missing is padding, as the tokenizer would have put
        found = model.encode_text(ids[:1, :length])
        np.testing.assert_allclose(found, whole[:1], atol=1e-5)
    variable = nn.Variable.from_numpy_array(ids)
    features = model.encode_text(variable)
    features.forward()
    np.testing.assert_allclose(features.d, whole, atol=1e-5)
    with pytest.raises(
        DataError, match=f"found 5 tokens a row, expected all {CONTEXT}.*with {PAD}"
    ):
        model.encode_text(nn.Variable.from_numpy_array(ids[:, :5]))
    with pytest.raises(DataError, match="expected all"):
        empty_inputs(CONFIG.text, 2, 5)
    outside = model.encode_text(nn.Variable.from_numpy_array(ids + 90))
    with pytest.raises(SystemError) as caught:  # NNabla wraps what a PythonFunction raises
        outside.forward()
    assert "ids: found 9" in str(caught.value.__cause__)  # also where nothing is read beside them


def test_it_is_trained_one_step(h5: Path, pairs: Path, tmp_path: Path) -> None:
    config = TrainConfig(
        train=str(pairs), val=str(pairs), finetuning=True, model_load_path=str(h5), batch_size=8,
        max_iter=1, warmup_iter=0, lr=1e-4, workers=0,
        monitor_path=str(tmp_path / "run"),
    )  # fmt: skip
    for size, told in ((40, r"shape \(12, 48\), expected \(12, 75\)"), (36, "a multiple of 8")):
        with pytest.raises(ConfigError, match=f"--image-size.*{told}"):
            Trainer(dataclasses.replace(config, image_size=size), Alone(), "cpu")
    trainer = Trainer(config, Alone(), "cpu")
    assert trainer.feed.ids(["a"]).shape == (1, CONTEXT)  # nothing is cut on the way to a step
    trained = CLIP(trainer.run(), precision="fp32")
    before = CLIP(h5)
    assert trained.config == CONFIG
    for name, variable in trained.parameters().items():
        assert np.abs(variable.d - before.parameters()[name].d).max() > 0, name


@pytest.mark.parametrize("to", ["openvino", "onnx", "nnp"])
def test_it_is_exported(h5: Path, tmp_path: Path, to: str) -> None:
    model = CLIP(h5, precision="fp32")
    path = export(model, tmp_path / to, to, batch=3)[0]
    card = json.loads((tmp_path / to / "card.json").read_text())
    assert card["graphs"][0]["inputs"]["ids"]["shape"] == ["M" if to != "nnp" else 3, CONTEXT]
    assert card["texts"]["tower"].startswith("bag of words") and card["texts"]["padding"] == PAD
    assert card["images"]["tower"].startswith("mosaic")
    assert json.loads((tmp_path / to / "tokenizer.json").read_text())["model"]["vocab"]
    if to == "nnp":
        return
    images, ids = images_of(3), model.tokenize(["a dog", "a cat", "red"]).astype(np.int64)
    inputs = {"images": images, "ids": ids}
    if to == "openvino":
        compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        outputs = compiled(inputs)
        found = {port.any_name: outputs[port] for port in compiled.outputs}
    else:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        found = dict(zip(names, session.run(names, inputs), strict=True))
    np.testing.assert_allclose(found["text_features"], by_hand(model, ids), atol=1e-4)
    np.testing.assert_allclose(found["image_features"], model.encode_image(images), atol=1e-4)


def test_it_is_embedded_and_searched(h5: Path, pairs: Path, tmp_path: Path, capsys) -> None:
    model = ["-m", str(h5), "--precision", "fp32", "--json"]
    place = str(tmp_path / "E")
    assert main(["embed", str(pairs.parent), "-o", place, "--workers", "0", *model]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 8
    assert main(["search", "a red dog", "-i", place, "-k", "8", *model]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 8


def test_it_is_joined_with_another_tower(h5: Path, small_h5: Path, tmp_path: Path, capsys) -> None:
    joined = tmp_path / "joined.h5"
    command = ["join", str(h5), str(small_h5), "-o", str(joined), "--heads", "linear"]
    assert main([*command, "--width", "6", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["image"], told["embed"]) == ("mosaic", 6)
    assert CLIP(joined).config.image == CONFIG.image
    assert load_tower(h5, "text").config == CONFIG.text


def test_an_option_stands_in_the_file_only_where_it_is_no_default(h5: Path, tmp_path: Path) -> None:
    plain, other = CONFIG.image, dataclasses.replace(CONFIG.image, mixed="squared")
    assert "image_mixed" not in plain.metadata()
    shapes = {"visual/mosaic/W": (EMBED, 48)}
    assert Mosaic.read(Reader(shapes, other.metadata())) == (other, EMBED)
    with pytest.raises(CheckpointError, match="image_mixed: found 'x', expected one of plain, sq"):
        Mosaic.read(Reader(shapes, {"image_mixed": "x"}))
