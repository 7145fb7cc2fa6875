"""Run a graph: by NNabla itself, or compiled for this processor. Knows no CLIP."""

from nnclip.engine.compiler import compile_graph
from nnclip.engine.interpreter import InterpretedGraph, interpret_graph
from nnclip.engine.precision import available_precisions, default_precision
from nnclip.engine.runtime import CompiledGraph

__all__ = [
    "CompiledGraph",
    "InterpretedGraph",
    "available_precisions",
    "compile_graph",
    "default_precision",
    "interpret_graph",
]
