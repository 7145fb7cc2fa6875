"""What a foreign dialect is: names, what its settings say, and what it needs beside the tensors."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convert.names import Table
from convert.tensors import Tensor
from nnclip.errors import CheckpointError
from nnclip.graph.config import ClipConfig

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """A foreign checkpoint that was opened; its tensors are not yet read.

    Attributes:
        path: what was given.
        kind: what kind of file it is, in words.
        files: the files that hold the tensors.
        tensors: by the dialect's names, wrappers and prefixes removed.
        wrapped: whether there were such.
        settings: JSON file that lies beside -> its content.
    """

    path: Path
    kind: str
    files: tuple[Path, ...]
    tensors: dict[str, Tensor]
    wrapped: bool = False
    settings: dict[str, Settings] = field(default_factory=dict)


@dataclass(frozen=True)
class Dialect:
    """How others name and describe the same model.

    Attributes:
        name: as on the command line.
        table: published name -> the dialect's.
        dropped: pattern of the names of buffers that hold nothing learned.
        describe: what the source says that shapes do not tell, as `config_from_shapes` takes it.
        settings_of: the JSON files that the dialect wants beside the tensors; CheckpointError
            if the dialect cannot express the model.
        file: the name of the tensors' file in a folder; empty if the dialect has no folders.
    """

    name: str
    table: Table
    dropped: str
    describe: Callable[[Source], dict[str, Any]]
    settings_of: Callable[[ClipConfig], dict[str, Settings]]
    file: str = ""


def read_settings(path: Path) -> Settings:
    """A JSON file that holds an object; CheckpointError if it does not."""
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: found no JSON file ({error})") from error
    if not isinstance(settings, dict):
        raise CheckpointError(f"{path}: found a {type(settings).__name__}, expected an object")
    return settings


def one_value(what: str, image: Any, text: Any) -> Any:
    """The value that both towers share; CheckpointError if they differ."""
    if image != text:
        raise CheckpointError(
            f"{what}: found {image} for pictures and {text} for texts, expected the same"
        )
    return image
