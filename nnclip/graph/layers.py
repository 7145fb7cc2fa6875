"""Parametric functions that the towers are made of.

Each reads its parameters from NNabla's current scope under the published names and in the published
(torch) layout: a weight is (out, in) and is multiplied transposed, never copied.

Axes: N batch, L tokens, D width, O output width, H heads, K width of a head, F width of the
MLP. `nn.parameter_scope` is global to the process: whoever builds a graph holds a lock.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from nnclip.graph.lora import low_rank
from nnclip.graph.rope import Turns, halves_first, turned
from nnclip.graph.watching import watched
from nnclip.nnabla import (
    BaseInitializer,
    ConstantInitializer,
    F,
    NormalInitializer,
    UniformInitializer,
    get_parameter,
    get_parameter_or_create,
    nn,
)

# (queries (N, H, M, K), keys, values (N, H, L, K)) -> what the queries find, (N, H, M, K)
Attend = Callable[[nn.Variable, nn.Variable, nn.Variable], nn.Variable]

ZERO, ONE = ConstantInitializer(0.0), ConstantInitializer(1.0)
MASKED = -1e4  # added to a score that must not count: exp() gives 0 exactly, and float16 holds it

_initialise = True


@contextmanager
def names_and_shapes_only() -> Iterator[None]:
    """Inside, parameters that a scope lacks are made without drawing their values."""
    global _initialise
    _initialise = False
    try:
        yield
    finally:
        _initialise = True


def parameter(
    name: str, shape: tuple[int, ...], init: BaseInitializer, learned: bool = True
) -> nn.Variable:
    """The parameter `name` of the current scope, made by `init` where the scope lacks it.

    One that is not `learned` is made with `need_grad` off: no solver moves it.

    Unlike `get_parameter_or_create`, this gives the registered Variable itself (so that `nn.grad`
    finds it) and leaves `need_grad` as it is (so that building a graph again does not unfreeze it).
    """
    if get_parameter(name) is None:
        get_parameter_or_create(name, shape, init if _initialise else None, need_grad=learned)
    return get_parameter(name)


def affine(x: nn.Variable, w_OD: nn.Variable, b_O: nn.Variable | None = None) -> nn.Variable:
    """x @ w_OD.T + b_O over the last axis of `x` (..., D) -> (..., O)."""
    out, width = w_OD.shape
    flat = F.reshape(x, (1, -1, width))
    y = F.batch_matmul(flat, F.reshape(w_OD, (1, out, width)), transpose_b=True)
    if b_O is not None:
        y = y + F.reshape(b_O, (1, 1, out))
    return F.reshape(y, (*x.shape[:-1], out))


def linear(
    x: nn.Variable,
    out: int,
    scope: str,
    w_init: BaseInitializer | None = None,
    b_init: BaseInitializer | None = None,
) -> nn.Variable:
    """An affine layer with the parameters `scope`/W (O, D) and `scope`/b (O,)."""
    width = x.shape[-1]
    # torch.nn.Linear's own initialisation: uniform within 1 / sqrt(fan in)
    uniform = UniformInitializer((-1 / math.sqrt(width), 1 / math.sqrt(width)))
    with nn.parameter_scope(scope):
        w_OD = parameter("W", (out, width), w_init or uniform)
        b_O = parameter("b", (out,), b_init or uniform)
        adapters = low_rank("W")
    y = affine(x, w_OD, b_O)
    return y if adapters is None else y + adapted(x, *adapters[0])


def adapted(
    x: nn.Variable, a_rD: nn.Variable, b_Or: nn.Variable, scale: nn.Variable
) -> nn.Variable:
    """What an adapter adds to an affine layer's result, see `nnclip.graph.lora`."""
    y = affine(affine(x, a_rD), b_Or)
    return y * F.reshape(scale, (1,) * y.ndim)


def projection_matrix(width: int, embed: int, name: str) -> nn.Variable:
    """The parameter `name` (D, E) that features are multiplied by."""
    return parameter(name, (width, embed), NormalInitializer(width**-0.5))


def projected(x_ND: nn.Variable, embed: int, kind: str, name: str) -> nn.Variable:
    """Features (N, D) -> (N, E).

    Args:
        x_ND: the features.
        embed: E.
        kind: "matrix" for the parameter `name` (D, E), "linear" for `name`/W (E, D) and `name`/b,
            "mlp" for `name`/c_fc/W (2E, D) and b, GELU and the parameter `name`/proj (2E, E),
            "none" where D is E.
        name: of the parameter.
    """
    if kind == "mlp":
        x_ND, name = gelu(linear(x_ND, 2 * embed, f"{name}/c_fc")), f"{name}/proj"
    n, width = x_ND.shape
    if kind == "none":
        return x_ND
    if kind == "linear":
        return linear(x_ND, embed, name)
    proj_DE = projection_matrix(width, embed, name)
    x_1ND = F.reshape(x_ND, (1, n, width))
    return F.reshape(F.batch_matmul(x_1ND, F.reshape(proj_DE, (1, width, embed))), (n, embed))


def layer_norm(x: nn.Variable, scope: str, eps: float) -> nn.Variable:
    """Layer normalisation over the last axis with the parameters `scope`/W (gain) and `scope`/b."""
    width = x.shape[-1]
    with nn.parameter_scope(scope):
        gain, bias = parameter("W", (width,), ONE), parameter("b", (width,), ZERO)
    shape = (1,) * (x.ndim - 1) + (width,)
    batch_axis = tuple(range(x.ndim - 1))
    return F.layer_normalization(
        x, F.reshape(bias, shape), F.reshape(gain, shape), batch_axis=batch_axis, eps=eps
    )


