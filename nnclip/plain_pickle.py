"""Unpickles descriptions of tensors and arrays, in bounded time and memory, running nothing.

A pickle is a program. Here it may build dictionaries, lists, tuples, numbers and texts, and ask a
caller for what it knows by name; every other operation is refused, and so is what makes a few bytes
large: sizes told in advance, copies, and keys that Python would follow to any depth.
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import IO, Any, ClassVar

from nnclip.errors import CheckpointError
from nnclip.json_text import brief

MOST_BYTES = 4 << 20  # of a program; that of ViT-L/14 takes 0.1 MB
MOST_COPIED = 1_000_000  # entries that dictionaries are made of
KEYS = (str, int, bytes)
OPERATIONS = (
    pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.MARK, pickle.POP, pickle.POP_MARK, pickle.DUP,
    pickle.MEMOIZE, pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT, pickle.GET, pickle.BINGET,
    pickle.LONG_BINGET, pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.INT, pickle.BININT,
    pickle.BININT1, pickle.BININT2, pickle.LONG, pickle.LONG1, pickle.LONG4, pickle.FLOAT,
    pickle.BINFLOAT, pickle.STRING, pickle.BINSTRING, pickle.SHORT_BINSTRING, pickle.UNICODE,
    pickle.BINUNICODE, pickle.SHORT_BINUNICODE, pickle.BINUNICODE8, pickle.BINBYTES,
    pickle.SHORT_BINBYTES, pickle.BINBYTES8, pickle.TUPLE, pickle.EMPTY_TUPLE, pickle.TUPLE1,
    pickle.TUPLE2, pickle.TUPLE3, pickle.LIST, pickle.EMPTY_LIST, pickle.APPEND, pickle.APPENDS,
    pickle.DICT, pickle.EMPTY_DICT, pickle.SETITEM, pickle.SETITEMS, pickle.GLOBAL,
    pickle.STACK_GLOBAL, pickle.REDUCE, pickle.NEWOBJ, pickle.BUILD, pickle.BINPERSID,
)  # fmt: skip


class _Bounded:
    """A file that a program is read from, up to a number of bytes."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file, self._left = file, most

    def read(self, size: int) -> bytes:
        if size > self._left or size < 0:  # asked for before it is known to be there
            raise CheckpointError(
                f"found a pickle that wants {size:,} bytes more of {self._left:,}, expected a "
                "description of tensors"
            )
        self._left -= size
        return self._file.read(size)

    def readline(self) -> bytes:
        line = self._file.readline(self._left)
        self._left -= len(line)
        return line


class Stated:
    """Stands for an object; keeps its state, has no behaviour."""

    state: Any = None


class ScriptModule(Stated):
    """Stands for any object of a TorchScript archive."""


# Python's own unpickler, not the C one: there a few bytes can ask for gigabytes of memo.
class PlainUnpickler(pickle._Unpickler):
    """Reads one pickle; `known` holds what it may ask for by (module, name)."""

    def __init__(
        self,
        file: IO[bytes],
        known: Mapping[tuple[str, str], Any],
        persistent: Callable[[Any], Any],
        most: int = MOST_BYTES,
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(_Bounded(file, most), encoding=encoding)  # type: ignore[call-arg, arg-type]
        self._known, self._persistent, self._copied = known, persistent, 0

    def find_class(self, module: str, name: str) -> Any:
        """What a name stands for; CheckpointError if nothing is known by it."""
        if module.split(".")[0] == "__torch__":
            return ScriptModule
        if (module, name) in self._known:
            return self._known[module, name]
        if (module == "torch" and name.startswith("float8")) or name == "_rebuild_tensor_v3":
            raise CheckpointError(
                f"found tensors of {module}.{name}, which is fp8 or newer and not supported; "
                "convert them to float16 or float32 first"
            )
        raise CheckpointError(
            f"found a pickle that asks for {brief(f'{module}.{name}')[1:-1]}, expected nothing but "
            "tensors; refused without running it: load it where you trust it and save its "
            "state_dict()"
        )

    def persistent_load(self, pid: Any) -> Any:
        """What an id stands for that the program was given from outside."""
        return self._persistent(pid)

    def load_build(self) -> None:
        """Gives an object its state; here only one that stands for another keeps it."""
        state = self.stack.pop()  # type: ignore[attr-defined]
        target = self.stack[-1]  # type: ignore[attr-defined]
        if isinstance(target, Stated):
            target.state = state

    def load_setitem(self) -> None:
        """One entry of a dictionary."""
        _check_key(self.stack[-2])  # type: ignore[attr-defined]
        super().load_setitem()  # type: ignore[misc]

    def load_setitems(self) -> None:
        """Entries of a dictionary, since the mark."""
        for key in self.stack[::2]:  # type: ignore[attr-defined]
            _check_key(key)
        super().load_setitems()  # type: ignore[misc]

    def load_dict(self) -> None:
        """A dictionary of what stands since the mark."""
        for key in self.stack[::2]:  # type: ignore[attr-defined]
            _check_key(key)
        super().load_dict()  # type: ignore[misc]

    def load_reduce(self) -> None:
        """A call; one of OrderedDict copies its entries, and a program may repeat it."""
        function, arguments = self.stack[-2:]  # type: ignore[attr-defined]
        if function is OrderedDict and arguments:
            pairs = arguments[0]
            self._copied += len(pairs)
            if self._copied > MOST_COPIED:
                raise CheckpointError(f"found more than {MOST_COPIED:,} entries, expected fewer")
            for key, _ in pairs:
                _check_key(key)
        super().load_reduce()  # type: ignore[misc]

    dispatch: ClassVar[dict[int, Any]] = {
        code[0]: pickle._Unpickler.dispatch[code[0]]  # type: ignore[attr-defined]
        for code in OPERATIONS
    } | {
        pickle.BUILD[0]: load_build,
        pickle.DICT[0]: load_dict,
        pickle.REDUCE[0]: load_reduce,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
    }


def _check_key(key: Any) -> None:
    if type(key) not in KEYS:
        raise CheckpointError(f"found the key {brief(key)}, expected the name of a tensor")
