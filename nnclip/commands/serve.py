"""`nnclip serve`: embeddings for programs, over the APIs that they already speak."""

import argparse

from nnclip.engine import PRECISIONS
from nnclip.errors import ConfigError
from nnclip.extras import extra
from nnclip.fastest import AUTO
from nnclip.serve import APIS

HELP = "serve embeddings, labels and search to programs: OpenAI's, Weaviate's and Immich's APIs"
PORT = 8890
LARGEST_PORT = 65535


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument(
        "-m", "--model", action="append", default=[], metavar="[NAME=]MODEL",
        help='an .h5 file, a published name such as "ViT-B/32", or "bundled"; NAME= offers it '
        "under another name; repeat it for several, the first is meant where a request names none",
    )  # fmt: skip
    parser.add_argument(
        "--precision", choices=(*PRECISIONS, AUTO),
        help="default: NNCLIP_PRECISION, else the fastest exact enough one",
    )  # fmt: skip
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0: all (%(default)s)"
    )
    parser.add_argument("--port", type=int, default=PORT, help="0 for a free one (%(default)s)")
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME",
        help="a name or address under which clients reach the server, besides 127.0.0.1, "
        "localhost, [::1] and --host; repeat it for several",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes (%(default)s)"
    )
    parser.add_argument(
        "--collection", action="append", default=[], metavar="EMB",
        help="a collection of `nnclip embed` to search in; repeat it for several",
    )  # fmt: skip
    parser.add_argument(
        "--api-key-file", metavar="FILE", help="ask for one of its lines as an API key"
    )
    parser.add_argument(
        "--allow-urls", action="store_true", help="fetch images from public addresses"
    )
    parser.add_argument(
        "--apis", default=",".join(APIS), metavar="LIST", help="which to offer (%(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until a signal comes; returns the exit status."""
    args.apis = _apis(args.apis)
    if args.workers < 1 or not 0 <= args.port <= LARGEST_PORT:
        raise ConfigError(
            f"--workers {args.workers} --port {args.port}: expected at least 1, and 0 to "
            f"{LARGEST_PORT}"
        )
    with extra():
        from nnclip.serve.server import address, bind
        from nnclip.serve.server import run as serve
        from nnclip.serve.workers import supervise
    listener = bind(args.host, args.port)
    print(f"nnclip: listening on {address(listener)}", flush=True)
    return serve(args, listener) if args.workers == 1 else supervise(args, listener)


def _apis(given: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(filter(None, map(str.strip, given.split(",")))))
    if unknown := [name for name in names if name not in APIS]:
        raise ConfigError(f"--apis: found {unknown[0]!r}, expected some of {', '.join(APIS)}")
    return names
