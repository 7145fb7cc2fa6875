"""`nnclip train-tokenizer`: a BPE vocabulary from captions."""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

from nnclip.errors import DataError
from nnclip.files import shown
from nnclip.preflight import check_file
from nnclip.sources.texts import read_texts
from nnclip.text import train_tokenizer

HELP = "train a byte-level BPE vocabulary on captions"
SHOWN = 3  # captions of a dry run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument(
        "files", nargs="+", help="whatever train.py reads, or captions, one a line; - for stdin"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--column", help="of captions, in a table (title)")
    parser.add_argument("--separator", default="", help="of a table: one character, or tab")
    parser.add_argument(
        "--max-bad", type=int, default=1000, help="rows that are left out (%(default)s)"
    )
    parser.add_argument(
        "--vocab-size", type=int, default=20_000, help="tokens in all (%(default)s)"
    )
    parser.add_argument(
        "--min-frequency", type=int, default=2, help="least count of a merged pair (%(default)s)"
    )
    parser.add_argument(
        "--lowercase", action="store_true", help="lower-case all texts (not for Turkish or Azeri)"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="read the captions, say what they are, learn nothing"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON line")


def run(args: argparse.Namespace) -> int:
    """Train, write the file, say what it holds."""
    check_file(args.output, "--output")
    captions = (
        text
        for name in args.files
        for text in read_texts(name, args.column or "", args.separator, args.max_bad)
    )
    if args.dry_run:
        return _rehearse(args, captions)
    tokenizer = train_tokenizer(captions, args.vocab_size, args.min_frequency, args.lowercase)
    try:
        tokenizer.save(args.output)
    except OSError as error:
        raise DataError(f"cannot write {args.output}: {error.strerror}") from error
    if args.json:
        print(json.dumps({"path": str(args.output), "vocab_size": tokenizer.vocab_size}))
    else:
        print(f"{args.output}: {tokenizer.vocab_size} tokens, the last two start and end a text")
    return 0


def _rehearse(args: argparse.Namespace, captions: Iterable[str]) -> int:
    """Say what would be learned from."""
    first: list[str] = []
    count = characters = 0
    for caption in captions:
        count, characters = count + 1, characters + len(caption.strip())
        if len(first) < SHOWN:
            first.append(caption.strip())
    if not count:
        raise DataError(f"found no caption in {', '.join(map(shown, args.files))}")
    if args.json:
        print(json.dumps({"path": str(args.output), "captions": count, "characters": characters}))
        return 0
    print(*map(shown, first), sep="\n")
    print(
        f"dry run: would learn at most {args.vocab_size:,} tokens from {count:,} captions of "
        f"{characters / count:.0f} characters for {shown(args.output)}"
    )
    return 0
