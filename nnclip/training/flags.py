"""Flags and YAML files -> TrainConfig. A file gives the defaults, flags go over it."""

import argparse
import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnclip.errors import ConfigError
from nnclip.extras import extra
from nnclip.files import read_text
from nnclip.json_text import brief
from nnclip.training.config import TrainConfig, flag_of, shown_default

with extra():
    import yaml


def make_parser() -> argparse.ArgumentParser:
    """A parser with one flag per field of TrainConfig."""
    parser = argparse.ArgumentParser(
        prog="train.py",
        usage="%(prog)s --train-txt-path PAIRS [FLAGS]",
        description="Train CLIP on captioned images: mpirun -n 2 python train.py ...",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument(
        "--config", action="append", default=[], help="YAML file of settings; may be given again"
    )
    for entry in dataclasses.fields(TrainConfig):
        add_setting(parser, entry, shown_default(entry))
    return parser


def add_setting(
    parser: argparse.ArgumentParser, entry: "dataclasses.Field[Any]", default: str
) -> None:
    """Declare the flag of a field of TrainConfig; what is not given is left out of the result.

    Args:
        parser: gets the flag.
        entry: the field.
        default: what the help calls it; empty where the help says it already.
    """
    flags = entry.metadata["flags"] or (flag_of(entry.name),)
    text = entry.metadata["help"].replace("%", "%%") + (f" (default: {default})" if default else "")
    if isinstance(entry.default, bool):
        parser.add_argument(
            *flags,
            dest=entry.name,
            action=argparse.BooleanOptionalAction,
            default=argparse.SUPPRESS,
            help=text,
        )
    elif isinstance(entry.default, tuple):
        parser.add_argument(
            *flags, dest=entry.name, action="append", default=argparse.SUPPRESS, help=text
        )
    else:
        parser.add_argument(
            *flags,
            dest=entry.name,
            type=type(entry.default),
            choices=entry.metadata["choices"],
            default=argparse.SUPPRESS,
            help=text,
        )


def parse_flags(argv: Sequence[str] | None = None) -> TrainConfig:
    """The configuration that a command line and its YAML files say.

    Raises:
        ConfigError: a file is no YAML mapping, or a setting is unknown or impossible.
    """
    given = vars(make_parser().parse_args(argv))
    settings: dict[str, Any] = {}
    for path in given.pop("config"):
        settings |= read_settings(Path(path))
    lists = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    return TrainConfig(**{**settings, **given, **lists})


def read_settings(path: Path) -> dict[str, Any]:
    """The settings of a YAML file; sections (training:, model:, data:) are only for the reader."""
    try:
        content = yaml.load(read_text(path), _Settings) or {}
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML ({error})") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: found {type(content).__name__}, expected settings by name")
    known = {entry.name: entry for entry in dataclasses.fields(TrainConfig)}
    settings: dict[str, Any] = {}
    for key, value in content.items():
        part = value if isinstance(value, dict) else {key: value}
        for name in part.keys() & settings.keys():
            raise ConfigError(f"{path}: found {name} twice, expected each setting once")
        settings.update(part)
    for key, value in settings.items():
        if key not in known:
            raise ConfigError(
                f"{path}: found the unknown setting {brief(key)}; train.py -h lists all"
            )
        settings[key] = _typed(path, key, value, known[key])
    return settings


class _Settings(yaml.SafeLoader):
    """YAML in which a name that stands twice is an error, not replaced in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """See `yaml.SafeLoader`."""
        names = Counter(str(getattr(key, "value", "")) for key, _ in node.value)
        if twice := [name for name, count in names.items() if count > 1]:
            raise yaml.constructor.ConstructorError(
                None, None, f"found {brief(twice[0])} twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


def _typed(path: Path, key: str, value: Any, entry: "dataclasses.Field[Any]") -> Any:
    """What YAML read as the type that a setting has: 1e-6 is text to it, off and yes are bool.

    Nothing is rounded, and nothing becomes the text "None".
    """
    wanted: Any = type(entry.default)
    choices = entry.metadata["choices"] or ()
    if value is None and entry.default in ("", ()):
        return entry.default
    if value is None:
        raise ConfigError(
            f"{path}: {key}: found nothing, expected {wanted.__name__}; leave the line out for "
            f"the default, {entry.default}"
        )
    if isinstance(value, bool) and "off" in choices:
        return "on" if value else "off"
    if wanted is tuple:
        values = [value] if isinstance(value, str) else value
        if isinstance(values, list) and all(isinstance(one, str) for one in values):
            return tuple(values)
        raise ConfigError(f"{path}: {key}: found {brief(value)}, expected a list of texts")
    fits = not isinstance(value, bool) and isinstance(value, str | int | float)
    if wanted is bool:
        fits = isinstance(value, bool)
    elif fits:
        try:
            read = wanted(value)
            if wanted is not int or float(value) == read:
                return read
            fits = False
        except (TypeError, ValueError, OverflowError):
            fits = False
    if not fits:
        raise ConfigError(f"{path}: {key}: found {brief(value)}, expected {wanted.__name__}")
    return value


ONCE = ("resume", "overwrite", "dry_run")  # of one call, not of the run


def write_settings(path: Path, config: TrainConfig) -> None:
    """Every resolved value, as a file that `--config` takes, without flags of a single call."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {name: v for name, v in dataclasses.asdict(config).items() if name not in ONCE}
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
