"""Reverse-mode differentiation of a lowered graph: from gradients of outputs to those of leaves.

The rules of `nnclip.engine.backward` write OpenVINO nodes directly. A type without one there uses
NNabla's own backward function, lowered like any other graph, so what can be run forwards can
mostly be differentiated. NNabla's registry is read, never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from openvino import Output
from openvino import opset15 as op

from nnclip.engine.backward import RULES, Reverse
from nnclip.engine.emit import Call
from nnclip.engine.lowering import Lowering
from nnclip.errors import UnsupportedOpError
from nnclip.forks import NNABLA_LOCK
from nnclip.nnabla import Function, nn, require_nnabla


def gradients(
    lowering: Lowering,
    functions: Sequence[Function],
    seeds: Mapping[nn.Variable, Output],
    leaves: Sequence[nn.Variable],
    flows: Callable[[nn.Variable], bool] = lambda v: v.need_grad,
) -> tuple[list[Output | None], list[Output]]:
    """Write the nodes that compute the gradients with respect to `leaves`.

    Args:
        lowering: The graph's forward values, already made.
        functions: The graph's functions, every one after those it reads from.
        seeds: The gradient that flows into each output.
        leaves: Variables that a gradient is wanted of.
        flows: Whether a gradient passes a result of a function.

    Returns:
        One value per leaf, shaped like it, None where no gradient arrives; and the gradients of
        residual streams, which pass through all blocks: what rounds them adds up.

    Raises:
        UnsupportedOpError: If function types have no backward rule; all are named.
    """
    wanted = set(leaves)
    active = []
    for f in functions:
        if any(v in wanted for v in f.inputs):
            outputs = [v for v in f.outputs if flows(v)]
            wanted.update(outputs)
            if outputs:
                active.append(f)
    sums: dict[nn.Variable, Output] = dict(seeds)
    missing: dict[str, str] = {}
    met: set[nn.Variable] = set()
    for f in reversed(active):
        if not any(v in sums for v in f.outputs):
            continue
        try:
            arriving = _through(f, lowering, sums, [v in wanted for v in f.inputs])
        except UnsupportedOpError as error:
            missing[f.info.type_name] = str(error)
            continue
        for v, gradient in zip(f.inputs, arriving, strict=False):
            if gradient is None or v not in wanted:
                continue
            if v in sums:
                gradient = op.add(sums[v], gradient).output(0)
                met.add(v)
            sums[v] = gradient
    if missing:
        details = "; ".join(f"{name}: {why}" for name, why in sorted(missing.items()))
        raise UnsupportedOpError(
            f"the compiler has no backward rule for {', '.join(sorted(missing))}. Add one to "
            f"nnclip/engine/backward, or train by NNabla itself. ({details})"
        )
    streams = [sums[f.outputs[0]] for f in active if _adds(f) and f.outputs[0] in met]
    return [sums.get(v) for v in leaves], streams


def _adds(f: Function) -> bool:
    """Whether a function adds two values of one shape: a block's result to what went into it."""
    return f.info.type_name == "Add2" and f.inputs[0].shape == f.inputs[1].shape


def _through(
    f: Function, lowering: Lowering, sums: Mapping[nn.Variable, Output], wanted: list[bool]
) -> Sequence[Output | None]:
    """Gradients of the operands of one function."""
    reverse = Reverse(
        call=lowering.call(f),
        results=[lowering.values[v] for v in f.outputs],
        gradients=[sums.get(v) for v in f.outputs],
        wanted=wanted,
    )
    rule = RULES.get(f.info.type_name)
    if rule is None:
        return _by_nnabla(reverse)
    try:
        return rule(reverse)
    except RuntimeError as error:
        if isinstance(error, UnsupportedOpError):
            raise
        reason = str(error).strip().splitlines()[-1]
        raise reverse.call.refuse(f"cannot be differentiated: {reason}") from error


def _by_nnabla(reverse: Reverse) -> Sequence[Output | None]:
    """Use NNabla's own backward function, built on stand-ins for this function's variables."""
    call: Call = reverse.call
    require_nnabla(f"the gradient of {call.type}")
    from nnabla.backward_functions import registry

    if call.type not in registry:
        raise UnsupportedOpError(f"NNabla cannot differentiate {call.type} either")
    with NNABLA_LOCK, nn.auto_forward(False):
        operands = [nn.Variable(shape, need_grad=True) for shape in call.in_shapes]
        results = [nn.Variable(shape, need_grad=True) for shape in call.out_shapes]
        arriving = [nn.Variable(shape, need_grad=True) for shape in call.out_shapes]
        given: dict[nn.Variable, Output] = {
            **dict(zip(operands, call.inputs, strict=True)),
            **dict(zip(results, reverse.results, strict=True)),
            **dict(zip(arriving, map(reverse.gradient, range(len(results))), strict=True)),
        }
        try:
            made: Any = registry[call.type](
                arriving, operands, call.in_shapes, results, call.out_shapes, **call.args
            )
        except NotImplementedError as error:  # some are registered, and say this when called
            raise call.refuse("cannot be differentiated by NNabla either") from error
    made = list(made) if isinstance(made, (list, tuple)) else [made]
    made += [None] * (len(operands) - len(made))
    needed = [g for g, w in zip(made, reverse.wanted, strict=True) if g is not None and w]
    lowered = dict(zip(needed, Lowering(given)(needed), strict=True))
    return [lowered.get(g) if g is not None else None for g in made]
