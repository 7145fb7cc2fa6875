"""A model that remembers: the same text or picture is computed once, and what several visitors ask
at the same time is computed together.

Axes: N pictures, M texts, E embedding.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnclip.clip import CLIP
from nnclip.errors import NnclipError
from nnclip.evaluate.metrics import softmax
from nnclip.model import unit
from nnclip.service.languages import languages_of
from nnclip.service.limits import checked_picture

logger = logging.getLogger(__name__)

TEXTS_KEPT = 5_000  # 10 MB of 512 numbers
PICTURES_KEPT = 2_000
TRIALS = 5
WARM = (1, 10, 20, 40)  # words: texts of different lengths have graphs of their own


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


class Together:
    """A function of rows that computes what waits for it in one call; for several threads.

    While one call runs, others gather; the next takes them all.
    """

    def __init__(self, function: Callable[[np.ndarray], np.ndarray]) -> None:
        self._function = function
        self._waiting: list[tuple[np.ndarray, Future[np.ndarray]]] = []
        self._lock, self._turn = threading.Lock(), threading.Lock()

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """The function's answer to `rows`; raises what the call raised, for all who share it."""
        answer: Future[np.ndarray] = Future()
        with self._lock:
            self._waiting.append((rows, answer))
        with self._turn:
            with self._lock:
                taken, self._waiting = self._waiting, []
            if taken:
                self._compute(taken)
        return answer.result()

    def _compute(self, taken: list[tuple[np.ndarray, Future[np.ndarray]]]) -> None:
        try:
            found = self._function(np.concatenate([rows for rows, _ in taken]))
        except Exception as error:  # whoever shares the call learns of it
            for _, answer in taken:
                answer.set_exception(error)
            return
        ends = np.cumsum([len(rows) for rows, _ in taken])
        for part, (_, answer) in zip(np.split(found, ends[:-1]), taken, strict=True):
            answer.set_result(part)


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
        languages: codes of those it was taught, if its file says so.
    """

    def __init__(self, name: str, model: CLIP) -> None:
        self.name, self.model = name, model
        self.languages = languages_of(model.metadata)
        self._texts, self._pictures = Memory(TEXTS_KEPT), Memory(PICTURES_KEPT)
        self._encode_text = Together(lambda ids: unit(model.encode_text(ids)))
        self._encode_image = Together(lambda images: unit(model.encode_image(images)))

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """(M, E) float32; DataError if a text is longer than the model reads."""

        def compute(missing: list[int]) -> np.ndarray:
            return self._encode_text(self.model.tokenize([texts[index] for index in missing]))

        return self._texts.rows(list(texts), compute)

    def pictures(self, paths: Sequence[str | Path]) -> np.ndarray:
        """(N, E) float32 of picture files; DataError if one is none or too large."""

        def compute(missing: list[int]) -> np.ndarray:
            return self.embed_files([paths[index] for index in missing])

        return self._pictures.rows([_identity(path) for path in paths], compute)

    def embed_files(self, paths: Sequence[str | Path]) -> np.ndarray:
        """As `pictures`, but nothing is remembered."""
        images = np.stack([self.model.preprocess(checked_picture(path)) for path in paths])
        return self._encode_image(images)

    def pace(self, path: str | Path) -> float:
        """Seconds that the model takes for a picture file: the best of a few."""
        images = self.model.preprocess(checked_picture(path))[None]
        taken = []
        for _ in range(TRIALS):
            start = time.perf_counter()
            self.model.encode_image(images)
            taken.append(time.perf_counter() - start)
        return min(taken)

    def warm(self) -> None:
        """Have everything compiled that a first question may need.

        What cannot be compiled is logged here, and told to whoever asks for it.
        """
        size = self.model.config.image.resolution
        try:
            self.model.encode_image(np.zeros((1, 3, size, size), np.float32))
            for words in WARM:
                self.model.encode_text(self.model.tokenize(["a " * words], truncate=True))
        except NnclipError as error:
            logger.warning("%s: %s", self.name, error)

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
