"""Quantised graphs on disk: what calibration takes half a minute to find is found once.

A graph lies in a folder of its own, named by what it was made of: parameters, calibration arrays,
versions, and whether this processor adds products of int8 up exactly.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import openvino as ov

from nnclip.engine.core import core
from nnclip.engine.emitted import EmittedGraph
from nnclip.engine.precision import sums_int8_exactly
from nnclip.engine.quantise import Agreement
from nnclip.forks import OPENVINO_CALLS

logger = logging.getLogger(__name__)

FORM = "1"  # of a folder's content, and of how quantise.py chooses; a new one is made anew
GRAPH, DRIFT = "graph.xml", ["nnclip", "drift"]
FIELDS = tuple(Agreement.__dataclass_fields__)
MOST = 8  # folders that are kept; a ViT-B/32's image tower takes 90 MB

Made = tuple[EmittedGraph, Agreement]


def key_of(parameters: str, calibration: Mapping[str, np.ndarray]) -> str:
    """The name of a quantised graph: 32 hexadecimal digits.

    Args:
        parameters: what tells the graph and its weights from others.
        calibration: the arrays that its scales are chosen on.
    """
    installed = [_version(package) for package in ("openvino", "nncf")]
    made_by = [FORM, parameters, *installed, str(sums_int8_exactly())]
    found = hashlib.sha256("\n".join(made_by).encode())
    for name, array in sorted(calibration.items()):
        found.update(f"\n{name} {array.dtype} {array.shape}\n".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()[:32]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def kept(folder: Path, key: str, graph: EmittedGraph, make: Callable[[], Made]) -> Made:
    """The quantised form of `graph`: the one that lies in `folder`, else what `make` gives.

    What was made is kept for the next process if the folder can be written. A damaged one is
    replaced.

    Args:
        folder: holds one folder for each graph; the oldest go when there are over `MOST`.
        key: what `key_of` gave.
        graph: gives names and shapes of inputs and outputs.
        make: quantises, and says how close the answers stay to those of float32.
    """
    place = folder / key
    if (place / GRAPH).exists():
        try:
            found = _read(place, graph)
        except RuntimeError as error:  # OpenVINO's own, or no drift is written there
            logger.warning("%s: cannot be read (%s); int8 chooses its scales again", place, error)
            shutil.rmtree(place, ignore_errors=True)
        else:
            logger.info("int8: took the scales that %s holds", place)
            return found
    made = make()
    try:
        _write(place, *made)
        _forget_oldest(folder)
        # mapped from there, it takes less memory
        return _read(place, graph)
    except (OSError, RuntimeError) as error:
        logger.info("int8: found no room to keep its scales (%s); they are chosen again", error)
        return made


def _read(place: Path, graph: EmittedGraph) -> Made:
    with OPENVINO_CALLS:
        model = core().read_model(place / GRAPH)
        drift = Agreement(**{k: float(model.get_rt_info([*DRIFT, k]).value) for k in FIELDS})
    os.utime(place)
    return replace(graph, model=model), drift


def _write(place: Path, graph: EmittedGraph, drift: Agreement) -> None:
    """Write a folder under another name and rename it: no other process sees half of it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".making-") as unfinished:
        inside = Path(unfinished) / place.name
        inside.mkdir()
        with OPENVINO_CALLS:
            for name, value in asdict(drift).items():
                graph.model.set_rt_info(repr(value), [*DRIFT, name])
            try:
                ov.save_model(graph.model, inside / GRAPH, compress_to_fp16=False)
            except RuntimeError as error:  # a full disk is no OSError there
                raise OSError(str(error)) from error
        if not place.exists():  # another process may have been first
            inside.rename(place)


def _forget_oldest(folder: Path) -> None:
    """Leave the folders that were used last."""
    found = [p for p in folder.iterdir() if len(p.name) == 32]
    for old in sorted(found, key=lambda p: p.stat().st_mtime)[:-MOST]:
        shutil.rmtree(old, ignore_errors=True)
