"""All models that can be loaded by a name, with their facts, and which are on this machine."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from nnclip.assets import asset
from nnclip.errors import CheckpointError
from nnclip.graph.config import config_from_shapes
from nnclip.weights.catalogue import CATALOGUE, sources
from nnclip.weights.kept import kept, on_this_machine
from nnclip.weights.model import opened
from nnclip.weights.published import Published, open_clip_table, open_clip_weights

BUNDLED, BUNDLED_NAME = "nnclip.h5", "bundled"


@dataclass(frozen=True)
class KnownModel:
    """A model, as far as it is known; None is what nobody told.

    Attributes:
        name: what `clip.load` takes.
        parameters: in millions.
        resolution: pixels along a side.
        context: tokens of the longest text.
        languages: what its page on the hub names, or about how many.
        licence: of the weights.
        path: the .h5 on this machine.
    """

    name: str
    parameters: float | None = None
    resolution: int | None = None
    context: int | None = None
    languages: str | None = None
    licence: str | None = None
    path: Path | None = None


def known_models(cache: Path) -> list[KnownModel]:
    """The bundled model, all published ones, and what else the cache holds.

    Args:
        cache: the folder of fetched files.
    """
    found = [_in_file(KnownModel(BUNDLED_NAME, licence="apache-2.0"), asset(BUNDLED))]
    found += [_published(name, _of_openai(name), cache) for name in CATALOGUE]
    rows = (row for rows in open_clip_table().values() for row in rows)
    found += [_published(row.name, row, cache) for row in rows]
    listed = {model.path for model in found}
    found += [_in_file(KnownModel(name), path) for name, path in _others(cache, listed)]
    return found


def _of_openai(name: str) -> Published:
    """What open_clip tells of the same weights: "ViT-L/14@336px" is its "ViT-L-14-336"."""
    return open_clip_weights(name.replace("@", "-").removesuffix("px") + ":openai")


def _published(name: str, row: Published, cache: Path) -> KnownModel:
    model = KnownModel(
        name, row.parameters, row.resolution, row.context, row.languages, row.licence
    )
    paths = (kept(source, cache) for source in sources(name))
    path = next((path for path in paths if path is not None), None)
    return model if path is None else _in_file(model, path)


def _others(cache: Path, listed: set[Path | None]) -> Iterator[tuple[str, Path]]:
    """Of the cache's files those that no name has; a repository by its own, else by the path."""
    for name, path in on_this_machine(cache):
        if path not in listed:
            yield name, path


def _in_file(model: KnownModel, path: Path) -> KnownModel:
    """With what its file says; as it was told before where the file cannot be read."""
    model = replace(model, path=path)
    try:
        with opened(path) as (_, shapes, metadata):
            config = config_from_shapes(shapes, metadata)
    except CheckpointError:
        return model
    return replace(
        model,
        parameters=round(sum(map(math.prod, shapes.values())) / 1e6, 1),
        resolution=config.image.resolution,
        context=config.text.context,
        languages=metadata.get("languages", model.languages),
        licence=metadata.get("licence", model.licence),
    )
