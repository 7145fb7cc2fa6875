"""Files of `torch.save` and TorchScript archives, read without torch and without running them.

What a pickle may do, `plain_pickle` says. The code in a TorchScript archive is ignored: its
`data.pkl` holds the tensors.
"""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from nnclip.convert.tensors import MOST_AXES, Tensor, decode, size_of
from nnclip.errors import CheckpointError
from nnclip.json_text import brief
from nnclip.plain_pickle import MOST_BYTES, PlainUnpickler, ScriptModule

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # begins what torch.save wrote before version 1.6
STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}


MOST_ENTRIES = 32 << 20  # bytes of a zip file's list of contents; 1,000 tensors take 0.1 MB
MOST_MODULES, DEEPEST = 100_000, 100  # of a TorchScript archive


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str
    count: int
    fetch: Callable[["_Storage"], bytes]

    def tensor(self, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Tensor:
        numbers = (offset, *shape, *strides)
        if (
            not len(shape) == len(strides) <= MOST_AXES
            or any(type(n) is not int or n < 0 for n in numbers)
            or math.prod(shape) > self.count  # steps of 0 would make few values many
        ):
            raise CheckpointError(
                f"storage {brief(self.key)}: found a view {brief(shape)}, {brief(strides)} of its "
                f"{self.count} values"
            )
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        if 0 not in shape and last >= self.count:
            raise CheckpointError(f"storage {brief(self.key)}: found a tensor that ends beyond it")

        def read() -> np.ndarray:
            values = decode(self.fetch(self), self.dtype)[offset:]
            steps = tuple(s * values.itemsize for s in strides)
            return np.lib.stride_tricks.as_strided(values, shape, steps, writeable=False)

        return Tensor(shape, self.dtype, read)


def _tensor(storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any) -> Tensor:
    return storage.tensor(offset, _size(shape), _size(strides))


def _size(values: Any = ()) -> tuple[Any, ...]:
    if not isinstance(values, tuple | list) or len(values) > MOST_AXES:
        raise CheckpointError(f"found the axes {brief(values)}, expected at most {MOST_AXES}")
    return tuple(values)


def _first(value: Any, *_: Any) -> Any:
    return value


KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): _size,
    # what Lightning keeps beside the tensors: dictionaries and objects without behaviour
    ("argparse", "Namespace"): ScriptModule,
    ("lightning.fabric.utilities.data", "AttributeDict"): OrderedDict,
    ("lightning_fabric.utilities.data", "AttributeDict"): OrderedDict,
    ("pytorch_lightning.utilities.parsing", "AttributeDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch.jit._pickle", "build_intlist"): _first,
    ("torch.jit._pickle", "build_doublelist"): _first,
    ("torch.jit._pickle", "build_boollist"): _first,
    ("torch.jit._pickle", "build_tensorlist"): _first,
    **{("torch", name): dtype for name, dtype in STORAGES.items()},
}


def _storage(pid: Any, fetch: Callable[[_Storage], bytes]) -> _Storage:
    """The storage that a persistent id describes."""
    fields = pid if isinstance(pid, tuple) else ()
    if len(fields) in (5, 6) and fields[0] == "storage" and fields[5:] in ((), (None,)):
        _, dtype, key, _, count = fields[:5]
        known = isinstance(dtype, str) and dtype in STORAGES.values()
        if known and type(key) in (str, int) and type(count) is int and count >= 0:
            return _Storage(str(key), dtype, count, fetch)
    raise CheckpointError(f"found an unknown kind of storage {brief(pid)}")


def read_torch(path: Path) -> tuple[Any, str]:
    """What `path` holds, and what kind of file it is.

    Returns: dictionaries and lists with Tensors in them, of a TorchScript archive the flat
        dictionary name -> Tensor; and "TorchScript archive", "torch file" or "old torch file".

    Raises:
        CheckpointError: damaged, not of torch, or it asks for more than tensors.
    """
    try:
        if zipfile.is_zipfile(path):
            return _read_zip(path)
        with path.open("rb") as file:
            head = file.read(2)
        if head == b"PK":
            raise CheckpointError("found a zip file that was cut short; fetch it again")
        if head[:1] != pickle.PROTO:
            raise CheckpointError("found something else, expected what torch.save writes")
        return _read_legacy(path), "old torch file"
    except CheckpointError as error:
        if str(path) in str(error):
            raise
        raise CheckpointError(f"{path}: {error}") from error
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle can fail in every way that Python knows
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise CheckpointError(
            f"{path}: found a damaged torch file ({what}); fetch it again"
        ) from error


