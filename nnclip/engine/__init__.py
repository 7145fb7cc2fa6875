"""Run a graph: by NNabla itself, or compiled for this processor. Knows no CLIP."""

import nnclip.engine.unreported  # noqa: F401  before OpenVINO is imported
from nnclip.engine.adamw import AdamW
from nnclip.engine.compiler import (
    EmittedGraph,
    compile_emitted,
    compile_graph,
    emit_graph,
    free_length,
    unsupported_ops,
)
from nnclip.engine.export import save_ir, save_nnp, save_onnx, with_int64
from nnclip.engine.interpreter import InterpretedBatches, InterpretedGraph, interpret_graph
from nnclip.engine.precision import (
    PRECISIONS,
    available_precisions,
    default_precision,
    openvino_available,
)
from nnclip.engine.quantise import Agreement, agreement, quantize, quantize_emitted
from nnclip.engine.runtime import CompiledGraph
from nnclip.engine.step import Step, TrainStep, compile_step
from nnclip.engine.stock import StockStep
from nnclip.engine.trace import NNABLA_LOCK

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
    "TrainStep",
    "agreement",
    "available_precisions",
    "compile_emitted",
    "compile_graph",
    "compile_step",
    "default_precision",
    "emit_graph",
    "free_length",
    "interpret_graph",
    "openvino_available",
    "quantize",
    "quantize_emitted",
    "save_ir",
    "save_nnp",
    "save_onnx",
    "unsupported_ops",
    "with_int64",
]
