"""Run a graph: by NNabla itself, or compiled for this processor. Knows no CLIP."""

import importlib
from typing import Any

import nnclip.engine.unreported  # noqa: F401  before OpenVINO is imported
from nnclip.engine.compiler import (
    compile_emitted,
    compile_graph,
    emit_graph,
    free_length,
    unsupported_ops,
)
from nnclip.engine.emitted import EmittedGraph
from nnclip.engine.interpreter import InterpretedBatches, InterpretedGraph, interpret_graph
from nnclip.engine.precision import (
    PRECISIONS,
    available_precisions,
    default_precision,
    openvino_available,
)
from nnclip.engine.quantise import (
    Agreement,
    agreement,
    compile_quantised,
    quantised,
    quantize,
)
from nnclip.engine.runtime import CompiledGraph
from nnclip.engine.written import read_graph
from nnclip.forks import NNABLA_LOCK

__all__ = [
    "NNABLA_LOCK",
    "PRECISIONS",
    "AdamW",
    "Agreement",
    "CompiledGraph",
    "EmittedGraph",
    "InterpretedBatches",
    "InterpretedGraph",
    "Step",
    "StockStep",
    "agreement",
    "available_precisions",
    "compile_emitted",
    "compile_graph",
    "compile_quantised",
    "compile_step",
    "default_precision",
    "emit_graph",
    "free_length",
    "interpret_graph",
    "openvino_available",
    "quantised",
    "quantize",
    "read_graph",
    "save_ir",
    "save_nnp",
    "save_onnx",
    "unsupported_ops",
    "with_int64",
]

# Loaded when first asked for: training needs NNabla itself, and most programs only ask a model.
_LATER = {
    "AdamW": "adamw",
    "Step": "step",
    "StockStep": "stock",
    "compile_step": "step",
    "save_ir": "export",
    "save_nnp": "export",
    "save_onnx": "export",
    "with_int64": "export",
}


def __getattr__(name: str) -> Any:
    """One of the names in `_LATER`."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
