"""`nnclip classify`: which of some texts fits an image."""

import argparse
import json

from nnclip.assets import asset
from nnclip.commands.options import add_decoding, add_model_arguments, decoding_of, load_model
from nnclip.errors import ConfigError
from nnclip.files import read_text, shown, to_name

HELP = "tell which of some texts fits an image"
EXAMPLE = "example.jpg"
EXAMPLE_TEXTS = "example.txt"
BAR = 24  # characters


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument(
        "images", nargs="*", metavar="IMAGE", help="image files; without any, a bundled example"
    )
    parser.add_argument(
        "-t", "--text", action="append", default=[], help="a text to choose from; repeat it"
    )
    parser.add_argument("--texts", metavar="FILE", help="texts to choose from, one per line")
    parser.add_argument(
        "--template", default="{}", help='put around each text, such as "a photo of a {}"'
    )
    parser.add_argument("--json", action="store_true", help="print one JSON line per image")
    add_decoding(parser)
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print a table of probabilities, best first, for each image."""
    images, texts = args.images or [str(asset(EXAMPLE))], _texts(args)
    if "{}" not in args.template:
        raise ConfigError(f"--template {args.template!r}: expected {{}} in it, where the text goes")
    model = load_model(args)
    ids = model.tokenize([args.template.replace("{}", text) for text in texts])
    decoding = decoding_of(args)
    for image in images:
        probabilities = model.probabilities(model.preprocess_image(image, decoding), ids)[0]
        ranked = sorted(zip(texts, map(float, probabilities), strict=True), key=lambda p: -p[1])
        print(_json(image, ranked) if args.json else _table(image, ranked))
    return 0


def _texts(args: argparse.Namespace) -> list[str]:
    """The texts of -t and --texts; the example's where there is neither image nor text."""
    path = args.texts
    if not (args.text or path):
        if args.images:
            raise ConfigError("found no text to choose from, expected -t TEXT or --texts FILE")
        path = asset(EXAMPLE_TEXTS)
    try:
        lines = read_text(path).splitlines() if path else []
    except (OSError, ValueError) as error:
        raise ConfigError(f"--texts {path}: cannot be read as UTF-8 text ({error})") from error
    texts = args.text + [line.strip() for line in lines if line.strip()]
    if not texts:
        raise ConfigError(f"--texts {path}: found no text in it, expected one per line")
    return texts


def _json(image: str, ranked: list[tuple[str, float]]) -> str:
    content = {"image": to_name(image), "probabilities": dict(ranked)}
    return json.dumps(content, ensure_ascii=False)


def _table(image: str, ranked: list[tuple[str, float]]) -> str:
    width = max(len(text) for text, _ in ranked)
    rows = [f"{p:8.2%}  {text:<{width}}  {'█' * round(p * BAR)}".rstrip() for text, p in ranked]
    return "\n".join([shown(image), *rows])
