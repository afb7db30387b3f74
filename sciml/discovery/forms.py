r"""Forms of an equation :math:`\dot x = f_0 + \sum_k c_k \phi_k` in which measurements stand linearly.

Each turns a path and the measurements along it into rows of a regression; they differ in where noise goes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.integrate import cumulative_simpson
from scipy.interpolate import make_interp_spline
from scipy.linalg import block_diag, cholesky, solve_triangular

from sciml.discovery.paths import Path
from sciml.errors import DataError, ModelError


@dataclass(frozen=True)
class Table:
    """Rows of one equation along one path.

    Attributes:
        target: What the terms are to explain.
        columns: One for each term.
        shared: Columns of free parameters of the known part, common to all tables.
        own: Columns that belong to these rows alone, such as constants of integration.
    """

    target: Float[np.ndarray, " row"]
    columns: Float[np.ndarray, "row term"]
    shared: Float[np.ndarray, "row parameter"]
    own: Float[np.ndarray, "row own"]


class AbstractForm(ABC):
    """How equations are turned into rows."""

    @abstractmethod
    def table(self, path: Path, equation: int, terms: Sequence[int]) -> Table:
        """Rows of one equation."""


@dataclass(frozen=True)
class IntegralForm(AbstractForm):
    r"""Measurements as integrals over the path, by Simpson's rule.

    .. math:: y(t_i) - \int_{t_0}^{t_i} f_0 = x_0 + \sum_k c_k \int_{t_0}^{t_i} \phi_k

    Noise stays as it was measured, independent from row to row.

    Args:
        rows: A longer series is cut into stretches of about so many measurements, each with a start of its own, so that
            errors of the path do not add up.

    Reference:
        Schaeffer and McCalla (2017), Phys. Rev. E 96, 023302.
    """

    rows: int = 50

    def __post_init__(self):
        _check_rows(self, 4)

    def table(self, path: Path, equation: int, terms: Sequence[int]) -> Table:
        here = np.flatnonzero(np.isfinite(path.measured[:, equation]))
        weight = path.weights[here, equation]

        def integral(values):
            return cumulative_simpson(values, x=path.times, axis=0, initial=0.0)[here]

        target = (path.measured[here, equation] - integral(path.known[:, equation])) * weight
        columns = integral(path.linear[:, equation, list(terms)]) * weight[:, None]
        shared = integral(path.parameters[:, equation]) * weight[:, None]
        stretches = np.array_split(weight[:, None], -(-len(here) // self.rows))
        return Table(target, columns, shared, block_diag(*stretches))


@dataclass(frozen=True)
class WeakForm(AbstractForm):
    r"""Equations averaged over windows, derivatives moved to smooth test functions.

    .. math:: -\int \psi_j' y - \int \psi_j f_0 = \sum_k c_k \int \psi_j \phi_k, \quad
              \psi_j = \left(1 - s_j(t)^2\right)^p

    Windows overlap by three quarters; rows are made independent by the covariance that independent noise of the
    measurements gives them.

    Args:
        rows: Measurements in a window. Long windows average more noise, and see fewer fast changes.
        order: The power p of the test functions.

    Reference:
        Messenger and Bortz (2021), Multiscale Model. Simul. 19, 1474.
    """

    rows: int = 25
    order: int = 4

    def __post_init__(self):
        _check_rows(self, 5)
        if not isinstance(self.order, int) or not 1 <= self.order <= 20:
            raise ModelError(f"`WeakForm(order={self.order!r})` must be a whole number from 1 to 20.")

    def table(self, path: Path, equation: int, terms: Sequence[int]) -> Table:
        here = np.flatnonzero(np.isfinite(path.measured[:, equation]))
        times = path.times[here]
        width = min(self.rows, len(times))
        if width < 5:
            raise DataError(f"the weak form needs 5 measurements of a state, and there are {len(times)}.")
        first = np.arange(0, len(times) - width + 1, max(1, width // 4))
        bounds = [(times[a], times[a + width - 1]) for a in first]
        functions = np.array([self._function(path.times, *ends) for ends in bounds])
        slopes = np.array([self._slope(path.times, *ends) for ends in bounds]) * _trapezoid(path.times)
        if len(times) < len(path.times):
            # Between the measurements a cubic spline through them, which is linear in them, too.
            slopes = slopes @ make_interp_spline(times, np.eye(len(times)), k=3)(path.times)
        weak = functions * _trapezoid(path.times)
        weight = path.weights[here[first + width // 2], equation]
        target = -slopes @ path.measured[here, equation] - weak @ path.known[:, equation]
        table = [target[:, None], weak @ path.linear[:, equation, list(terms)], weak @ path.parameters[:, equation]]
        whitened = _whitened(np.hstack(table) * weight[:, None], slopes)
        count = len(terms)
        return Table(whitened[:, 0], whitened[:, 1 : 1 + count], whitened[:, 1 + count :], np.zeros((len(first), 0)))

    def _function(self, times, start: float, end: float) -> Float[np.ndarray, " time"]:
        s = np.clip((2 * times - start - end) / (end - start), -1, 1)
        return (1 - s**2) ** self.order

    def _slope(self, times, start: float, end: float) -> Float[np.ndarray, " time"]:
        s = np.clip((2 * times - start - end) / (end - start), -1, 1)
        return -4 * self.order / (end - start) * s * (1 - s**2) ** (self.order - 1)


@dataclass(frozen=True)
class SmoothedDerivative(AbstractForm):
    r"""Slopes of the smooth path, :math:`\hat x'(t_i) - f_0 = \sum_k c_k \phi_k`, at the times of measurements.

    The simplest form, and the one that suffers most from noise: smoothing leaves a bias, and errors of neighboring rows
    are alike. Good for clean, dense series.

    Args:
        ends: Measurements left out at both ends, where splines are least sure of their slopes.
    """

    ends: int = 2

    def __post_init__(self):
        if not isinstance(self.ends, int) or self.ends < 0:
            raise ModelError(f"`SmoothedDerivative(ends={self.ends!r})` must be a whole number from 0.")

    def table(self, path: Path, equation: int, terms: Sequence[int]) -> Table:
        here = np.flatnonzero(np.isfinite(path.measured[:, equation]))
        here = here[self.ends : len(here) - self.ends]
        if not len(here):
            raise DataError(f"`{self}` leaves no measurement. Take a smaller number.")
        weight = path.weights[here, equation]
        target = (path.slopes[here, equation] - path.known[here, equation]) * weight
        columns = path.linear[here][:, equation, list(terms)] * weight[:, None]
        return Table(target, columns, path.parameters[here, equation] * weight[:, None], np.zeros((len(here), 0)))


def stacked(tables: Sequence[Table]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Target, columns and nuisance of several tables."""
    target, columns, shared = (
        np.concatenate([getattr(t, name) for t in tables]) for name in ("target", "columns", "shared")
    )
    return target, columns, np.concatenate([shared, block_diag(*(table.own for table in tables))], axis=1)


def _trapezoid(times: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
    """Weights of the trapezoidal rule; on smooth functions that vanish at both ends it is exact to high order."""
    steps = np.diff(times)
    return 0.5 * (np.append(steps, 0.0) + np.append(0.0, steps))


def _whitened(rows: np.ndarray, functional: Float[np.ndarray, "row time"]) -> np.ndarray:
    """Rows with independent errors, if those of the measurements that the functional is applied to are independent."""
    covariance = functional @ functional.T
    covariance += 1e-8 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    scale = np.sqrt(np.mean(np.diag(covariance)))
    return scale * solve_triangular(cholesky(covariance, lower=True), rows, lower=True)


def _check_rows(form: object, least: int) -> None:
    rows = form.rows  # pyright: ignore[reportAttributeAccessIssue]
    if not isinstance(rows, int) or rows < least:
        raise ModelError(f"`{type(form).__name__}(rows={rows!r})` must be a whole number from {least}.")
