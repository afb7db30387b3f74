"""Steps that follow the error, one length for all of the state, steered by torchdiffeq's options."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.dropin.options import AdaptiveOptions
from sciml.dropin.problem import Problem
from sciml.errors import SolveError
from sciml.solvers.methods.tableau import Tableau
from sciml.solvers.record import Ahead, Record
from sciml.solvers.steppers import combine
from sciml.solvers.watch import Watch

# Steps allowed up to an event, if the user says nothing: an event may never come.
EVENT_STEPS = 10_000
CLOCK = 4 * np.finfo(np.float64).eps


@dataclass(frozen=True, eq=False)
class AdaptiveSteps:
    """One adaptive solve.

    Args:
        problem: What to solve.
        tableau: The method's coefficients.
        options: What steers the steps.
        name: The method's name, for messages.
    """

    problem: Problem
    tableau: Tableau
    options: AdaptiveOptions
    name: str

    def march(self, y: Float[Tensor, " state"], ts: np.ndarray, keep: bool, watch: Watch | None = None) -> Record:
        """Step from the first time to the last, or to an event.

        Args:
            y: Initial state.
            ts: Output times; with `watch`, the initial time alone counts.
            keep: Whether to keep steps without an output.
            watch: Looks for an event.

        Returns:
            The steps; with `watch`, the one that holds the event.

        Raises:
            SolveError: A step became too small, there were too many, or numbers were not finite.
        """
        sign = self.problem.direction
        t, end = float(ts[0]), sign * math.inf if watch else float(ts[-1])
        stops, jumps = self._stops(t, sign)
        f = self.problem.field(t, y)
        record = Record(self.tableau, ts[:1], None if keep else Ahead(ts[None], ts[-1:]))
        ahead = Ahead(ts[None], ts[-1:])
        if t == end:
            record.close(y)
            return record
        h = self._first(t, y, f, sign, end)
        most, trials = self.options.max_num_steps or (EVENT_STEPS if watch else math.inf), 0
        while t != end:
            size = min(max(abs(h), float(self.options.min_step)), float(self.options.max_step))
            target = next((stop for stop in stops if (stop - t) * sign > 0), end)
            target = target if (end - target) * sign > 0 else end
            lands = size * (1 + 1e-9) >= abs(target - t)
            h = target - t if lands else sign * size
            self._check(t, h, trials, most, y, watch)
            self.problem.callback("callback_step", t, y, h)
            t_new = target if lands else t + h
            new, k = self._step(t, t_new, h, y, f, t_new in jumps)
            ratio, errors = self._error(h, y, new, k)
            trials += 1
            if ratio <= 1 or (size <= self.options.min_step and torch.isfinite(new.detach()).all()):
                self.problem.callback("callback_accept_step", t, y, h)
                if watch is not None:
                    record = Record(self.tableau, np.array([t]))
                record.append(t, t_new, h, y, k)
                if watch is not None and watch.look(self.tableau, t, t_new, h, y, k).any():
                    return record
                if ahead.reached(t_new) and watch is None:
                    trials = 0
                t, y = t_new, new
                f = self.problem.field(t, y, nudge=sign) if t in jumps else k[-1]
            else:
                self.problem.callback("callback_reject_step", t, y, h)
                self._check_progress(t, h, errors, y)
            h = self._next(h, ratio)
        return record

    def _stops(self, t: float, sign: float) -> tuple[list[float], set[float]]:
        """Times that a step must end at, in order, and those of them at which the field jumps."""
        step_t, jump_t = (
            [] if value is None else [float(x) for x in torch.as_tensor(value).tolist()]
            for value in (self.options.step_t, self.options.jump_t)
        )
        return sorted((x for x in [*step_t, *jump_t] if (x - t) * sign > 0), key=lambda x: x * sign), set(jump_t)

    def _step(
        self, t: float, end: float, h: float, y: Tensor, first: Tensor, jump: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """The new state and all stages; at a jump the field is evaluated just before it."""
        k, new, sign = [first], y, math.copysign(1.0, h)
        for i in range(1, self.tableau.stages):
            new = combine(y, self.tableau.rows[i], k, h)
            last = abs(self.tableau.c[i] - 1) < 1e-12
            time = end if last else t + self.tableau.c[i] * h
            k.append(self.problem.field(time, new, nudge=-sign if last and jump else 0.0))
        return new, k

    @torch.no_grad()
    def _error(self, h: float, y: Tensor, new: Tensor, k: list[Tensor]) -> tuple[float, Tensor]:
        """Norm of the error in units of the tolerance, infinite if it is not finite; and the errors themselves."""
        (j, weight), *row = self.tableau.error_row
        estimate = combine(k[j] * (weight * h), tuple(row), k, h)
        errors = estimate / self._scale(torch.maximum(y.abs(), new.abs()))
        ratio = abs(float(self.problem.norm(errors.view(self.problem.y0.shape))))
        return (ratio if math.isfinite(ratio) else math.inf), errors

    def _scale(self, size: Tensor) -> Tensor:
        rtol, atol = (
            torch.as_tensor(x, dtype=size.dtype, device=size.device) for x in (self.problem.rtol, self.problem.atol)
        )
        shape = self.problem.y0.shape
        return (rtol * size.view(shape) + atol).reshape(-1)

    def _next(self, h: float, ratio: float) -> float:
        """Integral control, as torchdiffeq has it."""
        options = self.options
        least = 1.0 if ratio < 1 else float(options.dfactor)
        if ratio == 0:
            return h * float(options.ifactor)
        factor = 0.0 if math.isinf(ratio) else float(options.safety) * ratio ** (-1 / self.tableau.order)
        return h * min(float(options.ifactor), max(factor, least))

    @torch.no_grad()
    def _first(self, t: float, y: Tensor, f: Tensor, sign: float, end: float) -> float:
        """The first step (Hairer, Nørsett, Wanner I, section II.4), in the user's norm."""
        if self.options.first_step is not None:
            return sign * float(self.options.first_step)
        scale = self._scale(y.abs())

        def size(x: Tensor) -> float:
            return abs(float(self.problem.norm((x / scale).view(self.problem.y0.shape))))

        d0, d1 = size(y), size(f)
        h0 = 1e-6 if d0 < 1e-5 or d1 < 1e-5 or not math.isfinite(d0 / d1) else 0.01 * d0 / d1
        h0 = min(h0, abs(end - t))
        slope = self.problem.field(t + sign * h0, y + sign * h0 * f)
        d2 = size(slope - f) / h0
        largest = max(d1, d2)
        h1 = max(1e-6, h0 * 1e-3) if largest <= 1e-15 else (0.01 / largest) ** (1 / self.tableau.order)
        found = min(100 * h0, h1)
        return sign * (found if math.isfinite(found) and found > 0 else h0)

    def _check(self, t: float, h: float, trials: int, most: float, y: Tensor, watch: Watch | None) -> None:
        if trials >= most:
            what = "without an event" if watch else "without reaching the next output"
            raise SolveError(
                f"`max_num_steps={most}` was reached at t = {t:.6g} with `{self.name}`, {what}. "
                + (
                    "The event may never happen: check the sign of `event_fn` along the solution, or allow more steps."
                    if watch
                    else "Allow more steps, or a larger tolerance."
                )
            )
        if not math.isfinite(t + h):
            raise SolveError(
                f"the solution with `{self.name}` went on to t = {t:.6g} without an event; it may never happen."
            )

    def _check_progress(self, t: float, h: float, errors: Tensor, y: Tensor) -> None:
        """A rejected step that the clock can hardly resolve will not get better."""
        if abs(h) > CLOCK * max(abs(t), np.finfo(np.float64).tiny):
            return
        flat = torch.nan_to_num(errors.abs(), nan=math.inf)
        i = int(flat.argmax())
        where = f"t = {t:.6g} while solving with `{self.name}`"
        value = f"entry {i} of the flat state is {y.detach().view(-1)[i].item():.6g}"
        if not torch.isfinite(flat).all():
            raise SolveError(f"`func` or the state left the finite numbers at {where}: {value}. Check `func` there.")
        raise SolveError(
            f"the step size fell below {abs(h):.3g} at {where}: {value}, where the error is largest. "
            "The system may be stiff, its solution may end there, or `func` may jump: give such times as `jump_t`."
        )
