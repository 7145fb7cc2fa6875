"""Converts an .h5 into a checkpoint for OpenAI's code, open_clip, transformers or torchvision.

python convert/h5_to_torch.py ViT-B-32.h5 folder --dialect huggingface
"""

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nnclip.convert.bert import TOKENIZER
from nnclip.convert.dialect import Dialect, Settings
from nnclip.convert.names import to_foreign
from nnclip.convert.source import DIALECTS
from nnclip.convert.tensors import STORED, Tensor
from nnclip.convert.understood import understood
from nnclip.errors import CheckpointError, NnclipError
from nnclip.files import shown
from nnclip.graph.losses import Loss, scalar_names
from nnclip.graph.towers import Tower
from nnclip.image import Preprocess
from nnclip.json_text import brief, parse_json
from nnclip.weights.h5 import Weights, read_h5, write_whole
from nnclip.weights.model import check_names_and_shapes, told_scalars

logger = logging.getLogger(__name__)

SUFFIXES = (".pt", ".bin", ".safetensors")


def convert_h5(source: Path, destination: Path, dialect: Dialect, half: bool = False) -> list[Path]:
    """Write the .h5 `source` as a checkpoint of `dialect`.

    Args:
        source: an .h5 of nnclip or NNabla.
        destination: a .pt, .bin or .safetensors file, or a folder; the dialect's settings are
            written beside.
        dialect: whose names and settings.
        half: store as narrow as the checkpoint that the .h5 came from did, tensor by tensor;
            float16 throughout if that is not known.

    Returns: what was written.

    Raises:
        CheckpointError: the .h5 is damaged, the dialect cannot express the model, or the files
            cannot be written.
    """
    weights = read_h5(source)
    try:
        tensors, settings, tokenizer = _translate(weights, dialect, half)
        file = _file_of(destination, dialect)
        _check_settings(file.parent, settings)
        _write_tensors(file, tensors)
        for name, content in settings.items():
            text = json.dumps(content, indent=2) + "\n"
            write_whole(file.parent / name, partial(_write_text, text))
        if tokenizer:
            write_whole(file.parent / TOKENIZER, partial(_write_text, tokenizer))
    except OSError as error:
        raise CheckpointError(f"{destination}: cannot be written ({error})") from error
    except CheckpointError as error:
        raise CheckpointError(f"{source}: {error}") from error
    return [file, *(file.parent / name for name in (*settings, *([TOKENIZER] * bool(tokenizer))))]


def _translate(
    weights: Weights, dialect: Dialect, half: bool
) -> tuple[dict[str, Tensor], dict[str, Settings], str | None]:
    """The tensors, the settings beside them, and the tokenizer.json where there is one."""
    arrays = weights.arrays | told_scalars(weights.metadata)
    for name in scalar_names() & arrays.keys():
        if arrays[name].size == 1:
            arrays[name] = arrays[name].reshape(())  # NNabla files may have (1,)
    shapes = {name: array.shape for name, array in arrays.items()}
    _check_side(dialect, weights.metadata.get("tower"))
    what = understood(dialect.side, shapes, weights.metadata)
    check_names_and_shapes(shapes, what.shapes)
    if what.loss:
        _check_loss(dialect, what.loss, what.towers)
    settings, table = dialect.settings_of(what.config), dialect.names.writing(what.towers)
    tokenizer = weights.metadata.get("tokenizer") if _has_json(weights, dialect) else None
    if tokenizer and dialect.tokenizing:
        settings = {**settings, **dialect.tokenizing(what.towers[-1], tokenizer)}
    elif not tokenizer and dialect.side != "image" and weights.metadata.get("tokenizer"):
        logger.warning(
            "tokenizer: found the model's own vocabulary, but %s's code knows only CLIP's: the "
            "checkpoint comes without it; give it the ids of nnclip's tokenize, and keep the .h5",
            dialect.name,
        )
    _tell_pipeline(dialect, weights.metadata)
    dtypes = dict.fromkeys(arrays, "float32")
    if half:
        known = _source_dtypes(weights.metadata)
        dtypes.update(dict.fromkeys(arrays, "float16") if known is None else known)
    found = to_foreign({k: _stored(a, dtypes[k]) for k, a in arrays.items()}, table)
    return found, settings, tokenizer


def _tell_pipeline(dialect: Dialect, metadata: Mapping[str, Any]) -> None:
    """Warn where the dialect's code prepares images with another order or rounding."""
    found = Preprocess.from_metadata(metadata).pipeline
    if dialect.side != "text" and found != dialect.pipeline:
        logger.warning(
            "images: found a model that prepares them as %s does, but %s's code rounds as %s does: "
            "crops may lie a pixel apart, and palette or transparent images be resized otherwise",
            found,
            dialect.name,
            dialect.pipeline,
        )


