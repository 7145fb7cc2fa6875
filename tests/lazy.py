"""Packages that take seconds to import, imported when a test first asks for something in them.

    torch = lazy("torch")

So collecting tests, and a run without the tests marked `torch`, costs nothing of it.
"""

import importlib
from typing import Any


class _Lazy:
    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):  # pytest asks every object of a module for such
            raise AttributeError(attribute)
        module = importlib.import_module(self._name)
        try:
            return getattr(module, attribute)
        except AttributeError:  # a module that the package does not import by itself
            return importlib.import_module(f"{self._name}.{attribute}")


def lazy(name: str) -> Any:
    """A module by its full name."""
    return _Lazy(name)
