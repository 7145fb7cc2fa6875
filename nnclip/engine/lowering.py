"""Write the part of an NNabla graph that depends on its inputs as OpenVINO nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import openvino as ov
from openvino import opset15 as op

from nnclip.engine.core import core
from nnclip.engine.emit import Call, Output, Rule, constant, widened
from nnclip.engine.ops import RULES
from nnclip.engine.trace import fold, ordered_functions, trace
from nnclip.errors import UnsupportedOpError
from nnclip.forks import OPENVINO_CALLS
from nnclip.nnabla import Function, nn

# What these give depends on the order of additions, which differs between NNabla and NumPy.
SUMS = frozenset(("Affine", "BatchMatmul", "LayerNormalization", "Mean", "Softmax", "Sum"))


class Lowering:
    """OpenVINO values of an NNabla graph, made as they are asked for.

    Args:
        given: The OpenVINO value of every input variable.
        batch: The batch size the NNabla graph was built for, where the compiled one shall take
            any; None to take all shapes literally.
        arrays: Arrays to take instead of what constant variables hold.
    """

    def __init__(
        self,
        given: dict[nn.Variable, Output],
        batch: int | None = None,
        arrays: Mapping[nn.Variable, np.ndarray] | None = None,
    ) -> None:
        self.values = dict(given)
        self.constants: dict[nn.Variable, np.ndarray] = {}
        self.batch = batch
        self._arrays = arrays or {}

    def __call__(self, outputs: Iterable[nn.Variable]) -> list[Output]:
        """Lower everything that leads to `outputs` and give their values.

        Raises:
            UnsupportedOpError: If operations have no rule (all of them are named), or one is used
                in a way that its rule does not cover.
        """
        outputs = list(outputs)
        functions = trace(self.values.keys(), outputs).functions
        missing = Counter(f.info.type_name for f in functions if f.info.type_name not in RULES)
        if missing:
            names = ", ".join(f"{name} ({n}x)" for name, n in sorted(missing.items()))
            raise UnsupportedOpError(
                f"the compiler has no rule for {names}. Add one to nnclip/engine/ops, or run the "
                "graph by NNabla itself with interpret_graph."
            )
        for function in functions:
            self._lower(function)
        return [self.value(v) for v in outputs]

    def array(self, variable: nn.Variable) -> np.ndarray | None:
        """The array of a variable that depends on no input, None for one that does."""
        if variable in self.values and variable not in self.constants:
            return None
        if variable not in self.constants:
            functions = ordered_functions([variable], ())
            sums = any(f.info.type_name in SUMS for f in functions)
            self.constants[variable] = (
                self._computed(variable, functions) if sums else fold(variable, self._arrays)
            )
        return self.constants[variable]

    def _computed(self, variable: nn.Variable, functions: Iterable[Function]) -> np.ndarray:
        """The array of a constant by OpenVINO: the same bits with and without NNabla."""
        alone = Lowering({}, None, self._arrays)
        for function in functions:
            alone._lower(function)
        model = ov.Model([op.result(alone.value(variable))], [])
        with OPENVINO_CALLS:
            compiled = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
            return np.array(compiled([])[0])

    def value(self, variable: nn.Variable) -> Output:
        """The OpenVINO value of a variable; a constant one is folded."""
        if variable not in self.values:
            array = self.array(variable)
            assert array is not None
            self.values[variable] = widened(constant(array))
        return self.values[variable]

    def call(self, function: Function) -> Call:
        """Describe one function to a rule."""
        constants = [self.array(v) for v in function.inputs]
        return Call(
            type=function.info.type_name,
            args=dict(function.info.args),
            inputs=[self.value(v) for v in function.inputs],
            constants=constants,
            in_shapes=[tuple(v.shape) for v in function.inputs],
            out_shapes=[tuple(v.shape) for v in function.outputs],
            batch=self.batch,
        )

    def _lower(self, function: Function) -> None:
        results = apply(RULES[function.info.type_name], self.call(function))
        self.values.update(zip(function.outputs, results, strict=True))


def apply(rule: Rule, call: Call) -> list[Output]:
    """Run a rule; what OpenVINO refuses is reported with the call it was about."""
    try:
        results = rule(call)
    except RuntimeError as error:
        if isinstance(error, UnsupportedOpError):
            raise
        reason = str(error).strip().splitlines()[-1]
        raise call.refuse(f"cannot be written as OpenVINO nodes: {reason}") from error
    return results if isinstance(results, list) else [results]
