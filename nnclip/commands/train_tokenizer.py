"""`python -m nnclip train-tokenizer`: a BPE vocabulary from captions."""

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from nnclip.errors import DataError
from nnclip.text import train_tokenizer

HELP = "train a byte-level BPE vocabulary on captions"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument("files", nargs="+", help="captions, one per line (UTF-8); - for stdin")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--column", help="read this column of comma- or tab-separated files")
    parser.add_argument(
        "--vocab-size", type=int, default=20_000, help="tokens in all (%(default)s)"
    )
    parser.add_argument(
        "--min-frequency", type=int, default=2, help="least count of a merged pair (%(default)s)"
    )
    parser.add_argument(
        "--lowercase", action="store_true", help="lower-case all texts (not for Turkish or Azeri)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON line")


def run(args: argparse.Namespace) -> int:
    """Train, write the file, say what it holds."""
    captions = (text for name in args.files for text in _captions(name, args.column))
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


def _captions(name: str, column: str | None) -> Iterator[str]:
    """The captions of one file."""
    try:
        stdin = name == "-"
        with nullcontext(sys.stdin) if stdin else open(name, encoding="utf-8", newline="") as file:
            if column is None:
                yield from file
                return
            header = file.readline()
            delimiter = "\t" if "\t" in header else ","
            names = next(csv.reader([header], delimiter=delimiter), [])
            if column not in names:
                raise DataError(f"{name} has the columns {', '.join(names)}, expected {column}")
            for record in csv.DictReader(file, names, delimiter=delimiter):
                yield record[column] or ""
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read captions from {name}: {error}") from error
