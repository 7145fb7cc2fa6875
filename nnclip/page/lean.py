"""Imports Gradio without the parts that a server does not use, in half the time.

At each start Gradio parses its own source to write stubs for editors, and imports pandas for tables
that this page does not have.
"""

import gc
import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

ENVIRONMENT = {
    # no look-ups of newer versions, no counting of uses
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    # no table of the last 10,000 answers, summed up by pandas after each one
    "GRADIO_ANALYTICS_MAX_EVENTS": "1",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": str(10**12),
}


_before: dict[str, str | None] = {}


def environment_before() -> dict[str, str]:
    """The variables of this process as they were before `import_gradio`, for other processes."""
    found = {**os.environ, **_before}
    return {name: value for name, value in found.items() if value is not None}


class Later(ModuleType):
    """Stands for a module that is imported when something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__version__":  # import itself looks for these
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def import_gradio() -> None:
    """Import Gradio, once and before anything else does."""
    spec = importlib.util.find_spec("gradio")
    if "gradio" in sys.modules or spec is None or spec.loader is None:
        return
    _before.update({name: os.environ.get(name) for name in ENVIRONMENT})
    os.environ.update(ENVIRONMENT)
    if "pandas" not in sys.modules:
        sys.modules["pandas"] = later = Later("pandas")
        later.__spec__ = ModuleSpec("pandas", None)
    gc.disable()  # nothing that is imported becomes garbage
    try:
        gradio = importlib.util.module_from_spec(spec)
        sys.modules["gradio"] = gradio
        from gradio import component_meta  # before the package itself has run

        component_meta.create_or_modify_pyi = lambda *_: None
        spec.loader.exec_module(gradio)
    finally:
        gc.enable()
        gc.freeze()
