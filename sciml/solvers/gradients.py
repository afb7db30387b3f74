"""How derivatives of a solution are found: through the steps taken, or by the continuous adjoint."""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.errors import DataError, ModelError
from sciml.solvers.backsolve import adjoint_solver, attach_adjoint
from sciml.solvers.captured import differentiable, transformed
from sciml.solvers.checkpointed import Plan, attach_checkpointed
from sciml.solvers.checks import checked_positive
from sciml.solvers.field import Field
from sciml.solvers.loop import Settings, march
from sciml.solvers.parallel import attach
from sciml.solvers.record import March, Trace


class Gradients(Protocol):
    """A way to differentiate a solution."""

    def solve(
        self, field: Field, y0: Tensor, ts: Float[np.ndarray, "batch time"], settings: Settings, dense: bool
    ) -> tuple[Tensor, March]:
        """States `(batch, time, state)` at the times `ts`, and the march that found them."""
        ...


def outputs(result: March, y0: Tensor, ts: Float[np.ndarray, "batch time"]) -> Float[Tensor, "batch time state"]:
    """States at the output times; the first is `y0` itself."""
    first = y0.reshape(len(ts), 1, -1)
    return first if ts.shape[1] == 1 else torch.cat([first, result.record.interpolate(ts[:, 1:])], dim=1)


def check_transforms(name: str) -> None:
    """Refuse what would lose derivatives: `torch.func` does not see into these reverse passes.

    Raises:
        ModelError: This runs inside a transform of `torch.func`.
    """
    if transformed():
        raise ModelError(
            f"`{name}()` does not work inside transforms of `torch.func`, such as `jacfwd`. Use `Direct()`."
        )


@dataclass(frozen=True)
class Direct:
    r"""The exact gradient of the numbers that the solver computed, its step sizes held constant.

    It holds for the initial state, the parameters of the field and everything else that the field closes
    over. The solve is recorded step by step and differentiated backwards. For few and small trajectories
    the time goes into the bookkeeping of many small operations; there, all stages of all steps are
    evaluated once more in one call of the field (through `torch.func.vmap`) and the adjoint recursion of
    the method is solved with their Jacobians. Both give the same gradient up to rounding; second
    derivatives work with both. Third ones work with explicit methods; through implicit steps `torch.autograd` refuses
    them, and transforms of `torch.func` find them.

    Args:
        parallel: Whether to differentiate all stages in one call. None decides by size, and goes step by
            step where `vmap` cannot follow the field, or where the batched evaluation differs.

    Example:
        >>> from sciml.solvers import solve
        >>> y0, ts = torch.ones(1, dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
        >>> value = lambda rate: solve(lambda t, y: rate * y, y0, ts, rtol=1e-9, atol=1e-9).ys[-1].sum()
        >>> rate, direction = torch.tensor(-1.0, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64)
        >>> _, product = torch.autograd.functional.hvp(value, rate, direction)  # the Hessian times a vector
        >>> round(product.item(), 4)  # 2 exp(-1)
        0.7358

    Reference:
        Hager (2000), Numerische Mathematik 87, 247-282, for the adjoint of a Runge-Kutta method.
    """

    parallel: bool | None = None

    def solve(
        self, field: Field, y0: Tensor, ts: Float[np.ndarray, "batch time"], settings: Settings, dense: bool
    ) -> tuple[Tensor, March]:
        """States `(batch, time, state)` at the times `ts`, and the march that found them."""
        if self._parallel(y0) and not dense and not transformed() and differentiable(field, ts, y0):
            with torch.no_grad():
                result = march(field, y0, ts, settings, dense=True)
            ys = attach(field, y0, ts, settings, result)
            if ys is not None:
                return ys, result
        result = march(field, y0, ts, settings, dense)
        return outputs(result, y0, ts), result

    def _parallel(self, y0: Tensor) -> bool:
        if not torch.is_grad_enabled():
            return False
        if self.parallel is not None:
            return self.parallel
        rows = 1 if y0.ndim == 1 else len(y0)
        return y0.numel() // rows <= 8 and rows <= 32


