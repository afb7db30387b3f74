"""SciPy's solvers for initial value problems."""

import numpy as np
import torch
from jaxtyping import Float
from scipy.integrate import solve_ivp
from torch import Tensor

from sciml.dropin.options import ScipyOptions
from sciml.dropin.problem import Problem
from sciml.errors import DataError, SolveError


@torch.no_grad()
def solve_scipy(problem: Problem, options: ScipyOptions) -> Float[Tensor, "time state"]:
    """States at the problem's times, without a graph.

    Args:
        problem: What to solve; its state is real.
        options: Which of SciPy's solvers, and its limits.

    Raises:
        SolveError: SciPy's solver gave up; its message is told.
    """
    y0, ts = problem.flat.detach(), problem.ts
    if y0.is_complex():
        raise DataError("`scipy_solver` takes real states only. Use `dopri5`, or `torch.view_as_real`.")
    if len(ts) == 1:
        return y0[None]

    def right_hand_side(t: float, y: np.ndarray) -> np.ndarray:
        return problem.field(t, torch.as_tensor(y, dtype=y0.dtype, device=y0.device)).double().cpu().numpy()

    # Only LSODA knows a smallest step; the others would warn.
    limits = {"min_step": options.min_step} if options.solver == "LSODA" else {}
    found = solve_ivp(
        right_hand_side,
        (ts[0], ts[-1]),
        y0.double().cpu().numpy(),
        t_eval=ts,
        method=options.solver,
        rtol=float(problem.rtol) if np.ndim(problem.rtol) == 0 else np.asarray(problem.rtol).reshape(-1),
        atol=float(problem.atol) if np.ndim(problem.atol) == 0 else np.asarray(problem.atol).reshape(-1),
        max_step=float(options.max_step),
        **limits,
    )
    if not found.success:
        reached = found.t[-1] if len(found.t) else ts[0]
        raise SolveError(f"SciPy's `{options.solver}` gave up behind t = {reached:.6g}: {found.message}")
    return torch.as_tensor(found.y.T.copy(), dtype=y0.dtype, device=y0.device)
