"""Opens a foreign checkpoint: finds its files, unwraps its tensors, tells its dialect."""

import hashlib
from pathlib import Path
from typing import Any

from nnclip.convert import (
    bert,
    huggingface,
    open_clip,
    openai,
    torchvision,
    transformers_towers,
)
from nnclip.convert.dialect import Dialect, Source, read_settings
from nnclip.convert.safetensors_files import read_safetensors
from nnclip.convert.torch_files import read_torch
from nnclip.convert.unwrap import unwrap
from nnclip.errors import CheckpointError, DataError
from nnclip.files import open_regular
from nnclip.json_text import brief
from nnclip.weights.hub import INDEX, WEIGHTS

# Where nothing is said, the first that claims a source reads it.
DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        transformers_towers.IMAGE_DIALECT,
        transformers_towers.TEXT_DIALECT,
        huggingface.DIALECT,
        openai.DIALECT,
        open_clip.DIALECT,
        torchvision.DIALECT,
        bert.DIALECT,
        bert.DISTILBERT_DIALECT,
    )
}


def open_source(
    path: Path, config: Path | None = None, key: str | None = None, prefix: str | None = None
) -> Source:
    """What `path` holds: a file, an index of several, or a folder with one of WEIGHTS.

    Args:
        path: the checkpoint.
        config: an open_clip_config.json or one of open_clip's model_configs, in place of the one
            beside the checkpoint.
        key: as `unwrap` takes it.
        prefix: as `unwrap` takes it.

    Raises:
        CheckpointError: no such file, damaged, not a checkpoint, or it wants to run code.
    """
    file = _file_of(path)
    beside = {
        name: file.parent / name for dialect in DIALECTS.values() for name in dialect.settings
    }
    settings = {name: read_settings(path) for name, path in beside.items() if path.is_file()}
    if config is not None:
        settings[open_clip.FILE] = read_settings(config)
    if INDEX.fullmatch(file.name):
        files = _shards(file)
        tensors = {name: t for shard in files for name, t in _read(shard)[0].items()}
        kind, tree = f"index of {len(files)} files", tensors
    else:
        files = (file,)
        tree, kind = _read(file)
    found = unwrap(file, tree, key, prefix)
    return Source(path, kind, files, found.tensors, found.wrapped, settings, notes=found.notes)


def _file_of(path: Path) -> Path:
    if path.is_dir():
        for name in WEIGHTS:
            if (path / name).is_file():
                return path / name
        raise CheckpointError(f"{path}: found none of {', '.join(WEIGHTS)} in this folder")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file, expected a checkpoint of torch")
    return path


def _shards(index: Path) -> tuple[Path, ...]:
    names = read_settings(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(n, str) for n in names.values()):
        raise CheckpointError(f"{index}: found no weight_map that names the files")
    files = tuple(index.parent / name for name in sorted(set(names.values())))
    for file in files:
        if file.parent != index.parent or not file.is_file():
            raise CheckpointError(f"{index}: names {file}, which is not there")
    return files


def _read(file: Path) -> tuple[Any, str]:
    try:
        if file.suffix == ".safetensors" or _begins_as_safetensors(file):
            return read_safetensors(file), "safetensors file"
        open_regular(file).close()
        return read_torch(file)
    except (OSError, DataError) as error:
        raise CheckpointError(f"{file}: cannot be read ({error})") from error


def _begins_as_safetensors(file: Path) -> bool:
    """Whether the length of a JSON object comes first, and then that; some hubs name it .bin."""
    with open_regular(file) as stream:
        head = stream.read(10)
    return head[8:10] == b'{"' and not head.startswith((b"PK", b"\x80"))


def dialect_of(source: Source, name: str = "auto") -> Dialect:
    """The dialect of that name, or the one that the source shows itself to be in."""
    if name != "auto":
        if name not in DIALECTS:
            raise CheckpointError(
                f"found no dialect {name!r}, expected one of {', '.join(DIALECTS)}"
            )
        return DIALECTS[name]
    for dialect in DIALECTS.values():
        if dialect.claims(source):
            return dialect
    if openai.has_names(source):
        raise CheckpointError(
            f"{source.path}: found names that openai and open_clip share, but their activations "
            "differ; say which it is with --dialect openai or --dialect open_clip"
        )
    shown = ", ".join(list(source.tensors)[:3])
    if kind := source.settings.get(huggingface.FILE, {}).get("model_type"):
        raise CheckpointError(
            f"{source.path}: found a {brief(kind)} model, which nnclip does not know; "
            "docs/models.md lists those that it does"
        )
    raise CheckpointError(
        f"{source.path}: found no CLIP of a known dialect (its first tensors: {shown}), expected "
        f"one of {', '.join(DIALECTS)}"
    )


def sha256_of(files: tuple[Path, ...]) -> str:
    """Of one file its hash; of several that of all their bytes, in the order of their names."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
