"""The machine's peak: products of the size that a tower uses, by whoever is fastest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import measuring
import numpy as np
from measuring import Contender, ratio

PAIRS = 3  # products up and down again in one call, so that conversions at its ends do not count


def product_contenders(precision: str, rows: int, width: int, hidden: int) -> list[Contender]:
    """Contenders that multiply (rows, width) by (width, hidden) and back; items are operations."""
    operations = 2.0 * rows * width * hidden * 2 * PAIRS
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, width)).astype(np.float32)
    up = rng.normal(size=(hidden, width)).astype(np.float32) * width**-0.5
    down = rng.normal(size=(width, hidden)).astype(np.float32) * hidden**-0.5
    return [
        Contender(name, precision, call, operations, note="products alone")
        for name, call in _calls(precision, x, up, down)
    ]


def fraction_of_peak(
    ours: Contender, products: Sequence[Contender], work: float
) -> dict[str, float]:
    """What part of the fastest products' rate one reaches; `work`: operations of one item."""
    best = max(products, key=lambda c: c.per_second()["median"])
    # ratio() divides rates, and the items of a product are operations: items per operation
    return {key: round(value * work, 4) for key, value in ratio(ours, best).items()}


def _calls(
    precision: str, x: np.ndarray, up: np.ndarray, down: np.ndarray
) -> Iterator[tuple[str, Callable[[], object]]]:
    if measuring.installed("torch"):
        yield "torch", partial(_torch, *_torch_tensors(precision, x, up, down))
    if measuring.installed("openvino"):
        yield "openvino", _openvino(precision, x, up, down)


def _torch_tensors(precision: str, *arrays: np.ndarray) -> list:
    import torch

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    return [torch.from_numpy(array).to(dtype) for array in arrays]


def _torch(x: object, up: object, down: object) -> None:
    import torch

    with torch.inference_mode(), torch.autocast("cpu", enabled=False):
        for _ in range(PAIRS):
            x = torch.nn.functional.linear(torch.nn.functional.linear(x, up), down)


def _openvino(
    precision: str, x: np.ndarray, up: np.ndarray, down: np.ndarray
) -> Callable[[], object]:
    import openvino as ov
    from openvino import opset15 as op

    given = op.parameter(list(x.shape), np.float32)
    value = given
    for _ in range(PAIRS):
        for weight in (up, down):
            value = op.matmul(value, op.constant(weight), False, True)
    compiled = compile_openvino(ov.Model([op.result(value)], [given]), precision)
    request = compiled.create_infer_request()
    return lambda: request.infer({0: x}, share_inputs=True, share_outputs=True)


def compile_openvino(model: object, precision: str) -> object:
    """Compile an OpenVINO model for one call at a time on all cores.

    Of an int8 model, OpenVINO chooses in what the rest is computed, as it does by itself.
    """
    from nnclip.engine.core import core  # the same for all, and what holds oneDNN is told

    config = {"PERFORMANCE_HINT": "LATENCY"}
    if precision != "int8":
        config["INFERENCE_PRECISION_HINT"] = {"fp32": "f32", "bf16": "bf16"}[precision]
    return core().compile_model(model, "CPU", config)
