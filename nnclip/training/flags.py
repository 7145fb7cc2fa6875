"""Flags and YAML files -> TrainConfig. A file gives the defaults, flags go over it."""

import argparse
import dataclasses
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
        settings.update(read_settings(Path(path)))
    return TrainConfig(**{**settings, **given})


def read_settings(path: Path) -> dict[str, Any]:
    """The settings of a YAML file; sections (training:, model:, data:) are only for the reader."""
    try:
        content = yaml.safe_load(read_text(path)) or {}
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML ({error})") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: found {type(content).__name__}, expected settings by name")
    defaults = {entry.name: entry.default for entry in dataclasses.fields(TrainConfig)}
    settings: dict[str, Any] = {}
    for key, value in content.items():
        settings.update(value if isinstance(value, dict) else {key: value})
    for key, value in settings.items():
        if key not in defaults:
            raise ConfigError(
                f"{path}: found the unknown setting {brief(key)}; train.py -h lists all"
            )
        settings[key] = _typed(path, key, value, defaults[key])
    return settings


def _typed(path: Path, key: str, value: Any, default: Any) -> Any:
    """YAML reads 1e-6 as text, and 1 where 1.0 is meant."""
    wanted = type(default)
    if isinstance(value, dict | list):  # the text of one may be endless
        fits = False
    elif wanted is bool or isinstance(value, bool):
        fits = wanted is bool and isinstance(value, bool)
    else:
        try:
            value, fits = wanted(value), True
        except (TypeError, ValueError):
            fits = False
    if not fits:
        raise ConfigError(f"{path}: {key}: found {brief(value)}, expected {wanted.__name__}")
    return value


def write_settings(path: Path, config: TrainConfig) -> None:
    """Every resolved value, as a file that `--config` takes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(dataclasses.asdict(config), sort_keys=False), encoding="utf-8")
