"""Opens HDF5 so that nothing is read but numbers that lie in this very file, as large as it says.

HDF5 can point at other files, at parts of itself, or nowhere (which reads as zeros), and can ask
for memory that a few bytes of the file fill. All that is refused before a number is read.
"""

import math
import mmap
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5s, h5z

from nnclip.errors import CheckpointError
from nnclip.files import open_regular
from nnclip.json_text import TOKENIZER_BYTES, brief

LINKS = 100_000  # names in a file; CLIP's largest has 800
FILTERS = (h5z.FILTER_SHUFFLE, h5z.FILTER_DEFLATE, h5z.FILTER_FLETCHER32)
SPARE = 64 << 20  # bytes that chunks may unpack to, however small the file is
PACKING = 20  # times its size that a file may unpack to beyond that
HEAP = b"GCOL\1\0\0\0"  # begins a heap
MANY = 1000  # values of an attribute
LONGEST = TOKENIZER_BYTES  # of its texts


@contextmanager
def open_datasets(path: str | Path) -> Iterator[tuple[h5py.File, dict[str, h5py.Dataset]]]:
    """An HDF5 file and its datasets of numbers by name, in no order, not yet read.

    Raises:
        CheckpointError: something in it points elsewhere, is no number, is not there or is larger
            than the file allows; names the dataset.
        OSError, RuntimeError, KeyError, ValueError, TypeError: what h5py says of a damaged file.
    """
    with h5py.File(path, "r") as file:
        found: list[h5py.Dataset] = []
        try:  # h5py wants no exceptions in what it calls
            problem = file.visititems_links(_Links()) or file.visititems(
                lambda name, item: _keep(name, item, found)
            )
        except SystemError as error:  # h5py's own, where HDF5 stops in the middle of a visit
            raise OSError("the names of its datasets cannot be read") from error
        if problem:
            raise CheckpointError(problem)
        if any(_is_loose(file, name) for name in file.attrs):
            _check_heaps(Path(path))
        _check_places(found, Path(path).stat().st_size)
        yield file, {name_of(d): d for d in found}


def name_of(dataset: h5py.Dataset) -> str:
    """The name of a parameter."""
    return str(dataset.name).strip("/")


