"""NVIDIA GPUs: what NNabla's CUDA extension needs from this machine, and loading it in order.

Nothing here is loaded from disk but where a GPU is asked for, or by `nnclip doctor`, which looks at
everything.
"""

from nnclip.engine.cuda.context import GPU_PRECISIONS, gpu_context, gpu_precision, is_gpu
from nnclip.engine.cuda.extension import extension_installed, load_extension

__all__ = [
    "GPU_PRECISIONS",
    "extension_installed",
    "gpu_context",
    "gpu_precision",
    "is_gpu",
    "load_extension",
]
