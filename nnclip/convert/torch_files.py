"""Files of `torch.save` and TorchScript archives, read without torch and without running them.

A pickle is a program. Here it may build dictionaries, lists, numbers, strings and descriptions of
tensors; whatever else it asks for is refused by name. The code in a TorchScript archive is ignored:
its `data.pkl` holds the tensors.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from nnclip.convert.tensors import Tensor, decode, size_of
from nnclip.errors import CheckpointError

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


class ScriptModule:
    """Stands for any object of a TorchScript archive; keeps its attributes, has no behaviour."""

    state: Any = None


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str
    count: int
    fetch: Callable[["_Storage"], bytes]

    def tensor(self, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Tensor:
        numbers = (offset, *shape, *strides)
        if len(shape) != len(strides) or any(type(n) is not int or n < 0 for n in numbers):
            raise CheckpointError(f"storage {self.key}: found a view {shape}, {strides} of it")
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        if 0 not in shape and last >= self.count:
            raise CheckpointError(f"storage {self.key}: found a tensor that ends beyond it")

        def read() -> np.ndarray:
            values = decode(self.fetch(self), self.dtype)[offset:]
            steps = tuple(s * values.itemsize for s in strides)
            return np.lib.stride_tricks.as_strided(values, shape, steps, writeable=False)

        return Tensor(shape, self.dtype, read)


def _tensor(storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any) -> Tensor:
    return storage.tensor(offset, tuple(shape), tuple(strides))


def _first(value: Any, *_: Any) -> Any:
    return value


KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch.jit._pickle", "build_intlist"): _first,
    ("torch.jit._pickle", "build_doublelist"): _first,
    ("torch.jit._pickle", "build_boollist"): _first,
    ("torch.jit._pickle", "build_tensorlist"): _first,
    **{("torch", name): dtype for name, dtype in STORAGES.items()},
}


# Python's own unpickler, not the C one: there a few bytes can ask for gigabytes of memo.
class _Unpickler(pickle._Unpickler):
    def __init__(self, file: io.BufferedIOBase, fetch: Callable[[_Storage], bytes]) -> None:
        super().__init__(file, encoding="utf-8")  # type: ignore[call-arg]
        self._fetch = fetch

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return ScriptModule
        if (module, name) not in KNOWN:
            raise CheckpointError(
                f"found a pickle that asks for {module}.{name}, expected nothing but tensors; "
                "refused without running it: load it where you trust it and save its state_dict()"
            )
        return KNOWN[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, count = pid[:5]
        view = pid[5:] not in ((), (None,))
        if kind != "storage" or dtype not in STORAGES.values() or type(count) is not int or view:
            raise CheckpointError(f"found an unknown kind of storage {pid!r}")
        return _Storage(str(key), dtype, count, self._fetch)

    def load_build(self) -> None:
        """Gives an object its state; here only a TorchScript module has one."""
        state = self.stack.pop()  # type: ignore[attr-defined]
        target = self.stack[-1]  # type: ignore[attr-defined]
        if isinstance(target, ScriptModule):
            target.state = state

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,  # type: ignore[attr-defined]
        pickle.BUILD[0]: load_build,
    }


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
        raise CheckpointError(f"{path}: {error}") from error
    except Exception as error:  # a damaged pickle can fail in every way that Python knows
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise CheckpointError(
            f"{path}: found a damaged torch file ({what}); fetch it again"
        ) from error


def _read_zip(path: Path) -> tuple[Any, str]:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.count("/") == 1]
        pickles = [name for name in names if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise CheckpointError("found a zip file without a data.pkl, expected a torch file")
        root = pickles[0].removesuffix("data.pkl")
        read = [i for i in archive.infolist() if i.filename.startswith((*pickles, root + "data/"))]
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in read):
            raise CheckpointError(
                "found compressed tensors, which torch does not write and which may be of any "
                "size; unpack the file and pack it anew with `zip -0`"
            )
        if root + "byteorder" in names and archive.read(root + "byteorder") != b"little":
            raise CheckpointError("found big-endian numbers, expected little-endian ones")
        program = archive.read(pickles[0])

    def fetch(storage: _Storage) -> bytes:
        return _entry(path, f"{root}data/{storage.key}", storage.count * size_of(storage.dtype))

    tree = _Unpickler(io.BytesIO(program), fetch).load()
    if isinstance(tree, ScriptModule):
        return _flatten(tree), "TorchScript archive"
    return tree, "torch file"


def _entry(path: Path, name: str, size: int) -> bytes:
    """A file of the archive; its check sum is compared on the way."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(name).file_size != size:
                raise CheckpointError(
                    f"{path}: {name}: found {archive.getinfo(name).file_size} bytes, expected "
                    f"{size}"
                )
            return archive.read(name)
    except (KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: found a damaged file ({error}); fetch it again") from error


def _flatten(module: ScriptModule, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a TorchScript module and of its children, by their names in a state_dict."""
    found: dict[str, Tensor] = {}
    for name, value in module.state.items():
        if isinstance(value, Tensor):
            found[prefix + name] = value
        elif isinstance(value, ScriptModule):
            found.update(_flatten(value, f"{prefix}{name}."))
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

    class Legacy(_Unpickler):
        def persistent_load(self, pid: Any) -> _Storage:
            storage = super().persistent_load(pid)
            return storages.setdefault(storage.key, storage)

    with path.open("rb") as file:
        if Legacy(file, fetch).load() != LEGACY_MAGIC:
            raise CheckpointError("found another kind of pickle, expected what torch.save writes")
        _version, _system = Legacy(file, fetch).load(), Legacy(file, fetch).load()
        tree = Legacy(file, fetch).load()
        size = path.stat().st_size
        for key in Legacy(file, fetch).load():
            storage = storages[key]
            count = int.from_bytes(file.read(8), "little")
            places[key] = file.tell()
            end = file.tell() + count * size_of(storage.dtype)
            if count != storage.count or end > size:
                raise CheckpointError(f"found storage {key} cut short; fetch the file again")
            file.seek(end)
    return tree
