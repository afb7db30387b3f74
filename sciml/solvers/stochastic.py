"""Stochastic differential equations by torchsde: the one file that knows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sciml.errors import DataError, ModelError

Coefficient = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class AbstractStochasticSolver:
    """A method for Itô or Stratonovich equations with steps of equal length.

    Args:
        step: Length of a step, in the model's unit of time.

    Raises:
        ModelError: A step that is not positive.
    """

    step: float = 1e-2
    kinds: ClassVar[tuple[str, ...]] = ("diagonal", "additive", "general")
    method: ClassVar[str] = ""

    def __post_init__(self):
        if not 0 < self.step < float("inf"):
            raise ModelError(f"`step={self.step}` of `{type(self).__name__}` must be a positive number.")


@dataclass(frozen=True)
class EulerMaruyama(AbstractStochasticSolver):
    """Euler-Maruyama: strong order 1/2 (1 for additive noise), weak order 1, for any noise.

    Reference:
        Kloeden, Platen (1992), section 10.2.
    """

    method = "euler"


@dataclass(frozen=True)
class Milstein(AbstractStochasticSolver):
    """Milstein's method: strong and weak order 1, for diagonal and additive noise.

    Reference:
        Kloeden, Platen (1992), section 10.3.
    """

    kinds = ("diagonal", "additive")
    method = "milstein"


@dataclass(frozen=True)
class SRK(AbstractStochasticSolver):
    """Rößler's stochastic Runge-Kutta method: strong order 3/2, for diagonal and additive noise.

    Reference:
        Rößler (2010), SIAM J. Numer. Anal. 48, 922-952, SRA1 and SRI2.
    """

    kinds = ("diagonal", "additive")
    method = "srk"


@dataclass(frozen=True)
class ReversibleHeun(AbstractStochasticSolver):
    """The reversible Heun method of the Stratonovich equation, whose adjoint is exact; strong order 1/2 for any noise.

    An Itô equation is solved as the Stratonovich equation with the same solutions, whose drift the caller gives.

    Reference:
        Kidger, Foster, Li, Lyons (2021), arXiv:2105.13493.
    """

    method = "reversible_heun"


class _Equation(nn.Module):
    """Drift and diffusion as torchsde asks for them."""

    def __init__(self, drift: Coefficient, diffusion: Coefficient, noise: str, stratonovich: bool, owner: Any):
        super().__init__()
        self.noise_type = noise
        self.sde_type = "stratonovich" if stratonovich else "ito"
        # A module among the owners makes its weights known to the adjoint.
        self.owner = owner if isinstance(owner, nn.Module) else None
        self._drift, self._diffusion = drift, diffusion

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        return self._drift(t, y)

    def g(self, t: Tensor, y: Tensor) -> Tensor:
        return self._diffusion(t, y)


def solve_sde(
    drift: Coefficient,
    diffusion: Coefficient,
    y0: Float[Tensor, " path state"],
    ts: Float[Tensor, " time"],
    *,
    noise: str,
    processes: int,
    solver: AbstractStochasticSolver,
    seed: int = 0,
    stratonovich: Coefficient | None = None,
    adjoint: bool = False,
    owner: Any = None,
    motion: Any = None,
) -> Float[Tensor, " path time state"]:
    r"""Paths of :math:`dy = f(t, y)\,dt + G(t, y)\,dW` in the sense of Itô.

    Args:
        drift: f, on a batch of states.
        diffusion: G: (path, state) for diagonal noise, (path, state, process) otherwise.
        y0: Initial states; a row for each path.
        ts: Output times, increasing, the first one the initial time.
        noise: "diagonal", "additive" (G depends on time alone) or "general".
        processes: Number of Wiener processes.
        solver: `EulerMaruyama`, `Milstein`, `SRK` or `ReversibleHeun`.
        seed: Of the Wiener processes: with the same seed they are the same, whatever the steps.
        stratonovich: Drift of the Stratonovich equation with the same solutions, for `ReversibleHeun`.
        adjoint: Gradients by the continuous adjoint, in memory that does not grow, of what is found in `owner`; otherwise
            backpropagation through the steps.
        owner: The module whose parameters drift and diffusion depend on.

        motion: The Wiener processes themselves, as torchsde's `BrownianInterval`, instead of a seed.

    Raises:
        ModelError: The solver is not for this kind of noise.
        DataError: Times that do not increase.
    """
    import torchsde

    if noise not in solver.kinds:
        raise ModelError(
            f"`{type(solver).__name__}` is for {' and '.join(solver.kinds)} noise, and this is {noise}. Use "
            "`EulerMaruyama()` or `ReversibleHeun()`."
        )
    if ts.ndim != 1 or len(ts) < 1 or not (ts[1:] > ts[:-1]).all():
        raise DataError("the times of a stochastic system must increase strictly: Wiener processes run forwards.")
    if len(ts) == 1:
        return y0[:, None]
    reversible = isinstance(solver, ReversibleHeun)
    if reversible and noise != "additive":
        if stratonovich is None:
            raise ModelError("`ReversibleHeun` solves Stratonovich equations: give their drift, `stratonovich=`.")
        drift = stratonovich
    equation = _Equation(drift, diffusion, noise, reversible, owner)
    motion = (
        motion
        if motion is not None
        else torchsde.BrownianInterval(
            t0=float(ts[0]),
            t1=float(ts[-1]),
            size=(len(y0), processes),
            dtype=y0.dtype,
            device=y0.device,
            entropy=seed,
            levy_area_approximation="space-time" if isinstance(solver, SRK) else "none",
        )
    )
    if adjoint:
        method = "adjoint_reversible_heun" if reversible else None
        ys = torchsde.sdeint_adjoint(
            equation, y0, ts, bm=motion, method=solver.method, dt=solver.step, adjoint_method=method
        )
    else:
        ys = torchsde.sdeint(equation, y0, ts, bm=motion, method=solver.method, dt=solver.step)
    return torch.as_tensor(ys).transpose(0, 1)
