"""`nnclip convert`: a torch checkpoint becomes an .h5, as `convert/torch_to_h5.py` does it."""

import argparse

from nnclip.convert import torch_to_h5

HELP = "convert a checkpoint of OpenAI, open_clip, Hugging Face or torchvision into an .h5"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    torch_to_h5.add_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Convert; prints what was read, dropped and written."""
    torch_to_h5.run(args)
