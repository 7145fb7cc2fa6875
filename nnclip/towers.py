"""The two towers of a model as functions of arrays, made when they are first needed.

On a CPU they are compiled; on a GPU, or without OpenVINO, NNabla runs them.

Axes: N batch, R resolution, L tokens, E embedding.
"""

import logging
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nnclip.engine import (
    Agreement,
    CompiledGraph,
    EmittedGraph,
    InterpretedBatches,
    compile_emitted,
    default_precision,
    emit_graph,
    free_length,
    openvino_available,
)
from nnclip.engine.cuda import gpu_context, gpu_precision, is_gpu
from nnclip.engine.interpreter import LARGEST
from nnclip.engine.precision import check_count, check_precision
from nnclip.errors import ConfigError, DataError
from nnclip.extras import how
from nnclip.forks import NNABLA_LOCK, check_process, renew_in_children
from nnclip.graph.beside import empty_inputs, text_inputs, used_columns
from nnclip.graph.features import image_features, text_features
from nnclip.graph.parameters import building
from nnclip.nnabla import get_extension_context, nn, require_nnabla
from nnclip.weights.digest import parameter_digest
from nnclip.weights.download import cache_dir
from nnclip.weights.model import ModelWeights

logger = logging.getLogger(__name__)

Runner = CompiledGraph | InterpretedBatches

NOMINAL = 2  # the batch a graph is written for; the compiler makes it any size
LEAST_COSINE = 0.99  # between int8 and fp32 features; below, int8 is warned of
TOGETHER = 32  # texts of one call, where there are more
FILLED = (8, 12, 16, 24, 32, 48, 64)  # tokens to fill texts up to: each length met takes 2 MB
LENGTHS = (8, 16, 32, 64)  # tokens; a shorter graph serves texts shorter than the context
WORTH = 0.8  # of the context: a graph that is longer saves less than its memory costs


