"""Smoothing splines through measured series, and typical sizes read off them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import sympy as sp
from jaxtyping import Float
from scipy.interpolate import BSpline, make_interp_spline, make_smoothing_spline
from sympy.core.function import AppliedUndef

from sciml.measurement.experiment import Experiment
from sciml.symbolic.declarations import MLP
from sciml.symbolic.system import System

Curve = Callable[[Float[np.ndarray, " point"]], tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]]


def smooth(times: Float[np.ndarray, " time"], values: Float[np.ndarray, " time"], positive: bool = False) -> Curve:
    """A smooth curve through a series with gaps: a function of times that returns values and derivatives.

    A cubic smoothing spline, its smoothness chosen by generalized cross-validation; in logarithms where the quantity
    is positive; an interpolating spline where fewer than five values are known.

    Reference:
        Wahba (1990), Spline Models for Observational Data, chapter 4; as implemented in SciPy.
    """
    known = np.isfinite(values)
    x, y = times[known], np.log(values[known]) if positive else values[known]
    if len(x) == 1:
        level = y[0]
        return lambda t: (np.full(np.shape(t), np.exp(level) if positive else level), np.zeros(np.shape(t)))
    # With rows one unit of time apart, the choice of smoothness is well-posed whatever unit the data have.
    unit = (x[-1] - x[0]) / (len(x) - 1)
    spline = (make_smoothing_spline if len(x) >= 5 else _through)(x / unit, y)
    slope = spline.derivative()

    def curve(t):
        inside = np.clip(t, x[0], x[-1])  # beyond the data a cubic runs away
        level, change = spline(inside / unit), np.where(inside == t, slope(inside / unit) / unit, 0.0)
        return (np.exp(level), np.exp(level) * change) if positive else (level, change)

    return curve


def _through(x: Float[np.ndarray, " time"], y: Float[np.ndarray, " time"]) -> BSpline:
    return make_interp_spline(x, y, k=min(3, len(x) - 1))


def scatter(times: Float[np.ndarray, " time"], values: Float[np.ndarray, " time"]) -> float:
    """Standard deviation of the noise of a series, from how far each value lies off the line through its neighbors.

    Too large where the series bends between two times; infinite of fewer than three values.

    Reference:
        Gasser, Sroka, Jennen-Steinmetz (1986), Biometrika 73, 625-633.
    """
    known = np.isfinite(values)
    t, y = times[known], values[known]
    if len(t) < 3:
        return np.inf
    before = (t[2:] - t[1:-1]) / (t[2:] - t[:-2])
    off = (before * y[:-2] + (1 - before) * y[2:] - y[1:-1]) / np.sqrt(1 + before**2 + (1 - before) ** 2)
    return float(np.sqrt(np.mean(off**2)))


def rounded(size: float) -> float:
    """Two significant digits, so that scales read well in printed laws."""
    return float(f"{size:.1e}") if np.isfinite(size) and size > 0 else 1.0


def root_mean_square(parts: Sequence[np.ndarray]) -> float:
    joined = np.concatenate([part[np.isfinite(part)] for part in parts])
    return float(np.sqrt(np.mean(joined**2))) if len(joined) else 0.0


class Sizes:
    """Typical sizes of what was measured and of how fast it changes, over all experiments."""

    def __init__(self, system: System, experiments: Sequence[Experiment], positive: set[str]):
        self.system = system
        self.experiments = experiments
        self._positive = positive
        self.values: dict[str, float] = {}
        for name in experiments[0].columns:
            self.values[name] = rounded(root_mean_square([e.column(name) for e in experiments]))
        for i, u in enumerate(system.inputs):
            self.values[str(u)] = rounded(root_mean_square([e.inputs(e.times)[:, i] for e in experiments]))

    @cached_property
    def rates(self) -> dict[str, float]:
        """By column; found when they are first needed, as the splines of a thousand rows take seconds."""
        found = {}
        for name in self.experiments[0].columns:
            measured = [e for e in self.experiments if np.isfinite(e.column(name)).sum() >= 2]
            slopes = [smooth(e.times, e.column(name), name in self._positive)(e.times)[1] for e in measured]
            found[name] = rounded(root_mean_square(slopes)) if slopes else 1.0
        return found

    def with_scales(self) -> System:
        """The System with the scales of its MLPs, where left open, filled in."""
        networks = {}
        for group, network in self.system.learned.items():
            if isinstance(network, MLP) and (network.input_scale is None or network.output_scale is None):
                inputs = network.input_scale or self._input_scale(group)
                outputs = network.output_scale or tuple(
                    self._output_scale(f, inputs, network.factors[j] if network.factors else None)
                    for j, f in enumerate(group)
                )
                networks[group] = network.with_scales(inputs, outputs)
        return self.system.with_learned(networks) if networks else self.system

    def _input_scale(self, group: tuple) -> tuple[float, ...]:
        call = sorted(self.system.calls(group[0]), key=str)[0]
        return tuple(self._size(argument) for argument in call.args)

    def _size(self, argument: sp.Expr) -> float:
        """Root mean square of an expression over the measured rows; 1 where it was not measured."""
        values = {x: p.value for x, p in self.system.parameters.items()}
        expression = argument.subs(values)
        symbols = sorted(expression.free_symbols, key=str)
        if argument.has(AppliedUndef) or any(str(s) not in self.values and s != self.system.time for s in symbols):
            return 1.0
        function = sp.lambdify(symbols, expression, "numpy")
        parts = []
        for e in self.experiments:
            columns = [self._column(e, s) for s in symbols]
            with np.errstate(all="ignore"):
                parts.append(np.broadcast_to(function(*columns), e.times.shape).astype(float))
        return rounded(root_mean_square(parts))

    def _column(self, experiment: Experiment, symbol: sp.Symbol) -> Float[np.ndarray, " time"]:
        """Values of a measured quantity, an input, or time."""
        inputs = list(self.system.inputs)
        if symbol in inputs:
            return experiment.inputs(experiment.times)[:, inputs.index(symbol)]
        return experiment.times if symbol == self.system.time else experiment.column(str(symbol))

    def _output_scale(self, function, inputs: tuple[float, ...], factor: sp.Symbol | None) -> float:
        """The size that makes the function's term as large as the rate of the equation it stands in."""
        targets = [(str(x), rhs, self.rates) for x, rhs in self.system.equations.items()]
        targets += [(str(name), value, self.values) for name, value in self.system.observed.items()]
        for name, formula, sizes in targets:
            if name in sizes and formula.has(function):
                coefficient = self._coefficient(formula, function, inputs)
                if factor is not None:
                    coefficient *= self.values.get(str(factor), 1.0)
                if np.isfinite(coefficient) and coefficient > 0:
                    return rounded(sizes[name] / coefficient)
        return 1.0

    def _coefficient(self, formula: sp.Expr, function, inputs: tuple[float, ...]) -> float:
        """|∂ formula / ∂ function| at typical values; through a derivative of the function, per input scale."""
        typical = {x: p.value for x, p in self.system.parameters.items()}
        known = (*self.system.states, *self.system.inputs)
        typical |= {x: self.values.get(str(x), 1.0) for x in known} | {self.system.time: 1.0}
        placeholders: dict[sp.Expr, sp.Symbol] = {}
        units: dict[sp.Symbol, float] = {}
        for node in sorted(formula.atoms(sp.Subs, sp.Derivative, AppliedUndef), key=lambda e: -e.count_ops()):
            place = sp.Dummy()
            placeholders[node] = place
            derivative = node.expr if isinstance(node, sp.Subs) else node
            call = derivative.expr if isinstance(derivative, sp.Derivative) else derivative
            if isinstance(call, AppliedUndef) and call.func == function:
                variables = derivative.variables if isinstance(derivative, sp.Derivative) else ()
                units[place] = float(np.prod([1 / inputs[call.args.index(v)] for v in variables if v in call.args]))
        flat = formula.subs(placeholders)
        found = [
            abs(float(slope)) * unit
            for place, unit in units.items()
            if (slope := flat.diff(place).subs(typical)).is_number and slope.is_finite and slope != 0
        ]
        return max(found, default=float("nan"))
