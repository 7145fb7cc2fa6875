"""Reads .safetensors files: a JSON header, then the bytes of the tensors."""

import math
import os
from pathlib import Path
from typing import Any

from nnclip.convert.tensors import MOST_AXES, Tensor, decode, size_of
from nnclip.errors import CheckpointError
from nnclip.files import open_regular
from nnclip.json_text import brief, parse_json

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


MOST_HEADER = 16 << 20  # bytes; 1,000 tensors take 0.1 MB


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of `path`, not yet read; CheckpointError if it is damaged or something else.

    Source: the format of https://github.com/huggingface/safetensors: tensors fill all that follows
    the header, without gaps.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size - 8, MOST_HEADER):
                raise ValueError(f"a header of {length:,} bytes in {size:,}")
            header = parse_json(file.read(length), MOST_HEADER)
        if not isinstance(header, dict):
            raise ValueError(f"the header {brief(header)}")
        header.pop("__metadata__", None)
        spans = sorted(_span(name, entry) for name, entry in header.items())
        end = 0
        for begin, stop, name in spans:
            if begin != end:
                raise ValueError(f"tensor {brief(name)} from byte {begin:,} on, not from {end:,}")
            end = stop
        if 8 + length + end != size:
            raise ValueError(
                f"tensors of {end:,} bytes, but {size - 8 - length:,} behind the header"
            )
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: found a damaged file, or one that is no .safetensors ({error}); fetch it "
            "again"
        ) from error
    return {name: _tensor(path, 8 + length, entry) for name, entry in header.items()}


def _span(name: str, entry: Any) -> tuple[int, int, str]:
    """Where a tensor begins and ends; ValueError if that does not fit its type and shape."""
    dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        what = "fp8 or narrower and " if str(dtype).startswith(("F8", "F6", "F4")) else ""
        raise CheckpointError(
            f"tensor {brief(name)}: found values of type {brief(dtype)}, {what}not supported, "
            f"expected one of {', '.join(DTYPES)}; convert them to F16 or F32 first"
        )
    if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)) or len(shape) > MOST_AXES:
        raise ValueError(f"tensor {brief(name)} of shape {brief(shape)} at {brief((begin, end))}")
    if end - begin != math.prod(shape) * size_of(DTYPES[dtype]):
        raise ValueError(f"{end - begin:,} bytes for a tensor of shape {brief(shape)}")
    return begin, end, name


def _tensor(path: Path, start: int, entry: dict[str, Any]) -> Tensor:
    dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
    begin, end = entry["data_offsets"]

    def read() -> Any:
        with path.open("rb") as file:
            file.seek(start + begin)
            return decode(file.read(end - begin), dtype).reshape(shape)

    return Tensor(shape, dtype, read)
