"""Puts the page on a port."""

import argparse
import logging

from gradio.utils import get_upload_folder

from nnclip.assets import assets_dir
from nnclip.page.connections import guard
from nnclip.page.doors import MISTAKES, never_fetch
from nnclip.page.page import build_page
from nnclip.page.theme import ICON, STYLE, theme
from nnclip.service.collection import Collection
from nnclip.service.embedded import AnyCollection
from nnclip.service.hosts import Hosts
from nnclip.service.limits import MAX_BYTES, MAX_SESSIONS
from nnclip.service.model_pool import ModelPool
from nnclip.service.photos import Photos
from nnclip.service.thumbnails import Thumbnails
from nnclip.service.uploads import Uploads
from nnclip.weights.download import cache_dir


def serve(
    pool: ModelPool,
    args: argparse.Namespace,
    images: AnyCollection | None = None,
    block: bool = True,
) -> str:
    """Serve the page; OSError if the port is taken.

    Args:
        pool: the models.
        args: host, port, allow_urls and allow_host, as `nnclip.page.app` has them.
        images: the owner's.
        block: wait until interrupted.

    Returns: the page's address.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)  # Gradio asks itself whether it is up
    never_fetch()
    uploads = Uploads([get_upload_folder(), assets_dir() / "examples"])
    owner = is_owners(args)
    photos = Photos(Thumbnails(cache_dir() / "thumbnails"), owner)
    guard(Hosts(args.host, args.allow_host), uploads, photos)
    collections = _collections(images)
    host = f"[{args.host}]" if ":" in args.host and args.host[0] != "[" else args.host  # IPv6
    shown = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
    address = f"http://{shown}:{args.port}/"
    page = build_page(pool, collections, uploads, photos, address, args.allow_urls, owner)
    _, url, _ = page.launch(
        server_name=host,
        server_port=args.port,
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        ssr_mode=False,
        pwa=False,
        run_history=False,
        enable_monitoring=False,
        footer_links=[],
        theme=theme(),
        css_paths=STYLE,
        favicon_path=ICON,
        max_file_size=MAX_BYTES,
        state_session_capacity=MAX_SESSIONS,
        allowed_paths=[str(assets_dir() / "examples")],
        app_kwargs={"docs_url": None, "redoc_url": None, "exception_handlers": MISTAKES},
    )
    for collection in collections:
        collection.prepare(pool.get())
    if images is not None and images.not_read:
        print(f"nnclip: {images.name}: {images.not_read.told}")
    print(f"nnclip: open {url}", flush=True)
    if block:
        page.block_thread()
    return url


def is_owners(args: argparse.Namespace) -> bool:
    """Whether the flags say that nobody but the owner reaches the page."""
    if args.owner is not None:
        return bool(args.owner)
    return not args.allow_host and args.host.strip("[]") in ("127.0.0.1", "localhost", "::1")


def _collections(images: AnyCollection | None) -> list[AnyCollection]:
    """What can be searched: the owner's images first, then the bundled ones."""
    found = [images] if images is not None else []
    bundled = assets_dir() / "examples"
    return [*found, Collection("bundled images", bundled)] if bundled.is_dir() else found
