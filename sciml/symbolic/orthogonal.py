"""A soft penalty that keeps what is learned from doing the work of what is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp
from sympy.core.function import AppliedUndef

from sciml.errors import ModelError, quoted, suggestion
from sciml.symbolic.system import System


@dataclass(frozen=True)
class Orthogonal:
    r"""A price for what learned functions add along directions in which the parameters could add it.

    The equations are :math:`\dot x = m(x, \theta) + n(x)`: m is what they are with the learned functions at zero, n all that
    these add. Along the trajectories, n is projected onto the span of the derivatives :math:`s_j = \partial m/\partial
    \theta_j` by the free parameters,

    .. math:: w \, \| P n \|^2 = w \, b^T G^{-1} b, \qquad b_j = \langle s_j, n \rangle, \quad
              G_{jk} = \langle s_j, s_k \rangle, \qquad
              \langle a, b \rangle = \sum_e \frac1{T_e} \int_0^{T_e} \sum_i \frac{a_i b_i}{r_i^2} \, dt

    with typical rates r of the states (1 of those not measured) and a sum over the experiments. Where a network can imitate
    a parameter, the data leave the parameter open; this settles it by convention: the parameters take all that they can,
    the network the rest. The part of n that no parameter can imitate costs nothing, however large. The values that come
    out are the true ones where the true n is orthogonal to all s, and are else off by the coefficients of its projection.

    Args:
        functions: The learned functions that n holds, one or several; the others belong to m.
        weight: The price w of an imitated part as large as the typical rates. Log-likelihoods differ by a few units between
            good fits; the larger the weight, the stiffer the fit.
        points: Points per interval between two rows of data, for the integrals.

    Example:
        >>> x = sp.Symbol("x", real=True)
        >>> growth = sp.Function("growth")
        >>> Orthogonal(growth)
        Orthogonal(functions=('growth',), weight=1000.0, points=4)

    Reference:
        Yin et al. (2021), J. Stat. Mech. 124012, whose norm of n has its minimum where n is orthogonal to all s, but
        draws all of n to zero.
    """

    functions: Any
    weight: float = 1000.0
    points: int = 4

    def __post_init__(self):
        given = self.functions if isinstance(self.functions, list | tuple) else (self.functions,)
        names = tuple(getattr(f, "__name__", f) for f in given)
        if not names or not all(isinstance(name, str) for name in names):
            raise ModelError(
                f"`Orthogonal({self.functions!r})` needs learned functions: `Orthogonal(growth)`, with "
                "`growth = sp.Function('growth')`, or a list of them."
            )
        object.__setattr__(self, "functions", names)
        if not (np.isfinite(self.weight) and self.weight > 0):
            raise ModelError(f"`Orthogonal(weight={self.weight})`: the weight must be a positive number.")
        if not isinstance(self.points, int) or self.points < 1:
            raise ModelError(
                f"`Orthogonal(points={self.points!r})`: the number of points must be a positive whole number."
            )

    def without(self, gone: Sequence[str]) -> Orthogonal | None:
        """The same for functions that are still learned; None where none is."""
        left = [name for name in self.functions if name not in gone]
        return Orthogonal(left, self.weight, self.points) if left else None

    def products(self, system: System, rates: Mapping[sp.Symbol, float] | None = None) -> tuple[list[sp.Expr], int]:
        """The integrands of all b, then of the upper triangle of G row by row, and the number of parameters.

        Args:
            system: Whose equations.
            rates: Typical rate of each state; 1 where left out.

        Raises:
            ModelError: A function is not learned, or there is no parameter that one could imitate.
        """
        known = [f.__name__ for f in system.functions]
        for name in self.functions:
            if name not in known:
                raise ModelError(
                    f"`{name}` in `Orthogonal` is not a learned function. The System learns {quoted(known)}."
                    f"{suggestion(name, known)}"
                )
        scale = {x: 1.0 if rates is None else rates[x] for x in system.states}
        mechanism = {x: self._at_zero(e) for x, e in system.equations.items()}
        added = [(e - mechanism[x]) / scale[x] for x, e in system.equations.items()]
        slopes = []
        for parameter, declared in system.parameters.items():
            slope = [sp.diff(mechanism[x], parameter) / scale[x] for x in system.equations]
            if declared.fixed or all(s == 0 for s in slope):
                continue
            if declared.per_experiment:
                raise ModelError(
                    f"`{parameter}` differs between experiments, `per_experiment=True`, and `Orthogonal` is for parameters "
                    "that all experiments share. Declare it so, or state a prior for it instead."
                )
            slopes.append(slope)
        if not slopes:
            raise ModelError(
                f"`Orthogonal` has nothing to keep {quoted(self.functions)} from: no free parameter occurs in the equations "
                "beside it. Leave the penalty out."
            )
        overlaps = [_dot(s, added) for s in slopes]
        gram = [_dot(a, b) for j, a in enumerate(slopes) for b in slopes[j:]]
        return [*overlaps, *gram], len(slopes)

    def _at_zero(self, expression: Any) -> Any:
        """An equation with the functions at zero, their derivatives, too."""
        zero = sp.sympify(expression).replace(
            lambda e: isinstance(e, AppliedUndef) and e.func.__name__ in self.functions, lambda e: sp.S.Zero
        )
        return zero.replace(lambda e: isinstance(e, sp.Subs | sp.Derivative) and e.expr.is_number, lambda e: sp.S.Zero)


def _dot(a: Sequence[Any], b: Sequence[Any]) -> Any:
    return sp.Add(*(x * y for x, y in zip(a, b)))
