"""Flags that choose images of a collection, and how their names are printed. Not a command."""

import argparse
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from nnclip.errors import DataError, NnclipError
from nnclip.files import shown, to_name, to_path
from nnclip.search.filters import NAMED, read_condition, read_filters

FACTS = ("taken", "camera", "width", "height", "latitude", "longitude")


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    which = parser.add_argument_group("which images")
    which.add_argument(
        "--under", action="append", default=[], metavar="FOLDER", help="below it; repeatable"
    )
    which.add_argument("--after", metavar="DATE", help="taken since: 2019, 2019-07, 2019-07-01")
    which.add_argument("--before", metavar="DATE", help="taken earlier")
    which.add_argument(
        "--camera", action="append", default=[], metavar="NAME", help="part of it; repeatable"
    )
    which.add_argument(
        "--near", metavar="LAT,LON[,KM]", help="taken within a distance; 10 km if none is given"
    )
    which.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="CONDITION",
        help="on a field of the records: width>=3000, image~beach; repeatable",
    )


def add_names(parser: argparse.ArgumentParser) -> None:
    """Declare how names are printed."""
    parser.add_argument("--paths", action="store_true", help="print paths alone, for pipes")
    parser.add_argument(
        "-0", "--null", action="store_true", help="the same, with a zero byte behind each: xargs -0"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def filters_of(args: argparse.Namespace) -> dict[str, Any]:
    """The filters of the flags, as an object of `nnclip.search.filters`.

    Raises:
        DataError: a value that cannot be, told by its flag.
    """
    where: dict[str, Any] = {}
    for name in NAMED:
        if value := getattr(args, name):
            where[name] = value
            try:
                read_filters({name: value})
            except DataError as error:
                raise DataError(f"--{error}") from error
    for text in args.where:
        try:
            read_filters(condition := read_condition(text))
        except DataError as error:
            raise DataError(f"--where {error}") from error
        for field, wanted in condition.items():
            both = isinstance(wanted, dict) and isinstance(where.get(field), dict)
            where[field] = {**where[field], **wanted} if both else wanted
    return where


def as_flags(error: NnclipError) -> str:
    """What an error says, with the flag's name where it names a setting."""
    said = str(error)
    for name, flag in (("k ", "-k "), ("min_cosine ", "--min-cosine ")):
        if said.startswith(name):
            return flag + said.removeprefix(name)
    return said


def say_silent(silent: Mapping[str, int], images: int) -> None:
    """Say how many images no filter can choose, because they say nothing there."""
    for field, count in silent.items():
        if count:
            say(f"{count:,} of {images:,} images say nothing about `{field}`, and are left out")


def say(sentence: str) -> None:
    """Print a remark beside the results."""
    print(shown(f"nnclip: {sentence}"), file=sys.stderr)


def print_paths(names: Iterable[str], null: bool) -> None:
    """Print the paths of images as the system has them, one a line or with zero bytes."""
    end = b"\0" if null else b"\n"
    sys.stdout.flush()
    for name in names:
        path = os.fsencode(to_path(name))
        if b"\n" in path and not null:
            say(f"{name}: has the end of a line in its name; -0 keeps such names apart")
        sys.stdout.buffer.write(path + end)
    sys.stdout.buffer.flush()


def from_here(image: str) -> str:
    """An image's name as seen from here, safe to print."""
    here = to_name(os.getcwd()) + "/"
    return shown(image.removeprefix(here))


def facts_in(record: Any) -> dict[str, Any]:
    """What a record says of its image besides where it is."""
    if not isinstance(record, dict):
        return {}
    return {name: record[name] for name in FACTS if record.get(name) is not None}
