"""`nnclip search`: images found by words, by images that they are like, or by both."""

import argparse
import json
import os
import re
import sys
import tempfile
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnclip.clip import CLIP
from nnclip.commands.filters import (
    add_filters,
    add_names,
    as_flags,
    facts_in,
    filters_of,
    from_here,
    print_paths,
    say,
    say_silent,
)
from nnclip.commands.options import add_model_arguments, load_model
from nnclip.errors import ConfigError, DataError, TextTooLongError
from nnclip.files import shown, to_path
from nnclip.image import image_suffixes
from nnclip.search import ImageSearch
from nnclip.search.hits import Answer, as_dicts
from nnclip.search.query import AGAINST, K, Query, Term, read_query
from nnclip.search.sheet import write_sheet
from nnclip.search.store import open_store

HELP = "find the images of a collection that fit a text, an image, or both"
_WEIGHTED_FILE = re.compile(r"(.+):([+-]?(?:\d{1,3}(?:\.\d+)?|\.\d+))", re.DOTALL)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument(
        "query",
        nargs="*",
        help='what the images should show, with weights or without: "beach:1 sunset:0.5 '
        'people:-0.4"; several queries are answered one after the other; -: lines of stdin',
    )
    parser.add_argument(
        "--and", dest="and_", action="append", default=[], metavar="TEXT[:WEIGHT]",
        help="what they should show, too; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--not", dest="not_", action="append", default=[], metavar="TEXT[:WEIGHT]",
        help=f"what they should not show (weight {-AGAINST:g}); repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--image", action="append", default=[], metavar="FILE[:WEIGHT]",
        help="an image that they should be like; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--like", action="append", default=[], metavar="FILE",
        help="the same, an image of the collection: it is not found itself; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "-i",
        "--index",
        "--store",
        default="EMB",
        metavar="EMB",
        help="the collection (%(default)s)",
    )
    parser.add_argument("-k", type=int, default=K, metavar="N", help="how many (%(default)s)")
    parser.add_argument("--min-cosine", type=float, metavar="C", help="only images from it on")
    add_filters(parser)
    parser.add_argument("--truncate", action="store_true", help="cut texts that are too long")
    parser.add_argument("--exact", action="store_true", help="look at every image")
    add_names(parser)
    parser.add_argument("--html", metavar="FILE", help="write a contact sheet, one file")
    parser.add_argument("--open", action="store_true", help="show the contact sheet in a browser")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the images, best first; 1 if there is none."""
    texts, where = _texts(args.query), filters_of(args)
    queries = [_query(text, args, where) for text in texts or [""]]
    store = open_store(args.index, args.exact)
    found = ImageSearch.over(store, load_model(args, store.manifest.model or None))
    assert isinstance(found.model, CLIP)
    answers = []
    for query, text in zip(queries, texts or [""], strict=True):
        _remark(text, query)
        answers.append(_asked(found, query))
    if waiting := getattr(store, "waiting", 0):
        say(f"{waiting:,} of {store.manifest.items:,} images are not embedded yet")
    say_silent(answers[0].silent, answers[0].images)
    _remark_gone([hit.record for answer in answers for hit in answer.hits])
    titles = texts or [", ".join(str(term.value) for term in queries[0].terms)]
    _print(args, titles, answers)
    if args.html or args.open:
        _sheet(args, titles, answers)
    return 0 if any(answer.hits for answer in answers) else 1


def _texts(given: Sequence[str]) -> list[str]:
    """The queries, those of stdin where `-` stands; a terminal's bytes are UTF-8."""
    found = list[str]()
    for text in given:
        lines = sys.stdin.read().splitlines() if text == "-" else [text]
        found += [_as_utf8(line) for line in lines if line.strip() or text != "-"]
    return found


def _as_utf8(text: str) -> str:
    """A text from the command line, whatever encoding Python took the terminal's bytes for."""
    try:
        return os.fsencode(text).decode("utf-8")
    except UnicodeError:
        return text.encode("utf-8", "replace").decode()


def _query(text: str, args: argparse.Namespace, where: dict[str, Any]) -> Query:
    terms = [_file("image", name) for name in args.image]
    terms += [_file("like", name) for name in args.like]
    and_, not_ = ([_as_utf8(it) for it in given] for given in (args.and_, args.not_))
    if not (text.strip() or and_ or not_ or terms):
        raise ConfigError("found nothing to look for, expected a query, --image or --like")
    try:
        return read_query(
            [*([text] if text.strip() else []), *and_], not_=not_, terms=terms,
            where=where, k=args.k, min_cosine=args.min_cosine, truncate=args.truncate,
        )  # fmt: skip
    except ConfigError as error:
        raise ConfigError(as_flags(error)) from error


