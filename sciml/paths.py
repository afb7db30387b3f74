"""Paths of stochastic Systems, natively or by torchsde."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float

from sciml.errors import DataError, ModelError, SolveError
from sciml.lowering.diffusion import Diffusion
from sciml.lowering.networks import weights_of
from sciml.lowering.vector_field import VectorField
from sciml.native.euler_maruyama import euler_maruyama
from sciml.solvers import Status
from sciml.solvers.stochastic import AbstractStochasticSolver, EulerMaruyama, solve_sde

_diffusions: WeakKeyDictionary[VectorField, Diffusion] = WeakKeyDictionary()


def diffusion_of(field: VectorField) -> Diffusion:
    """The noise of a compiled System, made once."""
    if field not in _diffusions:
        _diffusions[field] = Diffusion(field)
    return _diffusions[field]


def stochastic_paths(
    field: VectorField,
    p: Float[np.ndarray, "*path parameter"],
    y0: Float[np.ndarray, "*path state"],
    times: Float[np.ndarray, " time"],
    *,
    paths: int | None,
    solver: Any,
    seed: int,
    backend: str,
    throw: bool,
) -> tuple[np.ndarray, tuple[Status, ...], str, np.ndarray]:
    """Paths of a stochastic System from each set of values.

    Args:
        field: The compiled System.
        p, y0: Values of parameters and initial states; a row for each set where they differ.
        times: Increasing.
        paths: For each set.
        solver: A stochastic method; by default Euler-Maruyama with a thousandth of the whole time, and no more than a
            tenth of the shortest interval, as its step.
        seed: Of the Wiener processes.
        backend: "auto", "native" (Euler-Maruyama alone) or "torch".
        throw: Raise where a path leaves the finite numbers.

    Returns:
        States (path, time, state), the paths of each set together; how each path ended; what computed them; parameters.
    """
    if field.system.inputs or field.system.events:
        what = "inputs" if field.system.inputs else "events"
        raise ModelError(f"a stochastic System with `{what}` is not simulated yet: leave out one of the two.")
    count = 1 if paths is None else paths
    if not isinstance(count, int) or count < 1:
        raise DataError(f"`paths={paths!r}` must be a whole number from 1.")
    if (np.diff(times) <= 0).any():
        raise DataError("the times of a stochastic System must increase: Wiener processes run forwards.")
    gaps = np.diff(times)
    default = min(float(times[-1] - times[0]) / 1000, float(gaps.min()) / 10) if len(gaps) else 1.0
    solver = EulerMaruyama(default) if solver is None else solver
    if not isinstance(solver, AbstractStochasticSolver):
        raise ModelError(
            f"`solver={solver!r}` is for ordinary equations, and the System has noise. Use `sciml.stochastic.EulerMaruyama"
            "(step=...)` or another of that module."
        )
    single = y0.ndim == 1 and paths is None
    y0 = np.repeat(np.atleast_2d(y0), count, axis=0)
    p = np.repeat(p, count, axis=0) if p.ndim > 1 else p
    diffusion = diffusion_of(field)
    reason = _reason_against(diffusion, solver, backend)
    if reason is not None and backend == "native":
        raise ModelError(f"this cannot be simulated natively: {reason}. Use `backend='auto'`.")
    if reason is None:
        weights = np.concatenate([np.zeros(0), *(weights_of(network) for network in field.networks)])
        numbers = np.concatenate([p, np.broadcast_to(weights, (*p.shape[:-1], len(weights)))], axis=-1)
        native = diffusion.native
        states, ends = euler_maruyama(
            native.model, native.rows, native.columns, native.processes, numbers, y0, times, solver.step, seed
        )
    else:
        states, ends = _by_torch(field, diffusion, p, y0, times, solver, seed)
    lost = ends < times[-1]
    if throw and lost.any():
        first = int(np.argmax(lost))
        raise SolveError(
            f"{int(lost.sum())} of {len(states)} paths left the finite numbers, path {first} behind t = {ends[first]:g}. "
            f"Take smaller steps (`{type(solver).__name__}(step=...)`), or pass `throw=False`."
        )
    status = (Status.SUCCESS,) * len(lost)
    if lost.any():
        status = tuple(Status.NON_FINITE if bad else Status.SUCCESS for bad in lost)
    return states[0] if single else states, status, "native" if reason is None else f"torch ({reason})", p


def _reason_against(diffusion: Diffusion, solver: AbstractStochasticSolver, backend: str) -> str | None:
    """Why this cannot run natively, or None."""
    if backend == "torch":
        return "it was asked for"
    if type(solver) is not EulerMaruyama:
        return f"`{type(solver).__name__}` is not native; `EulerMaruyama` is"
    try:
        diffusion.native  # noqa: B018
    except ModelError as error:
        return str(error)
    return None


@torch.no_grad()
def _by_torch(field: VectorField, diffusion: Diffusion, p: np.ndarray, y0: np.ndarray, times, solver, seed: int):
    values = torch.as_tensor(p)
    matrix = (
        diffusion.diagonal if diffusion.kind == "diagonal" and diffusion.processes == y0.shape[1] else diffusion.matrix
    )
    kind = diffusion.kind if matrix != diffusion.matrix or diffusion.kind == "additive" else "general"
    ys = solve_sde(
        lambda t, y: field(t, y, values),
        lambda t, y: matrix(t, y, values),
        torch.as_tensor(y0),
        torch.as_tensor(times),
        noise=kind,
        processes=diffusion.processes,
        solver=solver,
        seed=seed,
        stratonovich=lambda t, y: diffusion.stratonovich(t, y, values),
    )
    states = ys.numpy().copy()
    broken = ~np.isfinite(states).all(axis=2)
    broken = np.maximum.accumulate(broken, axis=1)
    states[broken] = np.nan
    good = np.where(broken, -np.inf, times).max(axis=1)
    return states, good