def quick_gelu(x: nn.Variable) -> nn.Variable:
    """x * sigmoid(1.702 x), the activation of OpenAI's models."""
    return x * F.sigmoid(1.702 * x)


def gelu(x: nn.Variable) -> nn.Variable:
    """The exact GELU. `F.gelu` is its tanh approximation, which is off by up to 4e-4."""
    return 0.5 * x * (1.0 + F.erf(x * (1 / math.sqrt(2))))


def gelu_tanh(x: nn.Variable) -> nn.Variable:
    """GELU's approximation by tanh, as SigLIP 2 has it."""
    return F.gelu(x)


def silu(x: nn.Variable) -> nn.Variable:
    """x * sigmoid(x), which makes a gated MLP a SwiGLU."""
    return F.swish(x)


ACTIVATIONS: dict[str, Callable[[nn.Variable], nn.Variable]] = {
    "quick_gelu": quick_gelu,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "relu": F.relu,
    "silu": silu,
}


def causal_mask(length: int) -> nn.Variable:
    """(1, L, L): 0 where a token may look, MASKED where it would see a later one."""
    return nn.Variable.from_numpy_array(np.triu(np.full((1, length, length), MASKED, "f4"), 1))


def split_heads(x_NLD: nn.Variable, heads: int) -> nn.Variable:
    """(N, L, D) -> (N, H, L, K)."""
    n, length, width = x_NLD.shape
    return F.transpose(F.reshape(x_NLD, (n, length, heads, width // heads)), (0, 2, 1, 3))


def _biases(stacked_b: nn.Variable, width: int, key_bias: bool) -> list[nn.Variable | None]:
    """Those of queries, keys and values; a part that nothing reads would be an output in an NNP."""
    if key_bias:
        return list(F.split(F.reshape(stacked_b, (3, width))))
    return [stacked_b[:width], None, stacked_b[2 * width :]]


def attention(
    x_NLD: nn.Variable,
    heads: int,
    *,
    rows: Callable[[nn.Variable], nn.Variable],
    mask: nn.Variable | None,
    init: tuple[BaseInitializer, BaseInitializer] | tuple[None, None],
    key_bias: bool = True,
    norm_eps: float | None = None,
    turns_1LC: Turns | None = None,
    attend: Attend | None = None,
) -> nn.Variable:
    """Multi-head self-attention of the tokens that `rows` selects to all tokens of `x_NLD`.

    Args:
        x_NLD: the normalised tokens.
        heads: number of heads; divides D.
        rows: picks the tokens that ask, (N, L, D) -> (N, M, D).
        mask: added to the scores, broadcastable to (N, H, M, L), or None.
        init: initialisers of in_proj_W and out_proj/W; None for torch's own.
        key_bias: whether keys have a bias; without, the middle third of in_proj_b is not read.
        norm_eps: epsilon of the norm before out_proj, None where there is none.
        turns_1LC: by which queries and keys are turned, None where they are not.
        attend: in the place of the usual scores and their mask, see `Attend`.

    Returns: (N, M, D).
    """
    width = x_NLD.shape[-1]
    # torch.nn.MultiheadAttention's own initialisation: Xavier over the stacked matrix
    xavier = UniformInitializer((-math.sqrt(6 / (4 * width)), math.sqrt(6 / (4 * width))))
    stacked_w = parameter("in_proj_W", (3 * width, width), init[0] or xavier)
    stacked_b = parameter("in_proj_b", (3 * width,), ZERO)
    adapters = low_rank("in_proj_W")
    w = list(F.split(F.reshape(stacked_w, (3, width, width))))
    b = _biases(stacked_b, width, key_bias)
    if turns_1LC is not None:
        for stacked in (w, b):
            stacked[:2] = [x if x is None else halves_first(x, heads) for x in stacked[:2]]

    def projection(x: nn.Variable, at: int) -> nn.Variable:
        y = affine(x, w[at], b[at])
        if adapters is not None:
            a_rD, b_Dr, scale = adapters[at]
            if turns_1LC is not None and at < 2:
                b_Dr = halves_first(b_Dr, heads)
            y = y + adapted(x, a_rD, b_Dr, scale)
        return split_heads(y, heads)

    # Three products beat one product and three slices of its result.
    q_NHMK = projection(rows(x_NLD), 0)
    k_NHLK = projection(x_NLD, 1)
    v_NHLK = projection(x_NLD, 2)
    if turns_1LC is not None:
        cos_1LC, sin_1LC = turns_1LC
        q_NHMK = turned(q_NHMK, (rows(cos_1LC), rows(sin_1LC)))
        k_NHLK = turned(k_NHLK, turns_1LC)
    y_NHMK = (attend or _attend(mask))(q_NHMK, k_NHLK, v_NHLK)
    n, _, m, _ = y_NHMK.shape
    y_NMD = F.reshape(F.transpose(y_NHMK, (0, 2, 1, 3)), (n, m, width))
    if norm_eps is not None:
        y_NMD = layer_norm(y_NMD, "ln", norm_eps)
    return linear(y_NMD, width, "out_proj", init[1], ZERO)


def _attend(mask: nn.Variable | None) -> Attend:
    """As Vaswani et al. (2017) define it."""

    def usual(q_NHMK: nn.Variable, k_NHLK: nn.Variable, v_NHLK: nn.Variable) -> nn.Variable:
        scale = q_NHMK.shape[-1] ** -0.5
        scores_NHML = F.batch_matmul(q_NHMK * scale, k_NHLK, transpose_b=True)
        if mask is not None:
            scores_NHML = scores_NHML + mask
        weights_NHML = watched("attention", F.softmax(scores_NHML, axis=3))
        return F.batch_matmul(weights_NHML, v_NHLK)

    return usual