@dataclass(frozen=True)
class Backsolve:
    r"""The gradient from the continuous adjoint, solved backwards in time; memory does not grow with the steps.

    .. math:: \dot a = -a \, \frac{\partial f}{\partial y}, \qquad
              \frac{dL}{d\theta} = \int a \, \frac{\partial f}{\partial \theta} \, dt

    It is the gradient of the true solution up to the tolerance, not of the numbers computed: prefer
    `Direct` where memory allows. The state is restored at each output and checkpoint, so that the error
    does not build up between them; where the reconstructed path leaves the forward one all the same, a
    warning says so, and that part is solved again in halves. The integral takes the steps of the adjoint
    and has no error control of its own. Second derivatives are refused.

    Args:
        checkpoints: States kept between one output and the next, at equal distances, from which the path is taken
            up again. A method with fixed steps lands on them, too.
        rtol: Relative tolerance of the backward solve; that of the forward one when None.
        atol: Absolute tolerance of the backward solve for the state and the normalized adjoint; that of the
            forward one when None.
        parameters: Tensors that the field depends on and that neither one call of it at the initial state
            nor a look into it (module, closure, partial, bound object) finds.

    Reference:
        Chen, Rubanova, Bettencourt, Duvenaud (2018), Algorithm 1; Kidger, Chen, Lyons (2021) for leaving
        the integral out of the error.
    """

    checkpoints: int = 0
    rtol: float | None = None
    atol: float | None = None
    parameters: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        checked_positive(rtol=self.rtol, atol=self.atol)
        if self.checkpoints != int(self.checkpoints) or self.checkpoints < 0:
            raise DataError(f"`checkpoints` is {self.checkpoints}. Expected a whole number, 0 or more.")
        object.__setattr__(self, "parameters", tuple(self.parameters))

    def solve(
        self, field: Field, y0: Tensor, ts: Float[np.ndarray, "batch time"], settings: Settings, dense: bool
    ) -> tuple[Tensor, March]:
        """States `(batch, time, state)` at the times `ts`, and the march that found them."""
        check_transforms("Backsolve")
        if dense and torch.is_grad_enabled():
            raise ModelError("`Backsolve()` keeps no steps for `dense=True`. Use `Direct()` or `torch.no_grad()`.")
        pieces = 1 + int(self.checkpoints)
        fine = refined(ts, pieces)
        with torch.no_grad():
            result = march(field, y0, fine, settings, dense)
            ys = outputs(result, y0, fine)
        if torch.is_grad_enabled():
            forward = settings.tolerance
            tolerance = replace(forward, rtol=self.rtol or forward.rtol, atol=self.atol or forward.atol)
            backward = replace(adjoint_solver(settings, field, y0), tolerance=tolerance, first_step=None)
            pace = float(np.max(np.array(result.stats.accepted) / np.maximum(span(ts), np.finfo(float).tiny)))
            ys = attach_adjoint(field, y0, fine, ys, backward, pace, self.parameters)
        return ys[:, ::pieces], result


def span(ts: Float[np.ndarray, "batch time"]) -> Float[np.ndarray, " batch"]:
    """Time between the first and the last output of each trajectory."""
    return np.nanmax(ts, axis=1) - np.nanmin(ts, axis=1)


def refined(ts: Float[np.ndarray, "batch time"], pieces: int) -> Float[np.ndarray, "batch fine"]:
    """The times with each interval cut into equal pieces.

    Example:
        >>> refined(np.array([[0.0, 1.0, 3.0]]), 2).tolist()
        [[0.0, 0.5, 1.0, 2.0, 3.0]]
    """
    fraction = np.arange(pieces) / pieces
    first = ts[:, :-1, None]
    # In front of the padding of a ragged grid there is a time, but no interval.
    inner = np.where(fraction > 0, first + np.diff(ts)[..., None] * fraction, first)
    return np.concatenate([inner.reshape(len(ts), -1), ts[:, -1:]], axis=1)


@dataclass(frozen=True)
class Checkpointed:
    r"""The gradient of `Direct`, in memory that grows as the square root of the number of steps.

    The solve keeps no graph, only the lengths of the steps and the states at about :math:`\sqrt{n}` of the n steps.
    The reverse pass takes the steps of one segment after another again, with a graph. So it costs one more solve.
    Second derivatives are refused.

    Args:
        segments: States kept at most; None lets their number grow as the square root of the steps.
        parameters: Tensors that the field depends on and that neither one call of it at the initial state nor a look
            into it (module, closure, partial, bound object) finds. A missing one is an error, not a zero.

    Example:
        >>> from sciml.solvers import solve
        >>> rate = torch.tensor(-1.0, dtype=torch.float64, requires_grad=True)
        >>> y0, ts = torch.ones(1, dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
        >>> ys = solve(lambda t, y: rate * y, y0, ts, gradients=Checkpointed()).ys
        >>> round(torch.autograd.grad(ys[-1], rate)[0].item(), 4)  # exp(-1)
        0.3679

    Reference:
        Griewank, Walther (2008), Evaluating Derivatives, chapter 12.
    """

    segments: int | None = None
    parameters: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        checked_positive(segments=self.segments)
        object.__setattr__(self, "parameters", tuple(self.parameters))

    def solve(
        self, field: Field, y0: Tensor, ts: Float[np.ndarray, "batch time"], settings: Settings, dense: bool
    ) -> tuple[Tensor, March]:
        """States `(batch, time, state)` at the times `ts`, and the march that found them."""
        check_transforms("Checkpointed")
        if dense and torch.is_grad_enabled():
            raise ModelError("`Checkpointed()` keeps no steps for `dense=True`. Use `Direct()` or `torch.no_grad()`.")
        trace = Trace(self.segments)
        with torch.no_grad():
            result = march(field, y0, ts, settings, dense, trace)
            ys = outputs(result, y0, ts)
        if torch.is_grad_enabled():
            ys = attach_checkpointed(Plan(field, ts, settings, trace), y0, ys, self.parameters)
        return ys, result
