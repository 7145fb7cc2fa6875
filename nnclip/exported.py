"""An exported folder as a model: graphs that OpenVINO runs, chosen and described by card.json.

What a graph does not hold, the card does: the shapes of the parameters and the metadata, of which
the configuration is inferred as from an .h5, and the scalars of the loss.

Axes: N images, M texts, L tokens, R resolution.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnclip.engine import EmittedGraph, read_graph
from nnclip.engine.arrays import InputSpec
from nnclip.errors import CheckpointError, ConfigError, DataError
from nnclip.files import read_regular
from nnclip.graph.config import ClipConfig, config_from_shapes
from nnclip.graph.losses import LOSSES
from nnclip.json_text import TOKENIZER_BYTES, brief, read_json
from nnclip.nnabla import nn
from nnclip.weights.model import ModelWeights

CARD, TOKENIZER = "card.json", "tokenizer.json"
VERSION = 2  # of the card; the first could not be loaded
# Formats that can be loaded, and weights: the first that a folder has is taken.
FORMATS, WEIGHTS = ("openvino", "onnx"), ("float32", "float16")
PARTS = {"image": ("image", "both"), "text": ("text", "both")}  # side -> parts that have it


@dataclass(frozen=True, kw_only=True)
class ExportedWeights(ModelWeights):
    """A model without parameters: its towers are files.

    Attributes:
        folder: the folder.
        scalars: of the loss, by name.
        told: the digest of the parameters that were exported.
        files: side -> the file of its tower.
    """

    folder: Path
    scalars: Mapping[str, float]
    told: str
    files: Mapping[str, Path]

    @property
    def digest(self) -> str:
        """See `ModelWeights`."""
        return self.told

    def variables(self) -> dict[str, nn.Variable]:
        """ConfigError: there are none."""
        raise ConfigError(
            f"{self.folder}: found an exported folder, which has no parameters, expected an .h5; "
            "load the model that was exported"
        )

    def array(self, name: str) -> np.ndarray:
        """The value of a scalar; of every other parameter ConfigError."""
        if name not in self.scalars:
            self.variables()
        return np.array(self.scalars[name], np.float32)

    def tower(self, side: str) -> EmittedGraph:
        """The graph of a tower: `images` or `ids` in, `features` out.

        Args:
            side: "image" or "text".

        Raises:
            ConfigError: that side was not exported.
            CheckpointError: its file is damaged, or another graph.
        """
        if side not in self.files:
            raise ConfigError(
                f"{self.folder}: found no {side} tower that can be loaded, expected OpenVINO's or "
                f"ONNX: nnclip export --to openvino --part {side} -o {self.folder}"
            )
        graph = read_graph(self.files[side], [_spec(side, self.config)], f"{side}_features")
        return EmittedGraph(graph.model, graph.specs, ("features",))


def _spec(side: str, config: ClipConfig) -> InputSpec:
    if side == "image":
        size = config.image.resolution
        return InputSpec("images", (None, 3, size, size))
    context = config.text.context
    free = bool(config.text.trims) and context > 1
    shape = (None, None if free else context)
    longest = context if free else None
    return InputSpec("ids", shape, True, config.text.vocabulary, longest)


def read_exported(folder: Path) -> ExportedWeights:
    """The model of an exported folder; CheckpointError with a sentence if its card is not one."""
    path = folder / CARD
    try:
        card = read_json(path)
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder}: found no {CARD} in this folder, expected what `nnclip export` writes"
        ) from None
    except (OSError, ValueError, DataError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from error
    try:
        return _model(folder, card)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}; export the model again") from error


def _model(folder: Path, card: Any) -> ExportedWeights:
    if not isinstance(card, dict) or card.get("card") != VERSION:
        found = card.get("card") if isinstance(card, dict) else card
        raise CheckpointError(f"found a card of version {brief(found)}, expected {VERSION}")
    metadata = {**_field(card, "metadata", dict)}
    if metadata.get("tokenizer") == TOKENIZER:
        metadata["tokenizer"] = _text(folder / TOKENIZER)
    shapes = {name: _shape(name, one) for name, one in _field(card, "tensors", dict).items()}
    try:
        config = config_from_shapes(shapes, metadata)
    except (TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise CheckpointError(f"tensors and metadata: found no model in them ({error})") from error
    scalars = _field(card, "scalars", dict)
    for name in LOSSES[config.loss].scalars:
        if not _is_finite(scalars.get(name)):
            raise CheckpointError(
                f"scalars: {name}: found {brief(scalars.get(name))}, expected a number"
            )
    return ExportedWeights(
        config,
        {},
        metadata,
        folder=folder,
        scalars=scalars,
        told=_field(card, "digest", str),
        files=_files(folder, _field(card, "graphs", list)),
    )


def _files(folder: Path, graphs: list[Any]) -> dict[str, Path]:
    """Side -> the file of its tower, checked for its size."""
    found: dict[str, Path] = {}
    for side, parts in PARTS.items():
        for kind in (
            (to, weights, part) for to in FORMATS for weights in WEIGHTS for part in parts
        ):
            graph = next((g for g in graphs if _kind(g) == kind), None)
            if graph is not None:
                found[side] = _checked_files(folder, _field(graph, "files", dict))
                break
    return found


def _kind(graph: Any) -> tuple[str, str, str]:
    if not isinstance(graph, dict):
        raise CheckpointError(f"graphs: found {brief(graph)}, expected objects")
    return (
        _field(graph, "format", str), _field(graph, "weights", str), _field(graph, "part", str)
    )  # fmt: skip


def _checked_files(folder: Path, files: Mapping[str, Any]) -> Path:
    """The first of a graph's files; all must be there, as long as they were written."""
    if not files:
        raise CheckpointError("files: found none, expected those of a graph")
    for name, size in files.items():
        path = folder / name
        if name != path.name or not path.is_file():
            raise CheckpointError(f"files: found no {brief(name)} in the folder")
        if path.stat().st_size != size:
            raise CheckpointError(
                f"{name}: found {path.stat().st_size:,} bytes, expected {brief(size)}"
            )
    return folder / next(iter(files))


def _field(card: Mapping[str, Any], key: str, kind: type) -> Any:
    value = card.get(key)
    if not isinstance(value, kind):
        raise CheckpointError(f"{key}: found {brief(value)}, expected {_KINDS[kind]}")
    return value


_KINDS: dict[type, str] = {dict: "an object", list: "a list", str: "a text"}


def _shape(name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(n) is int and n > 0 for n in value):
        raise CheckpointError(f"tensors: {name}: found {brief(value)}, expected a shape")
    return tuple(value)


def _text(path: Path) -> str:
    try:
        return read_regular(path, TOKENIZER_BYTES)[0].decode("utf-8")
    except (OSError, ValueError, DataError) as error:
        raise CheckpointError(f"{path.name}: cannot be read ({error})") from error


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < math.inf