class Towers:
    """The towers of one model; calls from several threads are safe.

    Attributes:
        precision: How images and texts are computed.
        drifts: How close int8 features of the calibration arrays are to fp32's, by side ("image",
            "text"); empty before a tower was made, and in other precisions.
    """

    def __init__(
        self,
        weights: ModelWeights,
        precision: str | None,
        context: str,
        streams: int | None,
        calibration: Callable[[str], dict[str, np.ndarray]] | None = None,
        cache_dir: Path | None = None,
        written: Callable[[str], EmittedGraph] | None = None,
    ) -> None:
        """Make nothing yet.

        Args:
            weights: the model.
            precision: of the answers; None for the fastest exact-enough one of a processor, and
                for fp32 on a GPU, which also knows tf32 and fp16.
            context: "cpu", or the name of an NNabla extension; "cudnn:1" for the second GPU.
            streams: how many calls run side by side; None for one at full speed.
            calibration: gives the inputs of a side, "image" or "text", that int8 needs.
            cache_dir: folder that keeps what was compiled, and int8's scales.
            written: gives the graph of a side, "image" or "text", where that of an exported folder
                stands for the parameters. A text's ids are all that it reads.

        Raises:
            ConfigError: no such precision, context or number of streams; or `written` where
                NNabla would have to compute.
        """
        check_count("streams", streams)
        self._weights = weights
        self._context_name = context
        self._compiles = context == "cpu" and openvino_available()
        if self._compiles:
            self.precision = check_precision(precision or default_precision())
            self._context = get_extension_context("cpu")
        elif written is not None:
            raise ConfigError(
                f"context {context}: found an exported folder, which OpenVINO runs on the CPU, "
                "expected an .h5, or context cpu and OpenVINO"
            )
        else:
            self._context, self.precision = _interpreted(context, precision)
        self._streams, self._cache_dir = streams, cache_dir
        self._calibration, self._written = calibration, written
        self.drifts: dict[str, Agreement] = {}
        self._runners: dict[str | int, Runner] = {}
        self._process = os.getpid()
        self._renew()
        renew_in_children(self, Towers._renew)

    @property
    def float_precision(self) -> str:
        """How what is differentiated is computed: never in int8."""
        return default_precision() if self.precision == "int8" else self.precision

    def _renew(self) -> None:
        self._making = threading.Lock()  # one tower at a time: two would hold all weights twice

    def clear(self) -> None:
        """Forget what was compiled, so that the parameters' present values count."""
        self._runners = {}

    def image(self, images_N3RR: np.ndarray) -> np.ndarray:
        """Features (N, E) float32 of images; DataError if they do not fit."""
        return self._answer("image", images=images_N3RR)

    def text(self, ids_NL: np.ndarray) -> np.ndarray:
        """Features (N, E) float32 of texts; DataError if they do not fit.

        Columns that change no feature are left out first, see `used_columns`.
        """
        config = self._weights.config.text
        context = config.context
        if ids_NL.ndim != 2 or ids_NL.dtype.kind not in "iu" or not 0 < ids_NL.shape[1] <= context:
            raise DataError(
                f"ids: found {ids_NL.dtype} of shape {ids_NL.shape}, expected integers (N, L) with "
                f"L from 1 to {context}"
            )
        inputs = text_inputs(ids_NL, config)
        used_N = used_columns(inputs, config)
        if self._written:
            inputs = {"ids": inputs["ids"]}
        if len(ids_NL) <= TOGETHER or not config.trims or not self._compiles or self._streams:
            return self._cut(inputs, int(used_N.max(initial=1)))
        # a call takes as long as its longest text: those of one length come together
        order = np.argsort(used_N, kind="stable")
        features_NE = np.empty((len(order), self._weights.config.embed), np.float32)
        for start in range(0, len(order), TOGETHER):
            rows = order[start : start + TOGETHER]
            part = {name: array_NL[rows] for name, array_NL in inputs.items()}
            features_NE[rows] = self._cut(part, int(used_N[rows[-1]]))
        return features_NE

    def _cut(self, inputs: dict[str, np.ndarray], used: int) -> np.ndarray:
        """Features of texts that need so many columns."""
        config = self._weights.config.text
        context = config.context
        if self._compiles:  # one graph for all lengths
            key, length = context, next((n for n in FILLED if used <= n < context), context)
        else:
            key = length = next((n for n in LENGTHS if used <= n <= WORTH * context), context)
        fill = config.pad if self._written else 0  # a written graph tells padding by its id
        return self._answer(key, **{name: _to(length, a, fill) for name, a in inputs.items()})

    def _answer(self, key: str | int, **arrays: np.ndarray) -> np.ndarray:
        """Run the image tower ("image"), or the text tower for so many tokens (see `_emitted`)."""
        if is_gpu(self._context_name):  # CUDA fails in a forked child
            check_process(self._process, f"a model on {self._context_name}")
        runner = self._runners.get(key)
        if runner is not None:
            return runner(**arrays)["features"]
        with self._making:
            runners = self._runners
            if key not in runners:
                runners[key] = self._made(key)
                return self._first_answer(runners[key], arrays)
        return runners[key](**arrays)["features"]

    def _first_answer(self, runner: Runner, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """The call that packs the weights; then those of the file need not stay in memory."""
        try:
            return runner(**arrays)["features"]
        finally:
            self._weights.give_back()

    def _made(self, key: str | int) -> Runner:
        if not self._compiles:
            with NNABLA_LOCK:
                self._weights.variables()
                largest = LARGEST if is_gpu(self._context_name) else NOMINAL
                return InterpretedBatches(partial(self._graph, key), self.precision, largest)
        if self.precision == "int8":
            side = "image" if key == "image" else "text"
            try:
                return self._quantised(key, side)
            except RuntimeError as error:  # OpenVINO 2026.4 cannot fold NLLB's embedding in int8
                logger.warning(
                    "int8 %ss: OpenVINO does not compile them (%s); they are computed in %s",
                    side,
                    str(error).strip().splitlines()[-1].strip(),
                    self.float_precision,
                )
        options: dict[str, Any] = {"streams": self._streams, "cache_dir": self._cache_dir}
        return compile_emitted(self._emitted(key), precision=self.float_precision, **options)

    def _emitted(self, key: str | int) -> EmittedGraph:
        """A tower for the compiler; that of texts takes any length up to `key` if texts trim."""
        if self._written:
            return self._written("image" if key == "image" else "text")
        with NNABLA_LOCK:
            arrays = self._weights.unread()
            emitted = emit_graph(*self._graph(key, NOMINAL), arrays=arrays)
            if not isinstance(key, int) or key == 1 or not self._weights.config.text.trims:
                return emitted
            shorter = emit_graph(*self._graph(key - 1, NOMINAL), arrays=arrays)
            return free_length(emitted, shorter)

    def _quantised(self, key: str | int, side: str) -> CompiledGraph:
        """A tower in int8; says what that costs."""
        from nnclip.engine.kept import compile_kept, kept, key_of
        from nnclip.engine.sensitive import quantised_within

        if self._calibration is None:
            raise ConfigError("precision int8: found nothing to calibrate on, expected some")
        inputs = self._calibration(side)
        if self._written and side == "text":
            inputs = {"ids": inputs["ids"]}

        names = f"{parameter_digest(self._weights)} {self._weights.config} {side}"
        place = (self._cache_dir or scales_dir()) / key_of(names, inputs)
        graph, drift = kept(
            place, lambda: quantised_within(self._emitted(key), inputs, LEAST_COSINE)
        )
        self.drifts[side] = drift
        logger.log(
            logging.INFO if drift.least_cosine > LEAST_COSINE else logging.WARNING,
            "int8 %ss against fp32, on %d of them: cosine at least %.4f, mean %.4f",
            side,
            len(next(iter(inputs.values()))),
            drift.least_cosine,
            drift.mean_cosine,
        )
        return compile_kept(place, graph, streams=self._streams)

    def _graph(
        self, key: str | int, batch: int
    ) -> tuple[dict[str, nn.Variable], dict[str, nn.Variable]]:
        """Inputs and outputs of a tower as NNabla Variables."""
        config = self._weights.config
        with building(self._weights.scope), nn.context_scope(self._context):
            if isinstance(key, int):
                texts = empty_inputs(config.text, batch, key)
                return texts, {"features": text_features(texts, config)}
            size = config.image.resolution
            images = nn.Variable((batch, 3, size, size))
            return {"images": images}, {"features": image_features(images, config)}


def scales_dir() -> Path:
    """The folder that keeps int8's scales, and what "auto" measured, for the next process."""
    return cache_dir() / "int8"


def _to(length: int, array_NL: np.ndarray, fill: int) -> np.ndarray:
    """Cut or fill up to `length` columns."""
    short = length - array_NL.shape[1]
    if short <= 0:
        return array_NL[:, :length]
    return np.pad(array_NL, ((0, 0), (0, short)), constant_values=fill)


def _interpreted(name: str, precision: str | None) -> tuple[nn.Context, str]:
    """NNabla's context of that name, and what it computes in; ConfigError if there is none."""
    require_nnabla(f"context {name}" if name != "cpu" else "answering without OpenVINO")
    if is_gpu(name):
        precision = gpu_precision(precision)
        return gpu_context(name, precision), precision
    if precision not in (None, "fp32"):
        raise ConfigError(
            f"precision {precision}: found no OpenVINO on this context, expected fp32"
        )
    if name == "cpu":
        logger.warning(
            "OpenVINO is not installed: NNabla computes instead, some 20 to 50 times slower (%s)",
            how(),
        )
    try:
        return get_extension_context(name), "fp32"
    except Exception as error:  # NNabla raises what its extension's import raises
        raise ConfigError(
            f"context {name}: found none ({error}); expected cpu, or cudnn for an NVIDIA GPU"
        ) from error
