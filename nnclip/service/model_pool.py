"""The model pool: models that visitors may ask, loaded when somebody first does."""

import importlib.util
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from nnclip.clip import CLIP
from nnclip.engine.precision import available_precisions
from nnclip.errors import ConfigError, NnclipError
from nnclip.service.batching import Observe, unobserved
from nnclip.service.embedder import Embedder
from nnclip.service.values import echo
from nnclip.weights.download import cache_dir
from nnclip.weights.kept import on_this_machine
from nnclip.weights.known import BUNDLED_NAME

LOADED_AT_MOST = 4
BETWEEN = " · "

Key = tuple[str, str | None]


class ModelPool:
    """Names of models -> models in use; the one that nobody asked longest makes room.

    Attributes:
        names: what can be asked, the first is meant where none is named.
        precisions: the number formats that this machine offers for each.
    """

    def __init__(
        self,
        sources: Sequence[str] = (),
        precision: str | None = None,
        observe: Observe = unobserved,
        at_most: int = LOADED_AT_MOST,
    ) -> None:
        """Load nothing yet.

        Args:
            sources: .h5 files, published names or "bundled"; NAME=SOURCE offers one under another
                name. Without any, the bundled model.
            precision: as for `CLIP`.
            observe: learns of every call of a model, see `Embedder`.
            at_most: models that stay loaded.

        Raises:
            ConfigError: two models would have the same name.
        """
        self._sources: dict[str, str | None] = {}
        for name, source in map(_named, sources or [BUNDLED_NAME]):
            if name in self._sources:
                raise ConfigError(
                    f"found two models called {echo(name)}, expected a name for each: NAME=FILE"
                )
            self._sources[name] = source
        self._observe, self._at_most = observe, at_most
        for name, path in on_this_machine(cache_dir()):
            fetched = f"{path.parent.name}/{path.stem}" if name == str(path) else name
            self._sources.setdefault(fetched, str(path))
        self._precision = precision
        self._loaded: OrderedDict[Key, Future[Embedder]] = OrderedDict()
        self._lock = threading.Lock()
        self.names = list(self._sources)
        quantises = importlib.util.find_spec("nncf") is not None
        self.precisions = [p for p in available_precisions() if p != "int8" or quantises]

    def offer(self, name: str, source: str) -> None:
        """Offer one more model; one of that name stays."""
        with self._lock:
            self._sources.setdefault(name, source)
            self.names = list(self._sources)

    def variants(self) -> list[str]:
        """Every model in every precision that this machine offers: "bundled · bf16"."""
        return [f"{name}{BETWEEN}{p}" for name in self.names for p in self.precisions]

    def loaded(self, name: str | None = None) -> Embedder | None:
        """The model if it is loaded, without waiting; ConfigError if there is no such name."""
        key = self._key(name or self.names[0])
        with self._lock:
            found = self._loaded.get(key)
            if found:
                self._loaded.move_to_end(key)
        return found.result() if found and found.done() and not found.exception() else None

    def get(self, name: str | None = None) -> Embedder:
        """The model called `name`, one of `names` or `variants`; without a name the first.

        Whoever asks for a model that is being loaded waits for it; the others do not.

        Raises:
            ConfigError: no such name; visitors cannot name files.
            NnclipError: it cannot be loaded.
        """
        key = self._key(name or self.names[0])
        with self._lock:
            found = self._loaded.get(key)
            place = found or self._loaded.setdefault(key, Future())
            self._loaded.move_to_end(key)
        if not found:
            self._fill(place, key)
        return place.result()

    def _key(self, name: str) -> Key:
        """Model and precision of a name; nothing is loaded for one that is not offered."""
        model, between, precision = name.partition(BETWEEN)
        if model not in self._sources:
            raise ConfigError(
                f"found no model {echo(model)}, expected one of {', '.join(self.names)}"
            )
        if between and precision not in self.precisions:
            raise ConfigError(
                f"found no precision {echo(precision)}, expected one of "
                f"{', '.join(self.precisions)}"
            )
        return model, precision or self._precision

    def languages(self, name: str | None = None) -> tuple[str, ...]:
        """What `Embedder.languages` says of a model; nothing if it cannot be loaded."""
        try:
            return self.get(name).languages
        except NnclipError:
            return ()

    def _fill(self, place: Future[Embedder], key: Key) -> None:
        """Load a model for all who wait for it; one that fails may be tried again."""
        try:
            embedder = Embedder(
                key[0], CLIP(self._sources[key[0]], precision=key[1]), self._observe
            )
        except Exception as error:
            with self._lock:
                self._loaded.pop(key, None)
            place.set_exception(error)
            return
        place.set_result(embedder)
        with self._lock:
            while len(self._loaded) > self._at_most:  # only now that this one is worth a place
                self._loaded.popitem(last=False)


def _named(given: str) -> tuple[str, str | None]:
    """The name under which a source is offered, and the source as `CLIP` takes it.

    >>> _named("models/a.h5"), _named("ViT-B/32"), _named("clip=a.h5"), _named("bundled")
    (('a', 'models/a.h5'), ('ViT-B/32', 'ViT-B/32'), ('clip', 'a.h5'), ('bundled', None))
    """
    name, told, source = given.partition("=")
    if not told or not name or Path(given).exists():  # a file whose name has such a sign
        source = given
        name = Path(given).stem if given.endswith(".h5") else given
    return name, None if source == BUNDLED_NAME else source
