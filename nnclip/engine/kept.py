"""Quantised graphs on disk: what calibration takes half a minute to find is found once.

A graph lies in a folder of its own, named by what it was made of: parameters, calibration arrays,
versions, and whether this processor adds products of int8 up exactly. Beside it lies what OpenVINO
compiled of it, which takes a fifth of the time to read that compiling takes. Every file has a
checksum; what is damaged is made again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from nnclip.checksums import file_checksum
from nnclip.engine.arrays import InputSpec
from nnclip.engine.core import core
from nnclip.engine.emitted import EmittedGraph
from nnclip.engine.precision import sums_int8_exactly
from nnclip.engine.quantise import Agreement, compile_quantised
from nnclip.engine.runtime import CompiledGraph
from nnclip.forks import OPENVINO_CALLS

logger = logging.getLogger(__name__)

FORM = "2"  # of a folder's content, and of how quantise.py chooses; a new one is made anew
GRAPH, WEIGHTS, ABOUT, COMPILED = "graph.xml", "graph.bin", "about.json", "compiled"
MOST = 8  # folders that are kept; a ViT-B/32's image tower takes 200 MB

UNREADABLE = (OSError, RuntimeError, ValueError, LookupError, TypeError)  # RuntimeError: OpenVINO's

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


def kept(place: Path, make: Callable[[], Made]) -> Made:
    """The quantised graph that lies in `place`, else what `make` gives.

    What was made is kept for the next process if the folder can be written. A damaged one is
    replaced.

    Args:
        place: a folder of its own, named by `key_of`; of those beside it the oldest go when there
            are over `MOST`.
        make: quantises, and says how close the answers stay to those of float32.
    """
    if place.exists():
        try:
            found = _read(place)
        except UNREADABLE as error:
            logger.warning("%s: cannot be read (%s); int8 chooses its scales again", place, error)
            shutil.rmtree(place, ignore_errors=True)
        else:
            logger.info("int8: took the scales that %s holds", place)
            return found
    made = make()
    try:
        _write(place, *made)
        _forget_oldest(place.parent)
        # mapped from there, it takes less memory
        return _read(place)
    except UNREADABLE as error:  # no room, or a damaged one that cannot be removed
        logger.info("int8: found no room to keep its scales (%s); they are chosen again", error)
        return made


def compile_kept(place: Path, graph: EmittedGraph, **options: Any) -> CompiledGraph:
    """Compile what `kept` gave, or read what was compiled of it before.

    Args:
        place: the folder of `kept`; nothing is kept where it could not be written.
        graph: the graph.
        options: those of `compile_quantised`.
    """
    compiled = place / COMPILED
    if not os.access(place, os.W_OK):
        return compile_quantised(graph, **options)
    for file in compiled.glob("*.blob"):
        if not _is_whole(file):  # damaged, or its process ended too early
            file.unlink(missing_ok=True)
            _sum_beside(file).unlink(missing_ok=True)
    found = compile_quantised(graph, cache_dir=compiled, **options)
    for file in compiled.glob("*.blob"):
        with suppress(OSError):  # another process may throw it away
            if not _sum_beside(file).exists():
                _sum_beside(file).write_text(file_checksum(file))
    return found


def _is_whole(file: Path) -> bool:
    with suppress(OSError):
        return _sum_beside(file).read_bytes() == file_checksum(file).encode()
    return False


def _sum_beside(file: Path) -> Path:
    return file.with_suffix(".crc32")


def _read(place: Path) -> Made:
    about = json.loads((place / ABOUT).read_text(encoding="utf-8"))
    for name, expected in about["checksums"].items():
        if file_checksum(place / name) != expected:
            raise ValueError(f"the checksum of {name} is another")
    specs = [InputSpec(**{**spec, "shape": tuple(spec["shape"])}) for spec in about["inputs"]]
    with OPENVINO_CALLS:
        model = core().read_model(place / GRAPH)
    with suppress(OSError):  # read-only
        os.utime(place)
    graph = EmittedGraph(model, tuple(specs), tuple(about["outputs"]))
    return graph, Agreement(**about["drift"])


def _write(place: Path, graph: EmittedGraph, drift: Agreement) -> None:
    """Write a folder under another name and rename it: no other process sees half of it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".making-") as unfinished:
        inside = Path(unfinished) / place.name
        inside.mkdir()
        with OPENVINO_CALLS:
            try:
                ov.save_model(graph.model, inside / GRAPH, compress_to_fp16=False)
            except RuntimeError as error:  # a full disk is no OSError there
                raise OSError(str(error)) from error
        about = {
            "drift": asdict(drift),
            "inputs": [asdict(spec) for spec in graph.specs],
            "outputs": graph.outputs,
            "checksums": {name: file_checksum(inside / name) for name in (GRAPH, WEIGHTS)},
        }
        (inside / ABOUT).write_text(json.dumps(about), encoding="utf-8")
        if not place.exists():  # another process may have been first
            inside.rename(place)


def _forget_oldest(folder: Path) -> None:
    """Leave the folders that were used last."""
    found = [p for p in folder.iterdir() if len(p.name) == 32]
    for old in sorted(found, key=lambda p: p.stat().st_mtime)[:-MOST]:
        shutil.rmtree(old, ignore_errors=True)
