"""Flags that several commands share. Not a command itself: it has no HELP."""

import argparse

from nnclip import clip
from nnclip.engine import PRECISIONS


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare --model, --precision and --context."""
    parser.add_argument(
        "-m",
        "--model",
        help='an .h5 file or a published name such as "ViT-B/32"; default: the bundled model',
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="how to compute; default: NNCLIP_PRECISION, else bf16 where the processor has it",
    )
    parser.add_argument(
        "-c", "--context", default="cpu", help="cpu, or an NNabla extension such as cudnn"
    )


def load_model(args: argparse.Namespace) -> clip.CLIP:
    """The model that those flags name."""
    return clip.load(args.model, precision=args.precision, context=args.context)