def _has_json(weights: Weights, dialect: Dialect) -> bool:
    """Whether the dialect keeps the tokenizer of this model in a tokenizer.json beside it."""
    own = dialect.tokenizing is not None  # its code reads CLIP's kind of tokenizer as well
    return own or dialect.side == "text" or weights.metadata.get("text_tokenizer") == "json"


def _source_dtypes(metadata: Mapping[str, Any]) -> dict[str, str] | None:
    """Tensor -> its type in the checkpoint that the .h5 came from, where that is told."""
    told = metadata.get("source_dtypes")
    if told is None:
        return None
    try:
        found = parse_json(told)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"metadata source_dtypes: found no JSON ({error})") from error
    if not isinstance(found, dict) or not all(map(_is_type, found.values())):
        raise CheckpointError(
            f"metadata source_dtypes: found {brief(found)}, expected types of tensors by name"
        )
    return found


def _is_type(kind: Any) -> bool:
    return isinstance(kind, str) and kind in STORED


def _check_side(dialect: Dialect, side: str | None) -> None:
    """CheckpointError unless the dialect knows what the .h5 holds: a whole model, or a tower."""
    if side != dialect.side:
        found, expected = (
            f"the {s} tower alone" if s else "a whole model" for s in (side, dialect.side)
        )
        raise CheckpointError(f"found {found}, but {dialect.name}'s code knows only {expected}")


def _check_loss(dialect: Dialect, loss: Loss, towers: tuple[Tower, ...]) -> None:
    """CheckpointError if the dialect's code has no place for a scalar of the loss."""
    needed = loss.scalars.keys()
    if lacking := sorted(needed - dialect.names.scalars(towers).keys()):
        able = [d.name for d in DIALECTS.values() if needed <= d.names.scalars(towers).keys()]
        raise CheckpointError(
            f"found {', '.join(lacking)} of the {loss.name} loss, but {dialect.name}'s code has no "
            f"such parameter; use --dialect {' or '.join(able)}"
        )


def _stored(array: np.ndarray, dtype: str) -> Tensor:
    return Tensor(array.shape, dtype, lambda: array)


def _file_of(destination: Path, dialect: Dialect) -> Path:
    if destination.suffix in SUFFIXES and not destination.is_dir():
        return destination
    if destination.suffix and not destination.is_dir():
        raise CheckpointError(
            f"{destination}: found the suffix {destination.suffix}, expected "
            f"{', '.join(SUFFIXES)}, or a folder"
        )
    if not dialect.file:
        raise CheckpointError(
            f"{destination}: {dialect.name} keeps a model in one file; give a name that ends in .pt"
        )
    return destination / dialect.file


def _check_settings(folder: Path, settings: Mapping[str, Settings]) -> None:
    """CheckpointError if a file of another model would be overwritten."""
    for name, content in settings.items():
        path = folder / name
        if (
            path.exists()
            and path.read_text("utf-8", "replace") != json.dumps(content, indent=2) + "\n"
        ):
            raise CheckpointError(
                f"{path}: describes another model; give a folder of its own, or remove it"
            )


def _write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    try:
        import torch
        from safetensors.torch import save_file
    except ImportError as error:
        raise CheckpointError(
            f"writing torch files needs torch ({error}): `make setup-dev`, then try again"
        ) from error
    content = {
        name: torch.from_numpy(np.ascontiguousarray(t.read()).reshape(t.shape)).to(
            getattr(torch, t.dtype)
        )
        for name, t in tensors.items()
    }
    if file.suffix == ".safetensors":
        write_whole(file, lambda path: save_file(content, path, metadata={"format": "pt"}))
    else:
        write_whole(file, lambda path: torch.save(content, path))


def _write_text(text: str, path: str) -> None:
    Path(path).write_text(text, encoding="utf-8")


def parser() -> argparse.ArgumentParser:
    """The command's flags."""
    first, *_ = (__doc__ or "").splitlines()
    p = argparse.ArgumentParser(
        prog="h5_to_torch.py",
        description=first,
        epilog="example: python convert/h5_to_torch.py ViT-B-32.h5 folder --dialect huggingface",
    )
    p.add_argument("source", type=Path, help="the .h5 to read")
    p.add_argument("destination", type=Path, help="a .pt, .bin or .safetensors file, or a folder")
    p.add_argument(
        "--dialect", required=True, choices=tuple(DIALECTS), help="whose code will read it"
    )
    p.add_argument(
        "--half", action="store_true", help="store float16, where the source is known: as it did"
    )
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 done, 2 an error."""
    args = parser().parse_args(argv)
    try:
        dialect = DIALECTS[args.dialect]
        for path in convert_h5(args.source, args.destination, dialect, args.half):
            print(f"wrote     {path}: {path.stat().st_size:,} bytes")
    except NnclipError as error:
        print(shown(f"h5_to_torch.py: {error}"), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
