"""How parameters move: one interface over the engine's AdamW and NNabla's own solvers."""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from nnclip.engine import AdamW
from nnclip.engine.contexts import float_context
from nnclip.errors import CheckpointError
from nnclip.nnabla import F, nn
from nnclip.training.config import TrainConfig


class Optimiser(Protocol):
    """Moves parameters against their gradients."""

    def update(self, lr: float, *, scale: float = 1.0) -> None:
        """One step at learning rate `lr`, with the gradients times `scale`."""
        ...

    def gradient_norm(self) -> float:
        """The Euclidean norm of all gradients together."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Everything that an update depends on, but for the parameters."""
        ...

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from a `state`; CheckpointError if it is not of this optimiser."""
        ...


def decays(name: str, parameter: nn.Variable) -> bool:
    """Matrices decay; gains, biases, norms and the scalars of the loss do not."""
    return parameter.ndim > 1


def make_optimiser(
    config: TrainConfig,
    parameters: dict[str, nn.Variable],
    on_cpu: bool,
    threads: int | None = None,
    factors: Mapping[str, float] | None = None,
) -> Optimiser:
    """The optimiser that the settings ask for.

    Args:
        config: the settings.
        parameters: by name.
        on_cpu: whether they lie in main memory.
        threads: of the processor, None for all.
        factors: see `rates.rate_factors`; none for one rate.
    """
    betas = (config.beta1, config.beta2)
    if config.solver == "AdamW" and on_cpu:
        return AdamW(
            parameters,
            betas=betas,
            eps=config.eps,
            weight_decay=config.decay,
            decays=decays,
            factors=factors,
            threads=threads,
        )
    return NnablaSolver(config.solver, parameters, betas, config.eps, config.decay, factors)


class NnablaSolver:
    """NNabla's Adam, AdamW, Lamb or Lars, in the context that is current, with equal states.

    NNabla's AdamW adds epsilon before the bias correction. Here it is given the epsilon that makes
    the step torch's: eps * sqrt(1 - beta2^t), by a new solver for each step that takes over the
    moments.
    """

    def __init__(
        self,
        name: str,
        parameters: Mapping[str, nn.Variable],
        betas: tuple[float, float],
        eps: float,
        decay: float,
        factors: Mapping[str, float] | None = None,
    ) -> None:
        """Make the states, zero.

        Args:
            name: `Adam`, `AdamW`, `Lamb` or `Lars`.
            parameters: by name; those without `need_grad` are left alone.
            betas: of the moments; Lars takes the first as its momentum.
            eps: against division by zero.
            decay: of matrices, in torch's units (times the learning rate); for `Adam` it is added
                to the gradient.
            factors: what multiplies the learning rate, by parameter name; 1 for others.
        """
        self._name, self._betas, self._eps = name, betas, eps
        trained = {n: v for n, v in parameters.items() if v.need_grad}
        kinds = {n: (decays(n, v), (factors or {}).get(n, 1.0)) for n, v in trained.items()}
        self._groups = [
            ({n: v for n, v in trained.items() if kinds[n] == kind}, decay * kind[0], kind[1])
            for kind in sorted(set(kinds.values()), reverse=True)
        ]
        self._trained, self._steps = trained, 0
        self._solvers = [self._solver(1.0) for _ in self._groups]
        for solver, (group, _, _) in zip(self._solvers, self._groups, strict=True):
            solver.set_parameters(group)

    def _solver(self, lr: float) -> Any:
        import nnabla.solvers as S

        if self._name == "Lars":
            return S.Lars(lr, self._betas[0], eps=self._eps)
        if self._name == "Lamb":
            return S.Lamb(lr, *self._betas, eps=self._eps, bias_correction=True)
        eps = self._eps
        if self._name == "Adam":
            return S.Adam(lr, *self._betas, eps)
        eps *= math.sqrt(1 - self._betas[1] ** (self._steps + 1))
        return S.AdamW(lr, *self._betas, eps, 0.0)

    def update(self, lr: float, *, scale: float = 1.0) -> None:
        """See `Optimiser`."""
        for number, (group, decay, factor) in enumerate(self._groups):
            solver, rate = self._solvers[number], lr * factor
            if self._name == "AdamW":
                states = solver.get_states()
                solver = self._solvers[number] = self._solver(rate)
                solver.set_parameters(group)
                solver.set_states(states)
                decay *= rate  # NNabla leaves it as it is, torch multiplies by the rate
            solver.set_learning_rate(rate)
            if scale != 1.0:
                solver.scale_grad(scale)
            if decay:
                solver.weight_decay(decay)
            solver.update()
        self._steps += 1

    def gradient_norm(self) -> float:
        """See `Optimiser`."""
        with nn.auto_forward(), nn.context_scope(float_context()):  # squares overflow float16
            squares = [F.sum(v.grad**2) for v in self._trained.values()]
            return float(np.sqrt(F.add_n(*squares).data))

    def state(self) -> dict[str, np.ndarray]:
        """See `Optimiser`."""
        arrays = {"steps": np.array(self._steps)}
        for solver in self._solvers:
            for name, state in solver.get_states().items():
                arrays |= {f"{name}/{k}": np.array(v.d) for k, v in state.pstate.items()}
        return arrays

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """See `Optimiser`."""
        own = self.state()
        if {k: a.shape for k, a in own.items()} != {k: a.shape for k, a in arrays.items()}:
            raise CheckpointError(
                f"the optimiser's state is not that of {self._name} for these parameters; resume "
                "with the --solver that the run began with"
            )
        self._steps = int(arrays["steps"])
        for solver in self._solvers:
            states = solver.get_states()
            for name, state in states.items():
                state.t = self._steps
                for key, variable in state.pstate.items():
                    variable.d = arrays[f"{name}/{key}"]
            solver.set_states(states)


class LossScale:
    """The factor that lets half precision hold small gradients: halved when they overflow."""

    MOST = 50  # overflows in a row

    def __init__(self, value: float = 65536.0, patience: int = 2000) -> None:
        """Begin.

        Args:
            value: the first factor; 1 with a `patience` of 0 never changes.
            patience: steps without overflow before the factor is doubled.
        """
        self.value, self.patience, self.good = value, patience, 0
        self._overflows = 0

    @property
    def lost(self) -> bool:
        """Whether gradients overflow whatever the factor is."""
        return self._overflows > (self.MOST if self.patience else 0)

    def fits(self, norm: float) -> bool:
        """Whether gradients of this norm are to be used; adapts the factor."""
        self._overflows = 0 if math.isfinite(norm) else self._overflows + 1
        if self.patience == 0:
            return math.isfinite(norm)
        if not math.isfinite(norm):
            self.value, self.good = max(self.value / 2, 1.0), 0
            return False
        self.good += 1
        if self.good % self.patience == 0:
            self.value *= 2
        return True
