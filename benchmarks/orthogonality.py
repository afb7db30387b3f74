"""A parameter that a network can imitate: what it comes to without a penalty, with `Orthogonal`, and with a small network.

Two hybrids whose network sees all that the mechanism sees. A spring, v' = -k x + f(x, v), whose friction f = -0.15 v |v| is
nearly orthogonal to x over its oscillation; and logistic growth, x' = g(x) - d x, whose growth g = 1.5 x - x^2 is nearly
parallel to x, so that the convention is wrong. Each is fitted to one noisy series from several starts and seeds of weights,
without a penalty, with `Orthogonal`, and with a price on all of the network (Yin et al. 2021, here two inequalities).
Printed: the least and the largest value over the starts, the median 90 % interval by Laplace, the residuals, and what the
convention says that the parameter is, from the true functions.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import sympy as sp

import sciml
from sciml import LBFGS, MLP, Adam, Normal, Orthogonal, Parameter, Penalty, Problem, SingleShooting, System
from sciml.scripts import machine, options, report

x, v, k, d = sp.symbols("x v k d", real=True)
f, g = sp.symbols("f g", cls=sp.Function)


@dataclass(frozen=True)
class Case:
    """A hybrid, its truth, and the parameter in question."""

    name: str
    parameter: sp.Symbol
    true: float
    learned: Any
    equations: dict[sp.Symbol, Any]
    formula: Any
    initial: dict[sp.Symbol, float]
    end: float
    noise: float

    def data(self, seed: int) -> pd.DataFrame:
        """A noisy series of all states."""
        known = {s: e.subs(self.learned, self.formula) for s, e in self.equations.items()}
        law = System(known, parameters={self.parameter: Parameter(self.true)}, initial=self.initial)
        series = sciml.simulate(law, np.linspace(0, self.end, 61)).to_frame()
        return series + self.noise * np.random.default_rng(seed).standard_normal(series.shape)

    def conventional(self) -> float:
        """The value with which what is left for the network is orthogonal to what the parameter does."""
        known = {s: e.subs(self.learned, self.formula) for s, e in self.equations.items()}
        law = System(known, parameters={self.parameter: Parameter(self.true)}, initial=self.initial)
        states = sciml.simulate(law, np.linspace(0, self.end, 2001)).states.T
        own = [sp.diff(e, self.parameter) for e in self.equations.values()]
        slope = next(e for e in own if e != 0)
        s, n = (sp.lambdify(list(self.equations), e)(*states) for e in (slope, self.formula))
        return self.true + float(s @ n / (s @ s))

    def problem(self, data: pd.DataFrame, start: float, penalties: list) -> Problem:
        """The hybrid, the parameter from a start between its bounds."""
        model = System(
            self.equations,
            parameters={self.parameter: Parameter(start, bounds=(-3, 6))},
            learned={self.learned.func: MLP(hidden=(8,), decay=1e-3)},
        )
        return Problem(model, data, {s: Normal(self.noise) for s in self.equations}, penalties=penalties)


CASES = (
    Case(
        "spring, friction",
        k,
        2.0,
        f(x, v),
        {x: v, v: -k * x + f(x, v)},
        -0.15 * v * sp.Abs(v),
        {x: 1.5, v: 0.0},
        12.0,
        0.01,
    ),
    Case("growth, death", d, 0.5, g(x), {x: g(x) - d * x}, 1.5 * x - x**2, {x: 0.1}, 6.0, 0.003),
)


def penalties(case: Case) -> dict[str, list]:
    """What to add to the likelihood."""
    size = [Penalty(case.learned > 0, 1.0), Penalty(case.learned < 0, 1.0)]
    return {"none": [], "`Orthogonal`": [Orthogonal(case.learned.func)], "size of the network": size}


def main() -> None:
    arguments = options(__doc__).parse_args()
    count, steps = (1, 20) if arguments.quick else (5, 1000)
    rows = []
    for case in CASES[: 1 if arguments.quick else None]:
        data = case.data(arguments.seed)
        for name, added in penalties(case).items():
            starts = np.random.default_rng(arguments.seed).uniform(0.3, 2.0, count) * case.true
            fits = [
                sciml.fit(
                    case.problem(data, start, added),
                    SingleShooting(),
                    [Adam(500), LBFGS(steps)],
                    seed=s,
                    progress=False,
                )
                for s, start in enumerate(starts)
            ]
            found = [fit.estimates[str(case.parameter)] for fit in fits]
            tables = [fit.laplace().intervals(0.9).loc[str(case.parameter)] for fit in fits]
            low, high = (np.median([table[side] for table in tables]) for side in ("lower", "upper"))
            rows.append(
                {"case": case.name, "true": case.true, "orthogonal": round(case.conventional(), 3), "penalty": name}
                | {"least": min(found), "most": max(found), "lower": low, "upper": high}
                | {"rmse / noise": np.median([fit.rmse for fit in fits]) / case.noise}
            )
    report(rows, arguments, machine("numba", "scipy"))


if __name__ == "__main__":
    main()
