"""What a foreign dialect is: names, what its settings say, and what it needs beside the tensors."""

import dataclasses
import importlib.util
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nnclip.convert.built import Built
from nnclip.convert.names import Table
from nnclip.convert.tensors import Tensor
from nnclip.errors import CheckpointError, ConfigError
from nnclip.files import read_regular
from nnclip.graph.config import ClipConfig
from nnclip.graph.towers import Tower
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
        notes: what was taken of the file, and what was left out, for people.
        tokenizer: of an encoder of texts, the content of its tokenizer.json.
    """

    path: Path
    kind: str
    files: tuple[Path, ...]
    tensors: dict[str, Tensor]
    wrapped: bool = False
    settings: dict[str, Settings] = field(default_factory=dict)
    tokenizer: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where what lies beside the checkpoint is looked for first."""
        return self.path if self.path.is_dir() else self.path.parent


def _nothing(*_: Any) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Part:
    """How a dialect keeps one kind of tower. A kind that it learns is one more row of its parts.

    Attributes:
        tower: the class of the tower's configuration.
        words: what errors call the kind.
        table: published name -> the dialect's, of all tensors that stand and fall with the tower.
        marker: a foreign name that shows it, where the dialect has other kinds on this side.
        read: what the dialect's settings of a model say of this tower that shapes do not tell.
        write: what the dialect's code is told about the tower; CheckpointError if it cannot be.
        fits: which towers of the class it is for.
    """

    tower: type[Tower]
    words: str
    table: Table
    marker: str = ""
    read: Callable[[Settings], dict[str, Any]] = _nothing
    write: Callable[[Any], Any] = _nothing
    fits: Callable[[Any], bool] = lambda tower: True


@dataclass(frozen=True)
class Code:
    """The dialect's own model code, as published on PyPI: what conversions are held against.

    Its functions import torch when they are called.

    Attributes:
        package: its name for pip.
        module: its name for Python.
        build: configuration -> a torch module with random weights.
        open: a source -> what the library makes of it by itself; None if it cannot tell all.
        features: module, configuration, inputs by side -> features by side, not normalised,
            differentiable.
        logits: module, images and ids -> (N, N), a row for each image; of whole models.
        blocks: module -> by side the modules whose outputs are the hidden states; of whole models.
        tokens_first: whether those outputs have the tokens on the first axis.
    """

    package: str
    module: str
    build: Callable[[Any], Any]
    features: Callable[[Any, Any, Mapping[str, np.ndarray]], dict[str, Any]]
    open: Callable[[Source], Built | None] = lambda source: None
    logits: Callable[[Any, Any, Any], Any] | None = None
    blocks: Callable[[Any], dict[str, Any]] | None = None
    tokens_first: bool = False


@dataclass(frozen=True)
class Names:
    """The names that a dialect has for published tensors.

    Attributes:
        reading: the table of a source.
        writing: the table of these towers; CheckpointError if the dialect does not know one.
        needed: what of the table a source of a whole model must have, and what errors call such
            a model's image tower.
        scalars: the table of what belongs to the loss, of a model with these towers.
    """

    reading: Callable[[Source], Table]
    writing: Callable[[tuple[Tower, ...]], Table]
    needed: Callable[[Source], tuple[Table, str]] = lambda source: ({}, "")
    scalars: Callable[[tuple[Tower, ...]], Table] = lambda towers: {}


def names_of(
    code: str, images: tuple[Part, ...], texts: tuple[Part, ...], scalars: Table | None = None
) -> Names:
    """The names of a dialect that tells its parts by their markers, and needs all of them.

    Args:
        code: what errors call the dialect.
        images: the image towers that it knows; the first where no marker shows another.
        texts: the text towers that it knows; the first where no marker shows another.
        scalars: published name -> the dialect's, of what belongs to the loss.
    """
    sides, common = [side for side in (images, texts) if side], scalars or {}

    def reading(source: Source) -> Table:
        tables = [part_shown(side, source.tensors).table for side in sides]
        return {name: rule for table in (*tables, common) for name, rule in table.items()}

    def writing(towers: tuple[Tower, ...]) -> Table:
        tables = [part_of(images + texts, tower, code).table for tower in towers]
        return {name: rule for table in (*tables, common) for name, rule in table.items()}

    def needed(source: Source) -> tuple[Table, str]:
        return reading(source), part_shown(sides[0], source.tensors).words

    return Names(reading, writing, needed, lambda towers: common)


