"""What a forward process is: a linear SDE in SymPy with its Gaussian marginals in closed form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sympy as sp
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.diffusion.reversal import X, flow_drift, reverse_drift
from sciml.errors import DataError, ModelError
from sciml.lowering.program import lower
from sciml.lowering.torch_backend import torch_function
from sciml.symbolic.system import System

T = sp.Symbol("t", real=True)
LEVEL = sp.Symbol("sigma", positive=True)


@dataclass(frozen=True)
class Formulas:
    r"""A process :math:`dx = a(t)\,x\,dt + g(t)\,dw` with :math:`x_t \mid x_0 \sim N(m(t)\,x_0,\, s(t)^2)`, in SymPy.

    Args:
        drift: a(t) x, in the symbols `X` and `T`.
        diffusion: g(t).
        mean: m(t).
        std: s(t).
        time: The time at which the noise level s/m is `LEVEL`: the inverse of `sp.simplify(std / mean)`.
    """

    drift: sp.Expr
    diffusion: sp.Expr
    mean: sp.Expr
    std: sp.Expr
    time: sp.Expr


class AbstractProcess(ABC):
    r"""A forward process from data, at time `start`, to noise, at time `end`; the same for every component.

    Methods take times as tensors of any shape. The *noise level* is :math:`\sigma = s/m`; in the variables
    :math:`\hat x = x/m` and :math:`\sigma` all processes are one and the same, which samplers use.

    Attributes:
        start: The time of the data. Above zero where the score would be singular.
        end: The time at which a sample has been forgotten.
    """

    start: float
    end: float

    @property
    @abstractmethod
    def formulas(self) -> Formulas:
        """Drift, diffusion and marginals as SymPy expressions."""

    @cached_property
    def system(self) -> System:
        """The process as a System of one state, with noise."""
        return System({X: self.formulas.drift}, noise={X: self.formulas.diffusion}, time=T)

    @cached_property
    def _functions(self) -> dict[str, Callable[[Tensor], Tensor]]:
        f = self.formulas
        # Both drifts are linear in the state and in the score: their coefficients are functions of time alone.
        reverse, flow = reverse_drift(self.system), flow_drift(self.system)
        expressions = {
            "mean": f.mean,
            "std": f.std,
            "diffusion": f.diffusion,
            "level": f.std / f.mean,
            "reverse": (reverse.of_state, reverse.of_score),
            "flow": (flow.of_state, flow.of_score),
        }
        functions = {name: _function(value, T) for name, value in expressions.items()}
        return functions | {"time": _function(f.time, LEVEL)}

    def mean(self, t: Float[Tensor, ...]) -> Float[Tensor, ...]:
        """The factor m(t) of the data."""
        return self._functions["mean"](t)

    def std(self, t: Float[Tensor, ...]) -> Float[Tensor, ...]:
        """The standard deviation s(t) of the noise."""
        return self._functions["std"](t)

    def diffusion(self, t: Float[Tensor, ...]) -> Float[Tensor, ...]:
        """The diffusion coefficient g(t)."""
        return self._functions["diffusion"](t)

    def noise_level(self, t: Float[Tensor, ...]) -> Float[Tensor, ...]:
        """The noise level s/m."""
        return self._functions["level"](t)

    def time(self, level: Float[Tensor, ...]) -> Float[Tensor, ...]:
        """The time at which the noise level is reached."""
        return self._functions["time"](level)

    def reverse_coefficients(self, t: Float[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """The reverse SDE's drift as coefficients of the state and of the score."""
        return self._functions["reverse"](t).unbind(-1)

    def flow_coefficients(self, t: Float[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """The probability flow's drift as coefficients of the state and of the score."""
        return self._functions["flow"](t).unbind(-1)

    def perturb(self, x: Float[Tensor, " batch *shape"], t: Float[Tensor, " batch *ones"], noise: Tensor) -> Tensor:
        """Data `x` at time `t`, m(t) x + s(t) noise."""
        return self.mean(t) * x + self.std(t) * noise

    def checked_times(self, ts: Any) -> Float[Tensor, " time"]:
        """Falling times within the process.

        Raises:
            DataError: They leave the process, or do not fall.
        """
        times = torch.as_tensor(ts, dtype=torch.float64)
        if times.ndim != 1 or len(times) < 2 or not (times[1:] < times[:-1]).all():
            raise DataError(f"the time grid has shape {tuple(times.shape)}: give two or more times that fall strictly.")
        if times[0] > self.end or times[-1] < self.start:
            raise DataError(
                f"the time grid runs from {times[0]:g} to {times[-1]:g}, outside of the process `{self!r}`, which lies "
                f"between {self.start:g} and {self.end:g}."
            )
        return times

    def _check(self, **positive: float) -> None:
        """Refuse numbers that would make a variance negative."""
        for name, value in positive.items():
            if not 0 < value < float("inf"):
                raise ModelError(
                    f"`{name}={value}` of `{type(self).__name__}` must be positive: variances would be negative."
                )
        if not 0 <= self.start < self.end:
            raise ModelError(f"`{type(self).__name__}` runs from {self.start} to {self.end}: give `0 <= start < end`.")


def _function(value: sp.Expr | tuple[sp.Expr, ...], argument: sp.Symbol) -> Callable[[Tensor], Tensor]:
    """SymPy expressions of one symbol as a torch function; several are stacked behind."""
    expressions = value if isinstance(value, tuple) else (value,)
    program = lower(System({X: sp.S.Zero}), [sp.sympify(e).xreplace({argument: X}) for e in expressions])
    compute, single = torch_function(program), not isinstance(value, tuple)

    def function(t: Tensor) -> Tensor:
        results = compute(t, t[..., None], t.new_empty(0), ())
        return results[..., 0] if single else results

    return function
