"""An LRU cache: what was used last is kept, and computed only once."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Generic, TypeVar

Value = TypeVar("Value")


class LRUCache(Generic[Value]):
    """The values used last, at most `size`; for several threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(
        self, keys: Sequence[Hashable], compute: Callable[[list[int]], Iterable[Value]]
    ) -> list[Value]:
        """One value per key.

        Args:
            keys: what each value belongs to.
            compute: given the positions whose values are not known, their values in that order.
        """
        with self._lock:
            known = {key: self._values[key] for key in set(keys) & self._values.keys()}
        first = {key: index for index, key in enumerate(keys) if key not in known}
        if first:
            known |= dict(zip(first, compute(list(first.values())), strict=True))
        with self._lock:
            for key in dict.fromkeys(keys):
                self._values[key] = known[key]
                self._values.move_to_end(key)
            while len(self._values) > self._size:
                self._values.popitem(last=False)
        return [known[key] for key in keys]