@dataclass(frozen=True)
class Dialect:
    """How others name and describe the same model: a file in this folder, and a row in `source`.

    Attributes:
        name: as on the command line.
        names: published names of tensors and the dialect's.
        dropped: pattern of the names of tensors that nnclip has no use for.
        left_out: beginning of the names of some of those -> what they are together, for people.
        claims: whether a source shows itself to be in this dialect.
        describe: what the source says that shapes do not tell, as `config_from_shapes` takes it.
        settings_of: the JSON files that the dialect wants beside the tensors of a ClipConfig, or
            of a tower's configuration where the dialect has a side; CheckpointError
            if the dialect cannot express the model.
        code: what runs such a model.
        settings: names of the JSON files that it reads beside the tensors.
        file: the name of the tensors' file in a folder; empty if the dialect has no folders.
        side: "image" or "text" where the dialect knows one tower alone.
        pipeline: whose order and rounding its code prepares images with, see `Preprocess`.
        carried: what the .h5 takes over of the source beside the tensors, given the model or the
            tower.
        check_told: CheckpointError where the metadata lacks what the tensors do not tell.
        folded: the tensors of a source, with layers folded that are stored in parts.
        tokenizing: the JSON files that say how a text tower's tokenizer.json is used, given the
            tower and its content; None if the dialect stores no tokenizer.
    """

    name: str
    names: Names
    dropped: str
    claims: Callable[[Source], bool]
    describe: Callable[[Source], dict[str, Any]]
    settings_of: Callable[[Any], dict[str, Settings]]
    code: Code
    settings: tuple[str, ...] = ()
    file: str = ""
    side: str | None = None
    pipeline: str = "torchvision"
    carried: Callable[[Source, Any], dict[str, Any]] = _nothing
    check_told: Callable[[Mapping[str, Any]], Any] = _nothing
    folded: Callable[[Source], dict[str, Tensor]] = lambda source: dict(source.tensors)
    left_out: Mapping[str, str] = field(default_factory=dict)
    tokenizing: Callable[[Any, str], dict[str, Settings]] | None = None

    def build(self, config: ClipConfig | Tower) -> Any:
        """The model or tower in the dialect's own code, with random weights, a torch module.

        Raises:
            ConfigError: the package that has this code is not installed.
            CheckpointError: the code has no such model.
        """
        if importlib.util.find_spec(self.code.module) is None:
            raise ConfigError(
                f"comparing with {self.name} needs {self.code.package}, which is not installed: "
                "`make setup-dev`, then try again"
            )
        return self.code.build(config).eval().float()

    def open(self, source: Source) -> Built | None:
        """What the dialect's library makes of the checkpoint; None if it cannot tell all by itself.

        Raises:
            CheckpointError: the library refuses it.
        """
        try:
            return self.code.open(source)
        except ImportError:
            raise
        except Exception as error:  # another library's own, of any kind
            raise CheckpointError(
                f"{source.path}: {self.name}'s own code cannot build it ({error})"
            ) from error


def part_shown(parts: tuple[Part, ...], names: Collection[str]) -> Part:
    """The part whose marker is among the foreign names; the first where none is."""
    return next((part for part in parts if part.marker in names), parts[0])


def part_of(parts: tuple[Part, ...], tower: Tower, code: str) -> Part:
    """The part for this tower; CheckpointError if there is none."""
    for part in parts:
        if part.tower is type(tower) and part.fits(tower):
            return part
    known = " and ".join(part.words for part in parts if part.tower.side == tower.side)
    raise CheckpointError(
        f"found a {tower.kind}, but the code of {code} knows only {known or 'the other side'}"
    )


def unusual(tower: Any, own: Collection[str] = ()) -> tuple[str, Any, Any] | None:
    """The first option of a transformer that is not CLIP's: its name, its value and CLIP's.

    Args:
        tower: the tower.
        own: options that do not count.
    """
    for owner, free in ((tower, own), (tower.blocks, ("activation", "eps"))):
        for one in dataclasses.fields(owner):
            found = getattr(owner, one.name)
            if one.default is dataclasses.MISSING or not one.compare:
                continue
            if one.name in free or found == one.default:
                continue
            return one.name, found, one.default
    return None


def check_plain(tower: Any, code: str, own: Collection[str] = ()) -> None:
    """CheckpointError if a transformer has an option of another family that `code` lacks."""
    if option := unusual(tower, own):
        name, found, usual = option
        raise CheckpointError(
            f"found a {tower.kind} with {name} {found}, but the code of {code} knows only "
            f"{usual}; use --dialect open_clip"
        )


def without_heads(config: ClipConfig, code: str) -> None:
    """CheckpointError if the model has heads, which no code of others knows."""
    if config.image_head or config.text_head:
        raise CheckpointError(f"found a head, but the code of {code} knows none")


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


def one_value(what: str, image: Any, text: Any) -> Any:
    """The value that both towers share; CheckpointError if they differ."""
    if image != text:
        raise CheckpointError(
            f"{what}: found {_plain(image)} for images and {_plain(text)} for texts, expected "
            "the same"
        )
    return image


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else brief(value)
