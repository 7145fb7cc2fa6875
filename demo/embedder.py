"""A model that remembers: the same text or picture is computed once.

Axes: N pictures, M texts, E embedding.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from demo.limits import checked_picture
from nnclip.clip import CLIP
from nnclip.model import softmax, unit

TEXTS_KEPT = 20_000  # 40 MB of 512 numbers
PICTURES_KEPT = 2_000


class Memory:
    """The rows used last, at most `size`; for several threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._rows: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def rows(
        self, keys: Sequence[Hashable], compute: Callable[[list[int]], np.ndarray]
    ) -> np.ndarray:
        """One row per key.

        Args:
            keys: what each row belongs to.
            compute: given the positions whose rows are not known, their rows in that order.
        """
        with self._lock:
            known = {key: self._rows[key] for key in set(keys) & self._rows.keys()}
        first = {key: index for index, key in enumerate(keys) if key not in known}
        if first:
            known |= dict(zip(first, compute(list(first.values())), strict=True))
        with self._lock:
            for key in dict.fromkeys(keys):
                self._rows[key] = known[key]
                self._rows.move_to_end(key)
            while len(self._rows) > self._size:
                self._rows.popitem(last=False)
        return np.stack([known[key] for key in keys])


@dataclass(frozen=True)
class Answer:
    """What a model says about N pictures and M texts.

    Args:
        texts: the M texts as they were compared, within their template.
        cosines: (N, M) float32, -1..1.
        scale: what cosines are multiplied by before the softmax.
        seconds: how long it took.
    """

    texts: list[str]
    cosines: np.ndarray
    scale: float
    seconds: float

    @property
    def logits(self) -> np.ndarray:
        """(N, M) float32."""
        return self.scale * self.cosines

    @property
    def probabilities(self) -> np.ndarray:
        """(N, M) float32: of each text for a picture; rows sum to 1."""
        return softmax(self.logits)


class Embedder:
    """Embeddings of unit length by one model; for several threads.

    Attributes:
        name: what the page calls the model.
        model: it.
    """

    def __init__(self, name: str, model: CLIP) -> None:
        self.name, self.model = name, model
        self._texts, self._pictures = Memory(TEXTS_KEPT), Memory(PICTURES_KEPT)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """(M, E) float32; DataError if a text is longer than the model reads."""

        def compute(missing: list[int]) -> np.ndarray:
            ids = self.model.tokenize([texts[index] for index in missing])
            return unit(self.model.encode_text(ids))

        return self._texts.rows(list(texts), compute)

    def pictures(self, paths: Sequence[str | Path]) -> np.ndarray:
        """(N, E) float32 of picture files; DataError if one is none or too large."""

        def compute(missing: list[int]) -> np.ndarray:
            return self.embed_files([paths[index] for index in missing])

        return self._pictures.rows([_identity(path) for path in paths], compute)

    def embed_files(self, paths: Sequence[str | Path]) -> np.ndarray:
        """As `pictures`, but nothing is remembered."""
        images = np.stack([self.model.preprocess(checked_picture(path)) for path in paths])
        return unit(self.model.encode_image(images))

    def answer(self, paths: Sequence[str | Path], texts: Sequence[str], template: str) -> Answer:
        """Compare pictures with texts; DataError as for `texts` and `pictures`."""
        start = time.perf_counter()
        filled = [template.replace("{}", text) for text in texts]
        cosines = self.pictures(paths) @ self.texts(filled).T
        return Answer(filled, cosines, self.model.logit_scale, time.perf_counter() - start)


def _identity(path: str | Path) -> Hashable:
    """What tells a file from others, and from itself after a change."""
    try:
        status = Path(path).stat()
    except OSError:
        return str(path)
    return str(path), status.st_mtime_ns, status.st_size
