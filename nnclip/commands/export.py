"""`nnclip export`: a model as files for OpenVINO, ONNX runtimes, or NNabla alone."""

import argparse
from pathlib import Path

from nnclip import clip
from nnclip.export import PARTS, SUFFIXES, export
from nnclip.files import shown

HELP = "write a model for OpenVINO, ONNX Runtime or NNabla alone, with a card of its inputs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument(
        "-m", "--model", help="an .h5 file or a published name; default: the bundled model"
    )
    parser.add_argument("--to", required=True, choices=SUFFIXES, help="the format")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help="where to")
    parser.add_argument(
        "--part", choices=PARTS, default="both", help="one tower, or both with the logits"
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "fp16"),
        default="fp32",
        help="of the stored weights; fp16 halves OpenVINO's file (default: %(default)s)",
    )
    parser.add_argument(
        "--batch", type=int, default=1, help="of an NNP, whose batch is fixed (%(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the files, print their names and sizes."""
    model = clip.load(args.model, precision="fp32")
    half = args.precision == "fp16"
    files = export(model, args.out, args.to, part=args.part, half=half, batch=args.batch)
    for path in files:
        print(f"{path.stat().st_size:>14,} {shown(path)}")
    return 0
