"""A training step that NNabla itself runs, with the same call as a compiled one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nnclip.engine.arrays import InputSpec, checked, input_specs
from nnclip.engine.contexts import float_context
from nnclip.engine.trace import trace
from nnclip.forks import NNABLA_LOCK
from nnclip.nnabla import F, nn

Variables = Mapping[str, nn.Variable]


class StockStep:
    """A training step run by NNabla's own forward and backward; see `compile_step`.

    Differentiating several outputs, or one that is not a number, is put as differentiating the
    sum of each times its given gradient.
    """

    def __init__(
        self,
        inputs: Variables,
        outputs: Variables,
        parameters: Variables,
        of: Sequence[str] = ("loss",),
        wrt: Sequence[str] = (),
    ) -> None:
        self.parameters = dict(parameters)
        self._inputs, self._outputs, self._wrt = dict(inputs), dict(outputs), tuple(wrt)
        self._seeds = {
            f"grad_{name}": nn.Variable(outputs[name].shape)
            for name in of
            if outputs[name].size != 1
        }
        functions = trace([*inputs.values(), *parameters.values()], outputs.values()).functions
        self.specs: tuple[InputSpec, ...] = input_specs(inputs, functions, dynamic_batch=False)
        self.specs += tuple(InputSpec(n, tuple(v.shape)) for n, v in self._seeds.items())
        self._statistics = [
            v
            for f in functions
            if f.info.type_name == "BatchNormalization" and f.info.args["batch_stat"]
            for v in f.inputs[-2:]
        ]
        for name in wrt:
            inputs[name].need_grad = True
        for v in outputs.values():
            v.persistent = True
        with NNABLA_LOCK, nn.auto_forward(False), nn.context_scope(float_context()):
            parts = [F.sum(outputs[n] * self._seeds.get(f"grad_{n}", 1.0)) for n in of]
            self._total = F.add_n(*parts) if parts else None

    def __call__(self, *, accumulate: bool = False, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        """Run the step; see `CompiledStep.__call__`.

        Inputs are searched for NaN only where results hold some: it takes the processor longer
        than a GPU computes.
        """
        values = checked(self.specs, arrays, finite=False)
        with NNABLA_LOCK:
            for v, array in zip(
                [*self._inputs.values(), *self._seeds.values()], values, strict=True
            ):
                v.d = array
            if self._total is None:
                self._only_forward()
            else:
                self._differentiate(accumulate)
            results = {name: np.array(v.d, np.float32) for name, v in self._outputs.items()}
            results |= {f"grad_{n}": np.array(self._inputs[n].g, np.float32) for n in self._wrt}
        if not all(np.isfinite(array).all() for array in results.values()):
            checked(self.specs, arrays)
        return results

    def _only_forward(self) -> None:
        """Running statistics, which NNabla moves with every forward pass, are put back."""
        before = [np.array(v.d) for v in self._statistics]
        nn.forward_all(list(self._outputs.values()))
        for v, array in zip(self._statistics, before, strict=True):
            v.d = array

    def _differentiate(self, accumulate: bool) -> None:
        assert self._total is not None
        for name in self._wrt:
            self._inputs[name].grad.zero()
        if not accumulate:
            for v in self.parameters.values():
                if v.need_grad:
                    v.grad.zero()
        nn.forward_all([*self._outputs.values(), self._total], clear_no_need_grad=True)
        self._total.backward(clear_buffer=True)
