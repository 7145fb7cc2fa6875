"""A training step compiled as a whole: outputs and gradients in one pass, on NNabla's own memory.

Parameters go in and gradients come out through tensors that share NNabla's arrays, so nothing is
copied and any NNabla solver can do the update.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
import openvino as ov
from openvino import opset15 as op

from nnclip.engine.arrays import InputSpec, checked, input_specs
from nnclip.engine.autodiff import gradients
from nnclip.engine.emit import Output, as_float, constant, integers
from nnclip.engine.lowering import Lowering
from nnclip.engine.memory import address, float_memory
from nnclip.engine.statistics import running_statistics
from nnclip.engine.trace import trace
from nnclip.forks import OPENVINO_CALLS, check_process
from nnclip.nnabla import nn

Variables = Mapping[str, nn.Variable]

DEEP = 20  # residual sums; with fewer, rounding all of them costs little (see decision 1)


class CompiledStep:
    """A training step compiled for one batch shape. Not for several threads at once.

    Attributes:
        specs: What each input takes.
        parameters: The parameters it reads, and gives the gradients of, by name.
    """

    def __init__(
        self,
        model: ov.CompiledModel,
        specs: tuple[InputSpec, ...],
        outputs: Sequence[str],
        parameters: Variables,
        trained: Sequence[str],
        statistics: Sequence[nn.Variable] = (),
    ) -> None:
        self.specs = specs
        self.parameters = dict(parameters)
        self._outputs = tuple(outputs)
        self._trained = [self.parameters[name] for name in trained]
        self._statistics = list(statistics)
        self._request, self._process = model.create_infer_request(), os.getpid()
        self._scratch = [nn.NdArray(v.shape) for v in self._trained]
        self._bound: dict[tuple[str, int], int] = {}

    def __call__(self, *, accumulate: bool = False, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        """Run the step.

        Args:
            accumulate: Add to the gradients in place instead of replacing them.
            arrays: One array per input, as `specs` describes them.

        Returns:
            One float32 array per output, and `grad_NAME` for each input asked for in `wrt`.

        Raises:
            DataError: If an array does not fit.
            ConfigError: If this process was forked from the one that compiled the step.
        """
        check_process(self._process, "a compiled training step")
        for i, array in enumerate(checked(self.specs, arrays)):
            self._request.set_input_tensor(i, ov.Tensor(array, shared_memory=True))
        held = dict.fromkeys([*self.parameters.values(), *self._statistics])
        for i, v in enumerate(held, start=len(self.specs)):
            self._bind("input", i, v.data)
        targets = self._scratch if accumulate else [v.grad for v in self._trained]
        for i, target in enumerate(targets, start=len(self._outputs)):
            self._bind("output", i, target)
        with OPENVINO_CALLS:
            self._request.infer()
        if accumulate:
            for v, part in zip(self._trained, self._scratch, strict=True):
                total = float_memory(v.grad)
                np.add(total, float_memory(part), out=total)
        after = len(self._outputs) + len(targets)
        for i, v in enumerate(self._statistics, start=after):
            np.copyto(float_memory(v.data), self._request.get_output_tensor(i).data)
        return {
            name: np.array(self._request.get_output_tensor(i).data)
            for i, name in enumerate(self._outputs)
        }

    def _bind(self, side: str, i: int, array: nn.NdArray) -> None:
        """Point a port at an array, unless it is there already: NNabla may move its memory."""
        place = address(array)
        if self._bound.get((side, i)) == place:
            return
        tensor = ov.Tensor(float_memory(array), shared_memory=True)
        if side == "input":
            self._request.set_input_tensor(i, tensor)
        else:
            self._request.set_output_tensor(i, tensor)
        self._bound[side, i] = place


def emit_step(
    inputs: Variables,
    outputs: Variables,
    parameters: Variables,
    of: Sequence[str],
    wrt: Sequence[str],
    precision: str = "fp32",
) -> tuple[ov.Model, tuple[InputSpec, ...], list[str], list[nn.Variable]]:
    """Write the step as a model.

    In go inputs, seeds, parameters, running statistics; out come outputs, gradients of `wrt` and
    of the parameters, statistics. Gives the model, its inputs, what is trained, the statistics.
    These move only where something is differentiated, so that a step which computes its features
    twice moves them once.

    OpenVINO leaves in float32 whatever leads to a result with no product in between. So in a deep
    bf16 step gradients of residual streams are results too, though nobody reads them.
    """
    functions = trace([*inputs.values(), *parameters.values()], outputs.values()).functions
    statistics = running_statistics(functions) if of else {}
    specs = input_specs(inputs, functions, dynamic_batch=False)
    specs += tuple(
        InputSpec(f"grad_{name}", tuple(outputs[name].shape))
        for name in of
        if outputs[name].size != 1
    )
    ports = {
        s.name: op.parameter(list(s.shape), np.int32 if s.integer else np.float32) for s in specs
    }
    live = list(dict.fromkeys([*parameters.values(), *statistics]))
    held = [op.parameter(list(v.shape), np.float32) for v in live]
    given = {v: ports[name].output(0) for name, v in inputs.items()}
    given |= {v: port.output(0) for v, port in zip(live, held, strict=True)}

    lowering = Lowering(given)
    values = lowering(outputs.values())
    seeds = {outputs[name]: _seed(outputs[name], ports.get(f"grad_{name}")) for name in of}
    trained = [name for name, v in parameters.items() if v.need_grad] if of else []
    wanted = [inputs[name] for name in wrt] + [parameters[name] for name in trained]
    found, streams = gradients(lowering, functions, seeds, wanted)
    shaped = [_shaped(g, v) for g, v in zip(found, wanted, strict=True)]
    moved = [statistics[v](lowering) for v in statistics]
    unread = streams if precision == "bf16" and len(streams) >= DEEP else []
    results = [op.result(as_float(value)) for value in [*values, *shaped, *moved, *unread]]
    return ov.Model(results, [*ports.values(), *held]), specs, trained, list(statistics)


def _seed(output: nn.Variable, port: ov.Node | None) -> Output:
    return port.output(0) if port is not None else constant(np.ones(output.shape, np.float32))


def _shaped(gradient: Output | None, variable: nn.Variable) -> Output:
    """A gradient shaped like its variable; zeros where none arrives."""
    shape = integers(list(variable.shape))
    if gradient is None:
        return op.broadcast(constant(np.float32(0)), shape).output(0)
    return op.reshape(gradient, shape, special_zero=False).output(0)
