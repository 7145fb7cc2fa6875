"""`nnclip verify`: do published weights give the published answers here?"""

import argparse
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from nnclip.commands.options import add_model_arguments, load_model
from nnclip.errors import DataError, DownloadError
from nnclip.evaluate.labelled import read_labelled
from nnclip.image import open_image
from nnclip.model import CLIP
from nnclip.sources import open_stored
from nnclip.text.prompts import CIFAR100_CLASSES
from nnclip.weights.download import cache_dir

HELP = "compare published weights with the answers that their publishers printed"

Picture = Callable[[Path], Image.Image | None]  # a folder -> the image, None if it is not there


@dataclass(frozen=True)
class KnownAnswer:
    """One published result.

    Attributes:
        model: the model that gave it.
        name: what to call it.
        where: the file in the data folder that holds the image.
        image: finds the image.
        texts: what was asked.
        expected: text index -> probability, or logit where `logits`.
        tolerance: how far off a sound model may be, in fp32.
        logits: compare logits instead of probabilities.
    """

    model: str
    name: str
    where: str
    image: Picture
    texts: tuple[str, ...]
    expected: dict[int, float]
    tolerance: float
    logits: bool = False


def _file(name: str, sha256: str | None = None) -> Picture:
    """An image file, whose bytes must be the published ones where a hash is known."""

    def find(folder: Path) -> Image.Image | None:
        path = folder / name
        if not path.is_file():
            return None
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if sha256 not in (None, found):
            raise DataError(f"{path}: found sha256 {found}, expected {sha256}: another image")
        return open_image(path, as_seen=False)

    return find


def _cifar100(index: int) -> Picture:
    """An image of CIFAR-100's test set, from its Python or its binary files."""

    def find(folder: Path) -> Image.Image | None:
        for path in (folder / "cifar-100-python", folder / "cifar-100-binary"):
            if path.is_dir():
                return open_stored(read_labelled(path, split="test").sources[index])
        return None

    return find


# torchvision's names, as they were put into the prompts
_CIFAR100 = tuple(name.replace(" ", "_") for name in CIFAR100_CLASSES)
_SNAKE = ("snake", "turtle", "sweet_pepper", "lizard", "crocodile")
_DIAGRAM = "308a3ca4503f1c7a07803916c369d78c4ef501e5ab7fc727da9b5e1d2f9ec85b"

# Sources: OpenAI's README (the diagram, the snake) and Hugging Face's test-suite (the cats).
ANSWERS = (
    KnownAnswer(
        "ViT-B/32",
        "the CLIP diagram",
        "CLIP.png",
        _file("CLIP.png", _DIAGRAM),
        ("a diagram", "a dog", "a cat"),
        {0: 0.9927937, 1: 0.00421068, 2: 0.00299572},
        1e-3,  # it was computed in half precision
    ),
    KnownAnswer(
        "ViT-B/32",
        "COCO val2017 39769, two cats",
        "000000039769.jpg",
        _file("000000039769.jpg"),
        ("a photo of a cat", "a photo of a dog"),
        {0: 24.5701, 1: 19.3049},
        1e-3,
        logits=True,
    ),
    KnownAnswer(
        "ViT-B/32",
        "CIFAR-100 test image 3637, a snake",
        "cifar-100-python or cifar-100-binary",
        _cifar100(3637),
        tuple(f"a photo of a {name}." for name in _CIFAR100),
        dict(
            zip(
                map(_CIFAR100.index, _SNAKE),
                (0.6531, 0.1229, 0.0383, 0.0188, 0.0175),
                strict=True,
            )
        ),
        5e-3,  # printed with two digits, from half precision
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    add_model_arguments(parser)
    parser.set_defaults(model="ViT-B/32", precision="fp32")
    parser.add_argument(
        "--answers-of", default="ViT-B/32", help="the published model that the file claims to be"
    )
    parser.add_argument(
        "--data", type=Path, help="folder with the images; default: pictures/ in the cache"
    )


def run(args: argparse.Namespace) -> int:
    """Print one line per known answer; 0 only if some were checked and none failed."""
    folder = args.data or cache_dir() / "pictures"
    try:
        model = load_model(args)
    except DownloadError as error:
        print(f"not checked: {args.model} is not at hand: {error}")
        return 1
    answers = [a for a in ANSWERS if a.model == args.answers_of]
    results = [_check(answer, model, folder) for answer in answers]
    if not any(result is not None for result in results):
        print(f"nothing was checked: found no image in {folder} that an answer is known for")
    return 0 if True in results and False not in results else 1


def _check(answer: KnownAnswer, model: CLIP, folder: Path) -> bool | None:
    """Whether the answer is the known one; None where the image is not at hand."""
    image = answer.image(folder)
    if image is None:
        print(f"not checked  {answer.name}: no {answer.where} in {folder}")
        return None
    ids = model.tokenize(answer.texts)
    logits = model.logits(model.preprocess(image)[None], ids)[0]
    found = logits[0] if answer.logits else model.scorer.loss.probabilities(logits[0], -1)
    error = max(abs(float(found[i]) - value) for i, value in answer.expected.items())
    good = bool(np.isfinite(error) and error <= answer.tolerance)
    print(
        f"{'ok' if good else 'WRONG':<12} {answer.name}: off by {error:.2g}, "
        f"allowed {answer.tolerance:g}"
    )
    return good
