"""precision="auto": the fastest one whose answers stay close enough to float32's, both measured.

They are measured once for a model and a processor, on what int8 is calibrated with, and kept.
"""

import json
import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from nnclip.engine import agreement, available_precisions
from nnclip.engine.precision import openvino_available, processor_name
from nnclip.errors import ConfigError
from nnclip.extras import how
from nnclip.towers import Towers
from nnclip.weights.digest import parameter_digest
from nnclip.weights.h5 import write_json
from nnclip.weights.model import ModelWeights

logger = logging.getLogger(__name__)

AUTO = "auto"
LEAST_COSINE = 0.999  # that a row may have with float32's where the caller names no bound
ROUNDS = 3

Calibration = Callable[[str], dict[str, np.ndarray]]


def fastest(
    weights: ModelWeights,
    make: Callable[[str], Towers],
    calibration: Calibration,
    least_cosine: float,
    folder: Path,
) -> str:
    """The fastest precision of this processor that keeps every answer's direction.

    Args:
        weights: the model.
        make: the towers in one precision.
        calibration: gives the inputs of a side, "image" or "text".
        least_cosine: with float32's features, over all calibration rows of both sides, 0..1.
        folder: keeps what was measured.

    Raises:
        ConfigError: no bound between 0 and 1, or no OpenVINO.
    """
    if not 0 <= least_cosine < 1:
        raise ConfigError(f"least_cosine is {least_cosine}; expected a cosine from 0 to below 1")
    if not openvino_available():
        raise ConfigError(f"precision auto: found no OpenVINO, expected it; {how()}, or use fp32")
    sides = {side: calibration(side) for side in ("image", "text")}
    from nnclip.engine.kept import key_of  # OpenVINO

    names = f"{parameter_digest(weights)} {weights.config} {processor_name()}"
    note = folder / f"{key_of(names, {**sides['image'], **sides['text']})}.json"
    measured = _read(note)
    if not measured:
        measured = _measured(make, sides)
        _keep(note, measured)
    fit = {p: row["seconds"] for p, row in measured.items() if row["cosine"] >= least_cosine}
    for p, row in measured.items():
        logger.info("%s: %.2f s, cosine at least %.5f", p, row["seconds"], row["cosine"])
    return min(fit, key=fit.__getitem__)


def _measured(
    make: Callable[[str], Towers], sides: dict[str, dict[str, np.ndarray]]
) -> dict[str, dict[str, float]]:
    """Precision -> the least cosine with float32's features, and the seconds of both sides."""
    found: dict[str, dict[str, float]] = {}
    exact: dict[str, np.ndarray] = {}
    for precision in available_precisions():  # fp32 first
        try:
            towers = make(precision)
            calls = {side: partial(_answer, towers, side, sides[side]) for side in sides}
            answers = {side: call() for side, call in calls.items()}
        except ConfigError as error:
            logger.info("precision auto passes %s over: %s", precision, error)
            continue
        exact = exact or answers
        cosines = [agreement(answers[side], exact[side]).least_cosine for side in sides]
        seconds = sum(min(_seconds(call) for _ in range(ROUNDS)) for call in calls.values())
        found[precision] = {"cosine": min(cosines), "seconds": seconds}
    return found


def _answer(towers: Towers, side: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
    return towers.image(inputs["images"]) if side == "image" else towers.text(inputs["ids"])


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _read(note: Path) -> dict[str, dict[str, float]] | None:
    """What was measured before; None if nothing was, or it cannot be read."""
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
        return {p: {k: float(row[k]) for k in ("cosine", "seconds")} for p, row in found.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _keep(note: Path, measured: dict[str, dict[str, float]]) -> None:
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_json(note, measured)
    except OSError as error:
        logger.info("precision auto: found no room to keep what it measured (%s)", error)
