"""Steps on a grid that the user gives."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.dropin.adams import Adams
from sciml.dropin.options import AdamsOptions, FixedOptions, Method
from sciml.dropin.problem import Problem
from sciml.errors import DataError, ModelError, SolveError
from sciml.solvers.methods.tableau import Tableau
from sciml.solvers.record import Record
from sciml.solvers.watch import Watch

# Steps allowed up to an event, which may never come.
EVENT_STEPS = 20_000
Time = float | Tensor

# Interpolation from the mean slope of a step and those at its ends, as dense output of a method with these "stages".
DENSE = {
    "linear": np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
    "cubic": np.array([[1.0, -2.0, 1.0], [0.0, 3.0, -2.0], [0.0, -1.0, 1.0]]),
}
BETWEEN = {name: Tableau(1, np.zeros((3, 3)), None, dense, dense_order=1) for name, dense in DENSE.items()}


class GridSteps:
    """One solve on a grid.

    Where `t` carries a gradient, the grid does too: the derivative by times is that of the numbers computed.

    Args:
        problem: What to solve.
        method: The method.
        options: The grid and what happens between its points.
    """

    def __init__(self, problem: Problem, method: Method, options: FixedOptions) -> None:
        assert method.tableau is not None, "every method on a grid has a tableau"
        self.problem, self.tableau, self.options, self.name = problem, method.tableau, options, method.name
        self.adams = Adams(problem, options) if isinstance(options, AdamsOptions) else None
        self.nudge = problem.direction if options.perturb else 0.0
        self.times = _instants(problem.t)

    def solve(self, y: Float[Tensor, " state"]) -> Float[Tensor, "time state"]:
        """States at the problem's times.

        Raises:
            DataError: The grid does not begin and end with the times.
        """
        grid, sign = self._grid(), self.problem.direction
        found, waiting = [y], self.times[1:]
        for t, end in pairwise(grid):
            h = end - t
            self.problem.callback("callback_step", _number(t), y, _number(h))
            f = self.problem.field(t, y, self.nudge)
            new = self._step(t, end, h, y, f)
            while waiting and sign * _number(end) >= sign * _number(waiting[0]):
                found.append(self._between(waiting[0], t, end, y, new, f))
                waiting = waiting[1:]
            y = new
        return torch.stack(found)

    def event(self, y: Float[Tensor, " state"], watch: Watch) -> tuple[float, Record]:
        """Step until the watch has seen an event; the state at the beginning of the last step, and that step.

        Raises:
            ModelError: There is no `step_size`.
            SolveError: No event came.
        """
        if self.options.step_size is None:
            raise ModelError(f"`{self.name}` needs `options={{'step_size': ...}}` to step up to an event.")
        start, h = float(self.problem.ts[0]), self.problem.direction * float(self.options.step_size)
        between, cubic = BETWEEN[self.options.interp], self.options.interp == "cubic"
        for n in range(EVENT_STEPS):
            t, end = start + n * h, start + (n + 1) * h
            self.problem.callback("callback_step", t, y, h)
            f = self.problem.field(t, y, self.nudge)
            new = self._step(t, end, h, y, f)
            k = [f, (new - y) / h, self.problem.field(end, new) if cubic else torch.zeros_like(f)]
            if watch.look(between, t, end, h, y, k).any():
                record = Record(between, np.array([t]))
                record.append(t, end, h, y, k)
                return watch.hits[-1].time, record
            y = new
            if not torch.isfinite(y.detach()).all():
                raise SolveError(
                    f"the state left the finite numbers at t = {end:.6g} with `{self.name}`, without an event."
                )
        raise SolveError(
            f"{EVENT_STEPS} steps of `{self.name}` up to t = {start + EVENT_STEPS * h:.6g} met no event. It may "
            "never happen: check the sign of `event_fn` along the solution, or give a larger `step_size`."
        )

    def _step(self, t: Time, end: Time, h: Time, y: Tensor, f: Tensor) -> Tensor:
        """The state after a step; `f` is the field at its beginning."""
        if self.adams is not None and self.adams.remember(t, f):
            return y + self.adams.step(t, h, y, -self.nudge)
        k = [f]
        for row, c in zip(self.tableau.rows[1:-1], self.tableau.c[1:-1].tolist()):
            time, nudge = (end, -self.nudge) if c == 1 else (t + c * h, 0.0)
            k.append(self.problem.field(time, _moved(y, h, row, k), nudge))
        return _moved(y, h, self.tableau.rows[-1], k)

    def _between(self, time: Time, t: Time, end: Time, y: Tensor, new: Tensor, f: Tensor) -> Tensor:
        # A time with a gradient that only happens to be the end of a step moves on its own.
        if time is end or (not isinstance(time, Tensor) and time == end):
            return new
        h = end - t
        slopes = [f, (new - y) / h, self.problem.field(end, new) if self.options.interp == "cubic" else f]
        theta = (time - t) / h
        weights = [sum(d * theta ** (m + 1) for m, d in enumerate(row)) for row in DENSE[self.options.interp]]
        return y + h * sum(w * slope for w, slope in zip(weights, slopes))

    def _grid(self) -> list[Time]:
        t, step, ends = self.problem.t, self.options.step_size, self.times
        if step is not None:
            step = float(step)
            count = int(np.ceil(abs(_number(ends[-1]) - _number(ends[0])) / step - 1e-6))
            return [*(ends[0] + self.problem.direction * step * n for n in range(max(count, 1))), ends[-1]]
        construct: Callable | None = self.options.grid_constructor
        if construct is None:
            return ends
        grid = construct(self.problem.func, self.problem.y0, t)
        if not isinstance(grid, Tensor) or grid.ndim != 1 or len(grid) < 2:
            raise DataError(f"`grid_constructor` returns {grid!r}. Expected a tensor of shape `(time,)`.")
        (first, *_, last), begin, end = _numbers(grid), _number(ends[0]), _number(ends[-1])
        if (first, last) != (begin, end):
            raise DataError(
                f"`grid_constructor` returns times from {first} to {last}. Expected a grid that begins with {begin} and "
                f"ends with {end}."
            )
        return _instants(grid)


def _instants(t: Float[Tensor, " time"]) -> list[Time]:
    """Times as Python floats, or with their gradients."""
    return list(t.double().unbind()) if t.requires_grad else t.tolist()


def _numbers(t: Tensor) -> list[float]:
    return t.detach().tolist()


def _number(t: Time) -> float:
    return t.item() if isinstance(t, Tensor) else t


def _moved(y: Tensor, h: Time, row: tuple[tuple[int, float], ...], k: list[Tensor]) -> Tensor:
    """`y + h * sum(a * k[j])`, the length of the step with its gradient if it has one."""
    # Summed before it is added to the state, whose last digits would be lost once for each stage.
    (j, a), *rest = row
    dy = k[j] * (a * h)
    for j, a in rest:
        dy = dy + (a * h) * k[j] if isinstance(h, Tensor) else torch.add(dy, k[j], alpha=a * h)
    return y + dy