def _file(kind: str, name: str) -> Term:
    match = None if os.path.exists(name) else _WEIGHTED_FILE.fullmatch(name)
    return Term(kind, match[1], float(match[2])) if match else Term(kind, name)


def _remark(text: str, query: Query) -> None:
    """Say what a query was taken for where that may surprise."""
    name = text.strip()
    if name and (os.path.exists(name) or Path(name).suffix.lower() in image_suffixes()):
        flag = "--under" if os.path.isdir(name) else "--image"
        what = "below it" if os.path.isdir(name) else "like it"
        say(f"{name} is the name of a file, taken as words; {flag} {name} finds images {what}")
    terms = [term for term in query.terms if term.kind == "text"]
    if len(terms) > 1 and len({term.weight for term in terms}) > 1:
        said = ", ".join(f"{term.value} {term.weight:+g}" for term in terms)
        say(f"looking for {said}")


def _remark_gone(records: Sequence[Any]) -> None:
    """Say that files are not where they were."""
    gone = [it for it in records if not os.path.lexists(to_path(it["path"]))]
    if gone:
        say(
            f"{len(gone):,} of {len(records):,} files are not there, the first is "
            f"{gone[0]['path']}; if they moved: `nnclip relocate`"
        )


def _asked(found: ImageSearch, query: Query) -> Answer:
    try:
        if query.truncate:
            _remark_cut(found, query)
        return found.find(query)
    except TextTooLongError as error:
        raise DataError(
            f"your text has {error.tokens:,} tokens, the model reads at most {error.most:,}: "
            "shorten it, or let --truncate cut it"
        ) from error


def _remark_cut(found: ImageSearch, query: Query) -> None:
    for text in query.of("text"):
        try:
            found.model and found.model.tokenize([text])
        except TextTooLongError as error:
            say(f"your text has {error.tokens:,} tokens, cut to {error.most:,}: {text[:60]}...")


def _print(args: argparse.Namespace, titles: Sequence[str], answers: Sequence[Answer]) -> None:
    if args.paths or args.null:
        names = dict.fromkeys(str(hit.image) for answer in answers for hit in answer.hits)
        print_paths(names, args.null)
    elif args.json:
        lists = [_json(answer) for answer in answers]
        several = [
            {"query": title, "hits": hits} for title, hits in zip(titles, lists, strict=True)
        ]
        print(json.dumps(several if len(lists) > 1 else lists[0], ensure_ascii=False))
    else:
        if sys.stdout.isatty() and any(answer.hits for answer in answers):
            print("cosine  fits better than, of the others")
        for number, answer in enumerate(answers):
            if len(answers) > 1:
                print(("\n" if number else "") + shown(titles[number]))
            for hit in answer.hits:
                standing = _per_cent(hit.percentile, answer.images)
                print(f"{hit.cosine:6.3f}  {standing:>9}  {from_here(str(hit.image))}")
            if not answer.hits:
                say(_none(args, answer))


def _json(answer: Answer) -> list[dict[str, Any]]:
    hits = zip(as_dicts(answer), answer.hits, strict=True)
    return [{**told, **facts_in(hit.record)} for told, hit in hits]


def _per_cent(value: float | None, images: int) -> str:
    """A percentile with as many digits as so many images can tell apart."""
    digits = max(1, len(str(images)) - 2)
    return "-" if value is None else f"{value:.{digits}f} %"


def _none(args: argparse.Namespace, answer: Answer) -> str:
    if not answer.images:
        return "the collection has no images"
    if not answer.passed:
        return f"none of the {answer.images:,} images passes the filters"
    return f"no image has a cosine of {args.min_cosine} or more"


def _sheet(args: argparse.Namespace, titles: Sequence[str], answers: Sequence[Answer]) -> None:
    path = Path(args.html or Path(tempfile.mkdtemp(prefix="nnclip-"), "search.html")).absolute()
    groups = [(title, answer.hits) for title, answer in zip(titles, answers, strict=True)]
    left_out = write_sheet(path, groups)
    say(f"{shown(path)}: written" + (f"; {left_out:,} images cannot be read" if left_out else ""))
    if args.open and not webbrowser.open(path.as_uri()):
        say(f"found no browser: open {shown(path)} yourself")