def _read_zip(path: Path) -> tuple[Any, str]:
    with path.open("rb") as file:
        listed = zipfile._EndRecData(file)[zipfile._ECD_SIZE]  # type: ignore[attr-defined]
    if listed > MOST_ENTRIES:
        raise CheckpointError(
            f"found a list of contents of {listed:,} bytes, expected at most {MOST_ENTRIES:,}"
        )
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.count("/") == 1]
    pickles = [name for name in names if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise CheckpointError("found a zip file without a data.pkl, expected a torch file")
    root = pickles[0].removesuffix("data.pkl")
    if root + "byteorder" in names and _entry(path, root + "byteorder", 16) != b"little":
        raise CheckpointError("found big-endian numbers, expected little-endian ones")
    program = _entry(path, pickles[0], MOST_BYTES)

    def fetch(storage: _Storage) -> bytes:
        name, size = f"{root}data/{storage.key}", storage.count * size_of(storage.dtype)
        content = _entry(path, name, size)
        if len(content) != size:
            raise CheckpointError(
                f"{path}: {brief(name)}: found {len(content):,} bytes, expected {size:,}"
            )
        return content

    tree = _unpickled(io.BytesIO(program), lambda pid: _storage(pid, fetch))
    if isinstance(tree, ScriptModule):
        return _flatten(tree), "TorchScript archive"
    return tree, "torch file"


def _unpickled(file: IO[bytes], persistent: Callable[[Any], Any]) -> Any:
    return PlainUnpickler(file, KNOWN, persistent).load()


def _entry(path: Path, name: str, most: int) -> bytes:
    """A file of the archive, of at most so many bytes; its check sum is compared on the way."""
    try:
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo(name)
            if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
                raise CheckpointError(
                    f"{path}: found compressed tensors ({brief(name)}), which torch does not write "
                    "and which may be of any size; unpack the file and pack it again with `zip -0`"
                )
            if not entry.file_size <= min(most, path.stat().st_size):
                raise CheckpointError(
                    f"{path}: {brief(name)}: found {entry.file_size:,} bytes, expected {most:,}"
                )
            return archive.read(entry)
    except (KeyError, OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: found a damaged file ({error}); fetch it again") from error


def _flatten(whole: ScriptModule) -> dict[str, Tensor]:
    """The tensors of a TorchScript module and of its children, by their names in a state_dict."""
    found: dict[str, Tensor] = {}
    modules = 0

    def visit(module: ScriptModule, prefix: str, depth: int) -> None:
        nonlocal modules
        modules += 1
        # a module may be inside itself, or twice in another, and that again
        if modules > MOST_MODULES or depth > DEEPEST or not isinstance(module.state, dict):
            raise CheckpointError(
                f"module {brief(prefix)}: found no tree of modules, or more than "
                f"{MOST_MODULES:,}, {DEEPEST} deep"
            )
        for name, value in module.state.items():
            if isinstance(value, Tensor):
                found[f"{prefix}{name}"] = value
            elif isinstance(value, ScriptModule):
                visit(value, f"{prefix}{name}.", depth + 1)

    visit(whole, "", 0)
    return found


def _read_legacy(path: Path) -> Any:
    """The format before torch 1.6: four pickles, the keys of the storages, then these in order."""
    places: dict[str, int] = {}

    def fetch(storage: _Storage) -> bytes:
        size = storage.count * size_of(storage.dtype)
        with path.open("rb") as file:
            file.seek(places[storage.key])
            return file.read(size)

    storages: dict[str, _Storage] = {}

    def persistent(pid: Any) -> _Storage:
        storage = _storage(pid, fetch)
        known = storages.setdefault(storage.key, storage)
        if (known.dtype, known.count) != (storage.dtype, storage.count):
            raise CheckpointError(f"storage {brief(storage.key)}: found it described in two ways")
        return known

    with path.open("rb") as file:
        if _unpickled(file, persistent) != LEGACY_MAGIC:
            raise CheckpointError("found another kind of pickle, expected what torch.save writes")
        _version, _system = _unpickled(file, persistent), _unpickled(file, persistent)
        tree = _unpickled(file, persistent)
        size = path.stat().st_size
        listed = _unpickled(file, persistent)
        if not isinstance(listed, list) or sorted(map(str, listed)) != sorted(storages):
            raise CheckpointError(f"found the storages {brief(listed)}, expected those of tensors")
        for key in map(str, listed):
            storage = storages[key]
            count = int.from_bytes(file.read(8), "little")
            places[key] = file.tell()
            end = file.tell() + count * size_of(storage.dtype)
            if count != storage.count or end > size:
                raise CheckpointError(f"found storage {brief(key)} cut short; fetch the file again")
            file.seek(end)
    return tree
