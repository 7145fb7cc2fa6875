"""What a foreign dialect is: names, what its settings say, and what it needs beside the tensors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnclip.convert.names import Table
from nnclip.convert.tensors import Tensor
from nnclip.errors import CheckpointError
from nnclip.files import read_regular
from nnclip.graph.config import ClipConfig, ClipResNetConfig, ResNetConfig, TextConfig, VitConfig
from nnclip.json_text import TOKENIZER_BYTES, brief, parse_json, read_json

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
        tokenizer: of an encoder of texts, the content of its tokenizer.json.
    """

    path: Path
    kind: str
    files: tuple[Path, ...]
    tensors: dict[str, Tensor]
    wrapped: bool = False
    settings: dict[str, Settings] = field(default_factory=dict)
    tokenizer: str | None = None


@dataclass(frozen=True)
class Dialect:
    """How others name and describe the same model.

    Attributes:
        name: as on the command line.
        table: published name -> the dialect's.
        dropped: pattern of the names of tensors that nnclip has no use for.
        describe: what the source says that shapes do not tell, as `config_from_shapes` takes it.
        settings_of: the JSON files that the dialect wants beside the tensors of a ClipConfig, or
            of a tower's configuration where the dialect has a side; CheckpointError
            if the dialect cannot express the model.
        file: the name of the tensors' file in a folder; empty if the dialect has no folders.
        side: "image" or "text" where the dialect knows one tower alone.
        pipeline: whose order and rounding its code prepares images with, see `Preprocess`.
        carried: what the .h5 takes over of the source beside the tensors, given the model or the
            tower.
        table_in: the part of `table` that a source is named by; all of it if not given.
        table_for: the same for a model that is to be written.
    """

    name: str
    table: Table
    dropped: str
    describe: Callable[[Source], dict[str, Any]]
    settings_of: Callable[[Any], dict[str, Settings]]
    file: str = ""
    side: str | None = None
    pipeline: str = "torchvision"
    carried: Callable[[Source, Any], dict[str, Any]] = lambda source, config: {}
    table_in: Callable[[Source], Table] | None = None
    table_for: Callable[[Any], Table] | None = None

    def reads(self, source: Source) -> Table:
        """The table that names the tensors of a source."""
        return self.table if self.table_in is None else self.table_in(source)

    def writes(self, config: Any) -> Table:
        """The table that names the tensors of a model or a tower."""
        return self.table if self.table_for is None else self.table_for(config)


def read_settings(path: Path) -> Settings:
    """A JSON file that holds an object; CheckpointError if it does not."""
    try:
        settings = read_json(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: found no JSON file ({error})") from error
    if not isinstance(settings, dict):
        raise CheckpointError(f"{path}: found a {type(settings).__name__}, expected an object")
    return settings


def read_tokenizer(path: Path) -> str:
    """The content of a tokenizer.json; CheckpointError if it is no JSON, or too large."""
    try:
        text = read_regular(path, TOKENIZER_BYTES)[0].decode("utf-8")
        parse_json(text, TOKENIZER_BYTES)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: found no JSON file ({error})") from error
    return text


def part(settings: Settings, key: str, default: Settings | None = None) -> Settings:
    """The object under a key, an empty one for null; CheckpointError if something else is there."""
    found = settings.get(key, default)
    if not isinstance(found, dict | None):
        raise CheckpointError(f"{key}: found {brief(found)}, expected an object")
    return found or {}


def whole_number(settings: Settings, key: str, default: int, least: int = 0) -> int:
    """The whole number under a key; CheckpointError if something else is there."""
    found = settings.get(key)
    if found is None:
        return default
    if type(found) is not int or not least <= found < 1 << 31:
        raise CheckpointError(
            f"{key}: found {brief(found)}, expected an integer of at least {least}"
        )
    return found


def own_towers(config: ClipConfig, dialect: str) -> tuple[VitConfig | ClipResNetConfig, TextConfig]:
    """Both towers, if they are CLIP's own; CheckpointError if `dialect` has no such model."""
    image, text = config.image, config.text
    if isinstance(image, ResNetConfig) or not isinstance(text, TextConfig):
        raise CheckpointError(
            f"found the towers {type(image).__name__} and {type(text).__name__}, but the code of "
            f"{dialect} knows only CLIP's own"
        )
    if config.image_head or config.text_head:
        raise CheckpointError(f"found a head, but the code of {dialect} knows none")
    return image, text


def one_value(what: str, image: Any, text: Any) -> Any:
    """The value that both towers share; CheckpointError if they differ."""
    if image != text:
        raise CheckpointError(
            f"{what}: found {_plain(image)} for pictures and {_plain(text)} for texts, expected "
            "the same"
        )
    return image


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else brief(value)
