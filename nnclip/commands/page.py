"""`nnclip page`: the page on port 8889, as `make demo` serves it."""

import argparse

from nnclip.page import app

HELP = "serve the page: what an image shows, search, comparison"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    app.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted."""
    return app.run(args)
