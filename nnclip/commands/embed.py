"""`nnclip embed`: images -> a collection that can be searched."""

import argparse
import json
import os
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from nnclip.commands.options import (
    add_decoding,
    add_exclude,
    add_model_arguments,
    add_workers,
    excluded,
    load_model,
)
from nnclip.commands.update import LISTED, left_out, report
from nnclip.errors import ConfigError
from nnclip.evaluate.ranks import Ranks, join
from nnclip.files import shown
from nnclip.image import NotRead
from nnclip.image.skips import USUAL
from nnclip.model import CLIP
from nnclip.search.changes import add, add_new
from nnclip.search.collection import Collection
from nnclip.search.embed import BATCH, Work, embed_shards, prepare
from nnclip.search.lock import locked
from nnclip.search.manifest import DTYPES, Manifest, manifest_of
from nnclip.search.manifest import FILE as MANIFEST
from nnclip.search.outcome import Changes, total
from nnclip.search.sources import COLUMN
from nnclip.search.store import FolderStore, is_url

HELP = "embed images once, so that they can be searched (under mpirun: by several processes)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="folders, tables (csv, tsv), .tar files (WebDataset's) or images; a collection that "
        "is there takes what is new in them, without any: in the sources that it follows",
    )
    parser.add_argument(
        "-o",
        "--output",
        "--store",
        required=True,
        metavar="EMB",
        help="folder, or postgresql://...",
    )
    parser.add_argument("--column", default=COLUMN, help="of a table, with paths (%(default)s)")
    parser.add_argument("--dtype", default="float16", choices=DTYPES, help="kept as (%(default)s)")
    parser.add_argument(
        "--batch",
        type=int,
        default=BATCH,
        metavar="N",
        help="images computed at once (%(default)s)",
    )
    add_exclude(parser)
    add_workers(parser)
    add_decoding(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Embed what is not embedded yet; the first process prints."""
    if args.batch < 1 or args.workers < 0:
        raise ConfigError(
            f"--batch {args.batch} --workers {args.workers}: expected at least 1 and at least 0"
        )
    excluded(args)  # says at once which one cannot be read
    ranks = join()
    try:
        return _embed_into(args, ranks) if is_url(args.output) else _embed(args, ranks)
    except KeyboardInterrupt:
        again = "what is embedded is kept and can be searched; the same command goes on"
        print(f"stopped: {again}", file=sys.stderr)
        raise
    except BaseException as error:
        if not ranks.agreed and ranks.size > 1:  # the others may know nothing of it, and wait
            print(f"nnclip embed, process {ranks.rank}: {error!r}", file=sys.stderr, flush=True)
            ranks.abort()
        raise


def _embed(args: argparse.Namespace, ranks: Ranks) -> int:
    model, folder = load_model(args), Path(args.output)
    with ExitStack() as held:
        there: list[bool] = []

        def begin() -> list[None]:
            if ranks.rank == 0:
                held.enter_context(locked(folder))
                there.append((folder / MANIFEST).exists())
                wanted = _wanted(args, model)
                prepare(folder, wanted, args.sources, args.column, (*USUAL, *excluded(args)))
            return []

        def embed() -> list[Work]:
            return [embed_shards(folder, model, ranks.rank, ranks.size, args.workers, args.batch)]

        def catch_up() -> list[Changes]:
            if ranks.rank or not there[0]:
                return []
            store = FolderStore(folder)
            return [add_new(store, model, args.sources, args.workers, excluded(args))]

        ranks.collect(begin)
        works = ranks.collect(embed)
        later = total(ranks.collect(catch_up))
        if ranks.rank == 0:
            _report(args, Collection(folder), works, later)
    return 0


def _embed_into(args: argparse.Namespace, ranks: Ranks) -> int:
    """Into a database: what is there already is left as it is."""
    from nnclip.search.postgres import PostgresStore, begin  # psycopg is optional

    model = load_model(args)
    with ExitStack() as held:

        def start() -> list[None]:
            if ranks.rank == 0:
                wanted = replace(_wanted(args, model), column=args.column, exclude=USUAL)
                store = begin(args.output, wanted)
                held.enter_context(store.changing())
            return []

        def embed() -> list[Changes]:
            share = slice(ranks.rank, None, ranks.size)
            store = PostgresStore(args.output)
            sources = args.sources or store.sources
            return [add(store, model, sources, args.workers, share, excluded(args))]

        ranks.collect(start)
        done = total(ranks.collect(embed))
    if ranks.rank == 0:
        report(done, args)
    return 0


def _wanted(args: argparse.Namespace, model: CLIP) -> Manifest:
    return manifest_of(model, _name(args.model), args.dtype, args.exact_pixels, args.as_seen)


def _name(model: str | None) -> str:
    """What the collection calls its model: an absolute path, or the name as it was given."""
    return os.path.abspath(model) if model and Path(model).is_file() else model or ""


def _report(
    args: argparse.Namespace, collection: Collection, works: list[Work], later: Changes
) -> None:
    failures = list({**dict(collection.failures()), **dict(later.failed)}.items())
    tried, seconds = sum(w.images for w in works), max(w.seconds for w in works)
    engine = sum(w.engine for w in works) / len(works)
    speed = {
        "images_per_second": round(tried / seconds, 1) if tried else None,
        "engine_alone": round(tried / engine, 1) if engine else None,
    }
    not_read = NotRead()
    not_read.update(later.not_read or collection.manifest.not_read)
    if args.json:
        counts = {"images": len(collection), "failed": len(failures), "embedded_now": tried}
        since = {"added": later.added, "moved": later.moved, "copied": later.copied}
        since |= {"changed": later.changed, "gone": later.kept}
        found = {"collection": args.output, **counts, **since, **speed, "failures": failures}
        how = collection.manifest.decoding
        found |= {"exact_pixels": how.exact, "as_seen": how.as_seen, "not_read": dict(not_read)}
        print(json.dumps(found))
        return
    for image, reason in failures[:LISTED]:
        print(left_out(image, reason))
    if len(failures) > LISTED:
        print(f"left out: {len(failures) - LISTED:,} more, see `error` in {args.output}/shards")
    print(
        f"{len(collection):,} images in {shown(args.output)}, {len(failures):,} could not be read"
    )
    if not_read:
        print(not_read.told)
    if later.moved:
        print(f"{later.moved:,} moved, and keep their embeddings")
    if later.added or later.changed:
        print(f"{later.added:,} came since it was embedded, {later.changed:,} were embedded again")
    if later.kept:
        print(f"{later.kept:,} are gone and were kept: `nnclip update` removes them")
    if tried:
        print(
            f"{tried:,} embedded now, {speed['images_per_second']} a second "
            f"(the model alone: {speed['engine_alone']})"
        )
