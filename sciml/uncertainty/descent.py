"""Minimizing again from a point close to the minimum, in coordinates that the curvature has made round."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

Function = Callable[[Float[np.ndarray, " n"]], tuple[float, Float[np.ndarray, " n"]]]


def descend(
    function: Function, vector: Float[np.ndarray, " n"], factor: Float[np.ndarray, "n n"], steps: int = 200
) -> tuple[float, Float[np.ndarray, " n"]]:
    """Value and place of a minimum of `function(vector + factor @ z)` near z = 0; a failed trial is stepped back from.

    Args:
        function: Value and gradient, `inf` where they cannot be computed.
        vector: Where to begin.
        factor: L with inverse curvature L Lᵀ.
        steps: Iterations of L-BFGS-B.
    """
    best = {"value": np.inf, "vector": vector, "worst": 0.0}

    def rounded(z):
        trial = vector + factor @ z
        value, gradient = function(trial)
        if not np.isfinite(value):
            return best["worst"] + 10.0 * (1.0 + abs(best["worst"])), np.zeros_like(z)
        best["worst"] = max(best["worst"], value) if np.isfinite(best["value"]) else value
        if value < best["value"]:
            best["value"], best["vector"] = value, trial
        return value, factor.T @ gradient

    options = {"maxiter": steps, "maxfun": 10 * steps, "maxcor": 20, "ftol": 1e-12, "gtol": 1e-4}
    minimize(rounded, np.zeros(factor.shape[1]), jac=True, method="L-BFGS-B", options=options)
    return best["value"], best["vector"]
