"""Reads .safetensors files: a JSON header, then the bytes of the tensors."""

import json
import math
from pathlib import Path
from typing import Any

from nnclip.convert.tensors import Tensor, decode, size_of
from nnclip.errors import CheckpointError

DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of `path`, not yet read; CheckpointError if it is damaged or something else."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= size - 8:
                raise ValueError("the header is longer than the file")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        return {name: _tensor(path, 8 + length, size, entry) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: found a damaged file, or one that is no .safetensors ({error}); fetch it "
            "again"
        ) from error


def _tensor(path: Path, start: int, size: int, entry: dict[str, Any]) -> Tensor:
    dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
    begin, end = entry["data_offsets"]
    if end - begin != math.prod(shape) * size_of(dtype):
        raise ValueError(f"{end - begin} bytes for a tensor of shape {shape}")
    if not 0 <= start + begin <= start + end <= size:
        raise ValueError("a tensor ends beyond the file, which was cut short")

    def read() -> Any:
        with path.open("rb") as file:
            file.seek(start + begin)
            return decode(file.read(end - begin), dtype).reshape(shape)

    return Tensor(shape, dtype, read)
