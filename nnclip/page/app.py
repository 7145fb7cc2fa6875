"""Serves the page: python demo/app.py, then open http://127.0.0.1:8889.

Needs no network, and lets nobody outside this machine in unless --host says so.
"""

import argparse
import errno
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Sequence

from nnclip.errors import ConfigError, NnclipError
from nnclip.files import shown
from nnclip.page.lean import import_gradio
from nnclip.service.embedded import AnyCollection, EmbeddedCollection, open_collection
from nnclip.service.embedder import Embedder
from nnclip.service.model_pool import ModelPool
from nnclip.weights.known import BUNDLED_NAME


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0: all, see --allow-host (%(default)s)",
    )
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME",
        help="a name or address under which visitors reach the page, besides 127.0.0.1, localhost, "
        "[::1] and --host; repeat it for several",
    )  # fmt: skip
    parser.add_argument(
        "--owner", action=argparse.BooleanOptionalAction,
        help="whoever reaches the page is its owner: sees whole paths, may download models; "
        "default: where it listens on this machine alone and no --allow-host is given",
    )  # fmt: skip
    parser.add_argument("--port", type=int, default=8889, help="(%(default)s)")
    parser.add_argument(
        "-m", "--model", action="append", default=[], metavar="MODEL",
        help="an .h5 file or a published name; repeat it to offer several (the bundled model)",
    )  # fmt: skip
    parser.add_argument(
        "--precision", help="fp32, bf16 or int8; default: the fastest exact enough one"
    )
    parser.add_argument(
        "--images", metavar="DIR",
        help="images to search in: a folder or another source, or a collection of `nnclip embed`, "
        "which is opened with its own model",
    )  # fmt: skip
    parser.add_argument(
        "--allow-urls", action="store_true", help="let visitors name addresses of images"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until interrupted; 2 if it cannot start."""
    parser = argparse.ArgumentParser(description="Serve nnclip's page.")
    add_arguments(parser)
    return run(parser.parse_args(argv))


def run(args: argparse.Namespace) -> int:
    """Serve as the flags say until interrupted; 2 if it cannot start."""
    with tempfile.TemporaryDirectory(prefix="nnclip-", ignore_cleanup_errors=True) as folder:
        os.environ.setdefault("GRADIO_TEMP_DIR", folder)  # uploads, which nobody else can read
        return _run(args)


def _warm(embedder: Embedder, images: AnyCollection | None) -> None:
    embedder.warm()
    if isinstance(images, EmbeddedCollection):
        images.warm()


def check_address(host: str, port: int) -> None:
    """ConfigError, before anything is loaded, unless a page can listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            what = f"port {port} is taken" if taken else f"{error.strerror or error}"
            way = "choose another with --port" if taken else "expected other --host or --port"
            raise ConfigError(f"cannot listen on {shown(host)}: {what}; {way}") from error
        except (OverflowError, UnicodeError) as error:
            raise ConfigError(
                f"found the address {shown(host)}:{port}, expected a name or an IP address "
                "(--host) and a port from 1 to 65535 (--port)"
            ) from error


def _run(args: argparse.Namespace) -> int:
    # Docker's stop ends the page as Ctrl+C does: uploads are removed
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        check_address(args.host, args.port)
        images = open_collection(args.images) if args.images else None
        if isinstance(images, EmbeddedCollection) and not args.model:
            args.model = [images.model or BUNDLED_NAME]
        pool = ModelPool(args.model, args.precision)
        embedder = pool.get()
        if isinstance(images, EmbeddedCollection):
            images.prepare(embedder)
        # compiled on another core while Gradio is imported, so that the first answer comes at once
        threading.Thread(target=_warm, args=(embedder, images), daemon=True).start()
        import_gradio()
        from nnclip.page.server import serve

        serve(pool, args, images)
    except (NnclipError, OSError) as error:
        print(shown(f"demo: {error}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before there was a page
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