class _Links:
    """Finds what is no plain link, and more names than a model can have."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, name: str, link: Any) -> str | None:
        self._count += 1
        if not isinstance(link, h5py.HardLink):
            return f"tensor {name}: found a link to another place, expected values in this file"
        if self._count > LINKS:
            return f"found more than {LINKS:,} names, expected those of a model"
        return None


def _keep(name: str, item: Any, found: list[h5py.Dataset]) -> str | None:
    """Gather datasets of numbers; what is wrong with anything else but a group."""
    if isinstance(item, h5py.Group):
        return None
    if not isinstance(item, h5py.Dataset) or item.id.get_type().committed():
        return f"tensor {name}: found a named type, expected numbers"
    if item.dtype.kind not in "fiu" or item.dtype.itemsize > 8:
        kind = brief(str(item.dtype))[1:-1]
        return f"tensor {name}: found values of type {kind}, expected numbers"
    found.append(item)
    return None


def _check_places(datasets: list[h5py.Dataset], size: int) -> None:
    """CheckpointError unless all values lie in the file, plain ones nowhere twice."""
    spans: list[tuple[int, int, str]] = []
    unpacked = 0
    for dataset in datasets:
        made = dataset.id.get_create_plist()
        if dataset.is_virtual or made.get_external_count():
            raise _problem(dataset, "found values in other files, expected them in this one")
        if not dataset.size:
            continue
        if made.get_layout() == h5d.CHUNKED:
            unpacked += _chunk_bytes(dataset, made)
            if unpacked > SPARE + PACKING * size:
                raise _problem(
                    dataset,
                    f"found chunks that unpack to {unpacked:,} bytes and more, expected at most "
                    f"{SPARE + PACKING * size:,} of a file of {size:,}",
                )
            _check_chunks(dataset, made, size)
        elif dataset.id.get_storage_size() != dataset.nbytes:
            raise _absent(dataset)
        elif made.get_layout() == h5d.CONTIGUOUS:
            begin = dataset.id.get_offset()
            if begin is None:
                raise _absent(dataset)
            spans.append((begin, begin + dataset.nbytes, name_of(dataset)))
    end = 0
    for begin, stop, name in sorted(spans):
        if not end <= begin <= stop <= size:
            raise CheckpointError(
                f"tensor {name}: found at the bytes {begin:,} to {stop:,}, expected a place of its "
                f"own in a file of {size:,}"
            )
        end = stop


def _problem(dataset: h5py.Dataset, what: str) -> CheckpointError:
    return CheckpointError(f"tensor {name_of(dataset)}: {what}")


def _absent(dataset: h5py.Dataset) -> CheckpointError:
    what = f"found not all values of the shape {dataset.shape} in the file, expected them written"
    return _problem(dataset, what)


def _chunk_bytes(dataset: h5py.Dataset, made: Any) -> int:
    """What all chunks together take in memory."""
    chunk = made.get_chunk()
    counts = [-(-n // c) for n, c in zip(dataset.shape, chunk, strict=True)]
    return int(math.prod(counts) * math.prod(chunk) * dataset.dtype.itemsize)


def _check_chunks(dataset: h5py.Dataset, made: Any, size: int) -> None:
    """CheckpointError unless every chunk is there and unpacks to what it must."""
    filters = [made.get_filter(i)[0] for i in range(made.get_nfilters())]
    if any(kind not in FILTERS for kind in filters) or len(set(filters)) < len(filters):
        raise _problem(dataset, f"found the HDF5 filters {filters}, expected none or gzip")
    chunk = math.prod(made.get_chunk()) * dataset.dtype.itemsize
    count = _chunk_bytes(dataset, made) // chunk
    if dataset.id.get_num_chunks() != count:
        raise _absent(dataset)
    for i in range(count):
        stored = dataset.id.get_chunk_info(i)
        packed = h5z.FILTER_DEFLATE in filters
        if stored.byte_offset + stored.size > size or (not packed and stored.size > chunk + 4):
            raise _absent(dataset)
        if packed:  # HDF5 itself unpacks to any size
            raw = dataset.id.read_direct_chunk(stored.chunk_offset)[1]
            if len(zlib.decompressobj().decompress(raw, chunk + 1)) != chunk:
                raise _problem(dataset, f"found a chunk that does not unpack to {chunk:,} bytes")


def _is_loose(item: h5py.File | h5py.Dataset, name: str) -> bool:
    """Whether an attribute is a text of no fixed length, which lies in a heap elsewhere."""
    text = h5py.check_string_dtype(item.attrs.get_id(name).dtype)
    return text is not None and text.length is None


def _check_heaps(path: Path) -> None:
    """CheckpointError if a heap of texts is damaged; HDF5 2.0 would read some for ever.

    Source: HDF5 File Format Specification, III.E, the global heap.
    """
    with (
        open_regular(path) as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        at = content.find(HEAP)
        while at >= 0:
            end, place = at + int.from_bytes(content[at + 8 : at + 16], "little"), at + 16
            while place + 16 <= end <= len(content):
                size = int.from_bytes(content[place + 8 : place + 16], "little")
                free = content[place : place + 2] == b"\0\0"
                place += size if free else 16 + -(-size // 8) * 8
                if free and size < 16:
                    break
            if not 0 <= end - place < 16:
                raise CheckpointError("found a damaged heap of texts; fetch or make the file again")
            at = content.find(HEAP, at + 1)


def attribute(item: h5py.File | h5py.Dataset, name: str, default: Any = None) -> Any:
    """An attribute as a Python value: a text, a number or a few; `default` where there is none.

    Raises:
        CheckpointError: it is anything else, or too large.
    """
    if name not in item.attrs:
        return default
    stored = item.attrs.get_id(name)
    kind, space = stored.dtype, stored.get_space()
    text = h5py.check_string_dtype(kind)
    scalar = space.get_simple_extent_type() == h5s.SCALAR
    count = space.get_simple_extent_npoints()
    # texts of any length may all be the same large one
    loose = text is not None and text.length is None
    fits = (scalar or 0 < count <= MANY) and not (loose and not (scalar and item.name == "/"))
    if not fits or (kind.kind not in "fiub" if text is None else kind.itemsize * count > LONGEST):
        raise CheckpointError(
            f"metadata {name}: found a damaged or foreign one ({count} values of "
            f"{brief(str(kind))[1:-1]}), expected a text or a few numbers"
        )
    value = item.attrs[name]
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list) and text is not None:
        return [one.decode() for one in value]
    return value.decode() if isinstance(value, bytes) else value
