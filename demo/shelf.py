"""The models that the page offers, loaded when somebody first asks."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from demo.embedder import Embedder
from nnclip.clip import CLIP
from nnclip.engine.precision import available_precisions
from nnclip.errors import ConfigError
from nnclip.weights.download import cache_dir

BUNDLED = "bundled"
LOADED_AT_MOST = 4
BETWEEN = " · "


class Shelf:
    """Names of models -> models in use; the one that nobody asked longest makes room.

    Attributes:
        names: what can be asked, the page's own first.
    """

    def __init__(self, sources: Sequence[str] = (), precision: str | None = None) -> None:
        """Load nothing yet.

        Args:
            sources: .h5 files or published names; without any, the bundled model.
            precision: as for `CLIP`.
        """
        self._sources: dict[str, str | None] = {Path(s).stem: s for s in sources}
        if not sources:
            self._sources[BUNDLED] = None
        for path in sorted(cache_dir().glob("*/*.h5")):
            self._sources.setdefault(f"{path.parent.name}/{path.stem}", str(path))
        self._precision = precision
        self._loaded: OrderedDict[tuple[str, str | None], Embedder] = OrderedDict()
        self._lock = threading.Lock()
        self.names = list(self._sources)

    def variants(self) -> list[str]:
        """Every model in every precision that this processor has: "bundled · bf16"."""
        precisions = [p for p in available_precisions() if p != "int8"]  # int8 must be calibrated
        return [f"{name}{BETWEEN}{p}" for name in self.names for p in reversed(precisions)]

    def get(self, name: str | None = None) -> Embedder:
        """The model called `name`, one of `names` or `variants`; without a name the first.

        Raises:
            ConfigError: no such name; visitors cannot name files.
            NnclipError: it cannot be loaded.
        """
        model, _, precision = (name or self.names[0]).partition(BETWEEN)
        if model not in self._sources:
            raise ConfigError(f"found no model {model!r}, expected one of {', '.join(self.names)}")
        key = model, precision or self._precision
        with self._lock:
            if key not in self._loaded:
                clip = CLIP(self._sources[model], precision=key[1])
                self._loaded[key] = _warm(Embedder(model, clip))
            self._loaded.move_to_end(key)
            while len(self._loaded) > LOADED_AT_MOST:
                self._loaded.popitem(last=False)
            return self._loaded[key]


def _warm(embedder: Embedder) -> Embedder:
    """Let a model answer once, so that no visitor waits for its compilation."""
    size = embedder.model.config.image.resolution
    embedder.model.encode_image(np.zeros((1, 3, size, size), np.float32))
    embedder.texts(["a picture"])
    return embedder
