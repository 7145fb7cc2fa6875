"""Training steps: compiled where that is possible, run by NNabla where not."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from nnclip.engine.arrays import InputSpec
from nnclip.engine.precision import check_precision, openvino_available
from nnclip.engine.stock import StockStep
from nnclip.errors import ConfigError, UnsupportedOpError
from nnclip.nnabla import nn

log = logging.getLogger(__name__)

Variables = Mapping[str, nn.Variable]


class Step(Protocol):
    """One training step, compiled or not."""

    specs: tuple[InputSpec, ...]

    def __call__(self, *, accumulate: bool = False, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        """Run it: outputs are returned, gradients written to `parameter.grad`.

        With `accumulate` they are added to it. Arrays have the shapes of `specs`.
        """
        ...


def compile_step(
    inputs: Variables,
    outputs: Variables,
    parameters: Variables,
    *,
    of: Sequence[str] = ("loss",),
    wrt: Sequence[str] = (),
    precision: str = "fp32",
    threads: int | None = None,
) -> Step:
    """Compile a training step for the batch shape that its graph was built with.

    The three parts of a step that gathers features in between are compiled apart:
    the features with `of=()`; the loss with the features as inputs, named in `wrt`; and the
    features again with `of` naming them, which recomputes them and takes their gradients.

    Args:
        inputs: The graph's inputs by name.
        outputs: The graph's outputs by name.
        parameters: Every variable that changes between steps. Those with `need_grad` get a
            gradient; all other variables of the graph are folded in as constants, for good.
        of: Outputs that are differentiated. One that holds a single number starts with a gradient
            of 1; any other makes an input `grad_NAME` of its own shape. Without any, the running
            statistics of batch normalisations stay as they are.
        wrt: Inputs whose gradient is returned as `grad_NAME`.
        precision: `fp32` or `bf16`. Parameters and gradients are float32 in either.
        threads: Number of threads; None for one per core.

    Returns:
        The compiled step, or one that NNabla runs if an operation has no rule: a warning then
        names it.

    Raises:
        ConfigError: If a name in `of` or `wrt` is unknown, or this processor lacks the precision.
    """
    if unknown := (set(of) - set(outputs)) | (set(wrt) - set(inputs)):
        raise ConfigError(
            f"{sorted(unknown)} in `of` or `wrt`; outputs are {sorted(outputs)}, inputs "
            f"{sorted(inputs)}"
        )
    if check_precision(precision) == "int8":
        raise ConfigError("a training step runs in fp32 or bf16, not in int8")
    if not openvino_available():
        _warn_once("OpenVINO is not installed: training some 20 to 50 times slower")
        return StockStep(inputs, outputs, parameters, of, wrt)
    from nnclip.engine.compiled_step import CompiledStep, emit_step
    from nnclip.engine.model import compile_model

    try:
        model, specs, trained, statistics = emit_step(
            inputs, outputs, parameters, of, wrt, precision
        )
    except UnsupportedOpError as error:
        _warn_once(f"training without the compiler, some 20 to 50 times slower: {error}")
        return StockStep(inputs, outputs, parameters, of, wrt)
    compiled = compile_model(model, precision, threads=threads)
    names = [*outputs, *(f"grad_{name}" for name in wrt)]
    return CompiledStep(compiled, specs, names, parameters, trained, statistics)


@functools.cache
def _warn_once(message: str) -> None:
    """Log a warning, unless it was said before: of another batch shape, or part of the step."""
    log.warning(message)
