"""Lyapunov exponents: how fast neighbors part, on flows and maps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sympy as sp
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.dynamics.evolution import Analyzed, Evolution
from sciml.errors import DataError, ModelError, SolveError
from sciml.lowering.slopes import flattened, slope
from sciml.lowering.vector_field import VectorField, compile, trained_system
from sciml.simulation import simulate
from sciml.solvers import AbstractSolver, Tsit5, solve
from sciml.symbolic.system import System


@dataclass(frozen=True, eq=False)
class LyapunovSpectrum:
    """Lyapunov exponents of one trajectory or of several.

    Attributes:
        exponents: Largest first, per unit of time or per step.
        errors: Standard errors of these averages over time, from batch means; they know nothing of a transient that
            was too short.
        history: Running averages after each interval.
        duration: Time averaged over, or number of steps.
    """

    exponents: Float[np.ndarray, "*trajectory exponent"]
    errors: Float[np.ndarray, "*trajectory exponent"]
    history: Float[np.ndarray, "*trajectory interval exponent"]
    duration: float

    @property
    def kaplan_yorke(self) -> Float[np.ndarray, "*trajectory"]:
        """The Kaplan-Yorke dimension of the attractor; see `kaplan_yorke_dimension`."""
        return np.apply_along_axis(kaplan_yorke_dimension, -1, self.exponents)


def lyapunov_spectrum(
    analyzed: Analyzed,
    y0: Any = None,
    *,
    duration: float,
    interval: float = 1.0,
    transient: float = 0.0,
    count: int | None = None,
    solver: AbstractSolver | None = None,
    rtol: float = 1e-8,
    atol: float = 1e-8,
) -> LyapunovSpectrum:
    r"""Lyapunov exponents of a flow or a map, largest first.

    An orthonormal frame V is carried along by :math:`\dot V = J(y) V` (of a map :math:`V \mapsto J(y) V`) and
    orthonormalized anew by QR after each interval; the exponents are the mean logarithms of what R holds on its
    diagonal, per unit of time. A System's Jacobian comes from its equations, learned functions included, and runs
    natively; a torch callable's from autograd, hundreds of times slower: follow many trajectories side by side there.

    Args:
        analyzed: A System, a compiled field, a callable `field(t, y)`, or `Map(step)`.
        y0: Initial states (state) or (batch, state), or a dict by name; each row is followed on its own. None takes
            those of the System.
        duration: Time to average over, after the transient, in the model's unit; for a map a number of steps. The error
            falls as the square root of it, for a regular motion in proportion.
        interval: Between two orthonormalizations: short enough that the frame does not collapse, :math:`e^{\Delta \lambda
            \cdot interval} \ll 10^{16}`.
        transient: Time to run before, so that the trajectory reaches its attractor and the frame its directions.
        count: How many exponents, from the largest; all when None.
        solver: Method for a flow; `Tsit5()` when None.
        rtol, atol: Its tolerances.

    Returns:
        Exponents, their standard errors, and the running averages.

    Raises:
        SolveError: The trajectory left the finite numbers.
        DataError, ModelError: A duration, interval or count that makes no sense.

    Example:
        >>> from sciml import models
        >>> found = lyapunov_spectrum(models.henon(), duration=2000, transient=100)
        >>> bool(abs(found.exponents[0] - 0.419) < 0.02), round(float(found.exponents.sum()), 6)  # log(0.3)
        (True, -1.203973)

    Reference:
        Benettin, Galgani, Giorgilli, Strelcyn (1980), Meccanica 15, 9-20.
    """
    evolution = Evolution.of(analyzed)
    y = evolution.starts(y0)
    given = {"duration": duration, "interval": interval}
    for name, value in given.items():
        if not (np.isfinite(value) and value > 0):
            raise DataError(f"`{name}={value}` must be positive.")
    if evolution.discrete and interval != int(interval):
        raise DataError(f"`interval={interval}` of a map must be a whole number of steps.")
    size = y.shape[-1]
    count = size if count is None else count
    if not 1 <= count <= size:
        raise ModelError(f"`count={count}`: there are between 1 and {size} exponents, one for each state.")
    begin, turns = int(np.ceil(transient / interval)), max(2, round(duration / interval))
    if evolution.discrete:
        advance = _step_of_map(evolution, int(interval))
    elif evolution.field is not None:
        advance = _step_of_system(evolution.field, count, interval, solver, rtol, atol)
    else:
        advance = _step_of_callable(evolution, count, interval, solver, rtol, atol)
    frame = torch.eye(size, dtype=y.dtype)[:, :count].expand(len(y), size, count)
    growth = np.empty((turns, len(y), count))
    for turn in range(-begin, turns):
        y, frame = advance((turn + begin) * interval, y, frame)
        if not (torch.isfinite(y).all() and torch.isfinite(frame).all()):
            raise SolveError(
                f"the trajectory left the finite numbers before t = {(turn + begin + 1) * interval:g}: it has no "
                "Lyapunov exponents. Start on the attractor, or shorten `interval`."
            )
        frame, r = torch.linalg.qr(frame)
        if turn >= 0:
            growth[turn] = torch.log(torch.diagonal(r, dim1=-2, dim2=-1).abs()).numpy() / interval
    rates = np.moveaxis(growth, 0, 1)
    history = np.cumsum(rates, axis=1) / np.arange(1, turns + 1)[:, None]
    errors = _batch_means(rates)
    if y0 is None or np.ndim(next(iter(y0.values())) if isinstance(y0, dict) else y0[0]) == 0:
        history, errors = history[0], errors[0]
    return LyapunovSpectrum(history[..., -1, :], errors, history, turns * interval)


def kaplan_yorke_dimension(exponents: Float[np.ndarray, " exponent"]) -> float:
    r"""The dimension of an attractor that its Lyapunov exponents suggest.

    .. math:: D = k + \frac{\lambda_1 + \dots + \lambda_k}{|\lambda_{k+1}|},

    with k the largest number for which the sum is not negative.

    Args:
        exponents: All of them, or as many as it takes for their sum to fall below zero.

    Raises:
        DataError: The sum never falls below zero: the exponents left out decide, or there is no attractor.

    Example:
        >>> round(kaplan_yorke_dimension(np.array([0.9056, 0.0, -14.5723])), 3)
        2.062

    Reference:
        Kaplan, Yorke (1979), Lecture Notes in Mathematics 730, 204-227.
    """
    ordered = np.sort(np.asarray(exponents, dtype=float))[::-1]
    sums = np.cumsum(ordered)
    if not (sums < 0).any():
        raise DataError(f"the exponents {ordered} never add up to less than zero: give more of them.")
    k = int(np.argmax(sums < 0))
    return float(k + (sums[k - 1] if k else 0.0) / abs(ordered[k])) if k else 0.0


def variational_system(system: System, count: int) -> System:
    r"""A System with small deviations carried along: :math:`\dot x = f(x)`, :math:`\dot v_k = J(x) v_k`.

    Args:
        system: The equations.
        count: How many deviations.

    Returns:
        The System with states `x` and `x_deviation_k` behind them, deviation after deviation.

    Example:
        >>> x = sp.Symbol("x", real=True)
        >>> variational_system(System({x: -x**2}), 1)
        System(x' = -x**2, x_deviation_0' = -2*x*x_deviation_0)
    """
    equations = dict(system.equations)
    rows = {x: flattened(rhs) for x, rhs in system.equations.items()}
    jacobian = {x: {z: slope(rhs, z) for z in system.states} for x, rhs in rows.items()}
    for k in range(count):
        moved = {x: sp.Symbol(f"{x}_deviation_{k}", real=True) for x in system.states}
        for x, symbol in moved.items():
            equations[symbol] = sum((jacobian[x][z] * moved[z] for z in system.states), sp.S.Zero)
    return replace(system, equations=equations, observed={}, events=())


def _step_of_map(evolution: Evolution, steps: int):
    def advance(n: float, y: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
        for k in range(steps):
            frame = evolution.pushed(n + k, y, frame)
            y = evolution(n + k, y)
        return y, frame

    return advance


def _step_of_system(field: VectorField, count: int, interval: float, solver, rtol: float, atol: float):
    if field.system.events:
        raise ModelError("the System has events, behind which deviations jump: `replace(system, events=())`.")
    extended = variational_system(trained_system(field), count)
    compiled = compile(extended)

    def advance(t: float, y: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
        rows = torch.cat([y, frame.transpose(1, 2).flatten(1)], dim=1).numpy()
        ends = simulate(
            compiled, [t, t + interval], initial=dict(zip(extended.states, rows.T)), solver=solver, rtol=rtol, atol=atol
        ).states[:, -1]
        ends = torch.as_tensor(ends)
        size = y.shape[1]
        return ends[:, :size], ends[:, size:].reshape(len(y), count, size).transpose(1, 2)

    return advance


def _step_of_callable(evolution: Evolution, count: int, interval: float, solver, rtol: float, atol: float):
    def rates(t: Tensor, state: Tensor) -> Tensor:
        size = state.shape[1] // (count + 1)
        y, frame = state[:, :size], state[:, size:].reshape(len(state), size, count)
        moving = evolution.pushed(t, y, frame)
        return torch.cat([evolution(t, y), moving.flatten(1)], dim=1)

    def advance(t: float, y: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
        start = torch.cat([y, frame.flatten(1)], dim=1)
        times = torch.tensor([t, t + interval], dtype=y.dtype)
        with torch.no_grad():
            end = solve(rates, start, times, solver=solver or Tsit5(), rtol=rtol, atol=atol).ys[:, -1]
        return end[:, : y.shape[1]], end[:, y.shape[1] :].reshape(frame.shape)

    return advance


def _batch_means(rates: Float[np.ndarray, "trajectory interval exponent"]) -> np.ndarray:
    """Standard errors of averages over time, from the scatter of about the square root as many batches."""
    turns = rates.shape[1]
    batches = max(2, int(np.sqrt(turns)))
    length = turns // batches
    means = rates[:, : batches * length].reshape(len(rates), batches, length, -1).mean(axis=2)
    return means.std(axis=1, ddof=1) / np.sqrt(batches)
