"""NNabla's context for a GPU, by the precision that is wanted of it."""

import importlib

from nnclip.engine.cuda.extension import load_extension, tf32_allowed
from nnclip.errors import ConfigError
from nnclip.nnabla import nn

GPU_PRECISIONS = ("fp32", "tf32", "fp16")


def gpu_precision(wanted: str | None) -> str:
    """What is wanted, or what NNabla's own variable for TF32 says; ConfigError if there is none."""
    precision = wanted or ("tf32" if tf32_allowed() else "fp32")
    if precision not in GPU_PRECISIONS:
        raise ConfigError(
            f"precision {precision}: found a GPU, expected one of {', '.join(GPU_PRECISIONS)}"
        )
    return precision


def gpu_context(name: str, precision: str) -> nn.Context:
    """Load NNabla's extension and give a context of it.

    Args:
        name: `cudnn` or `cuda`; `cudnn:1` for the second GPU.
        precision: one of `GPU_PRECISIONS`. In fp16, products have float16 factors and sums in
            float32; parameters stay float32 and are rounded for each use.

    Raises:
        ConfigError: something is missing, see `load_extension`.
    """
    extension, _, device = name.partition(":")
    load_extension(extension, tf32=None if precision == "fp16" else precision == "tf32")
    kinds = ("half", "float") if precision == "fp16" else ("float",)
    libraries = ("cudnn", "cuda") if extension == "cudnn" else ("cuda",)
    backends = [f"{library}:{kind}" for library in libraries for kind in kinds]
    # not by NNabla's get_extension_context, which asks NVML: a container may lack that library
    array = importlib.import_module("nnabla_ext.cuda").array_classes()[0]
    return nn.Context([*backends, "cpu:float"], array, device or "0")


def is_gpu(name: str) -> bool:
    """Whether a context's name means NNabla's CUDA extension."""
    return name.partition(":")[0] in ("cuda", "cudnn")
