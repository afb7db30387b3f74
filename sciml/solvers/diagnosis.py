"""Why a trajectory failed: the component, what left the finite numbers, and how stiff the system is there."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.solvers.field import Field, FlatField
from sciml.solvers.methods.heun import HEUN
from sciml.solvers.methods.protocol import AbstractExplicit, AbstractSolver
from sciml.solvers.solution import Failure, Status
from sciml.solvers.steppers import BatchStepper
from sciml.solvers.tolerance import Tolerance, host

# Beyond this many states the eigenvalues of the Jacobian cost more than they tell.
MANY_STATES = 256


@torch.no_grad()
def diagnosed(
    field: Field,
    shape: torch.Size,
    solver: AbstractSolver,
    tolerance: Tolerance,
    status: np.ndarray,
    t: Float[np.ndarray, " batch"],
    h: Float[np.ndarray, " batch"],
    y: Float[Tensor, "batch state"],
) -> tuple[Failure, ...]:
    """The failures of a march; the step that failed is tried once more to see what happened in it.

    Args:
        field: The field on states of the given shape.
        shape: Shape of the initial state.
        solver: The method.
        tolerance: Measures which component changes fastest.
        status: How each trajectory ended.
        t: Times reached.
        h: Steps that were to be taken from there.
        y: States there.
    """
    single, state = len(shape) == 1, shape if len(shape) == 1 else shape[1:]
    flat = FlatField(field, shape, lifted=single)
    stepper = BatchStepper(flat, solver.tableau if isinstance(solver, AbstractExplicit) else HEUN, y, tolerance)
    first = flat(stepper.clock(t), y)
    new, k = stepper.stages(t, h, y, first)
    stages = torch.stack(k)
    stiffness = np.abs(h) * spectral_radius(flat, stepper.clock(t), y)
    speed = host(first.abs() / (tolerance.rtol * y.abs() + tolerance.atol))
    failures = []
    for i in np.flatnonzero(status):
        component, cause = int(np.argmax(np.nan_to_num(speed[i], nan=np.inf))), ""
        bad = ~torch.isfinite(stages[:, i])
        if status[i] == Status.NON_FINITE and bad.any():
            stage, component = bad.nonzero()[0].tolist()
            sums = sum((a * k[j][i] for j, a in stepper.tableau.rows[stage]), torch.zeros_like(y[i]))
            time = torch.as_tensor(t[i] + stepper.tableau.c[stage] * h[i], **stepper.kind)
            cause = _cause(field, time, y[i] + h[i] * sums)
        elif status[i] == Status.NON_FINITE and not torch.isfinite(new[i]).all():
            component = int((~torch.isfinite(new[i])).nonzero()[0])
        names = getattr(field, "names", None)
        name = names[component] if names and len(names) == y.shape[1] else str(component)
        failures.append(
            Failure(int(i), Status(status[i]), float(t[i]), y[i].view(state), name, float(stiffness[i]), cause)
        )
    return tuple(failures)


def spectral_radius(field: FlatField, t: Tensor, y: Float[Tensor, "batch state"]) -> Float[np.ndarray, " batch"]:
    """Largest modulus of the Jacobian's eigenvalues; NaN where it cannot be had."""
    unknown = np.full(len(y), np.nan)
    if y.shape[1] > MANY_STATES:
        return unknown
    try:
        jacobian = field.jacobian(t, y)
    except RuntimeError:
        # A field that autograd cannot follow must not hide the failure that is to be explained.
        return unknown
    sound = torch.isfinite(jacobian).all(dim=(1, 2))
    values = torch.linalg.eigvals(torch.where(sound[:, None, None], jacobian, 0.0))
    return np.where(host(sound), host(values.abs().amax(dim=1)), np.nan)


def _cause(field: Field, t: Tensor, y: Float[Tensor, " state"]) -> str:
    explain = getattr(field, "explain", None)
    return (explain(t, y) if explain else None) or ""


def message(failures: tuple[Failure, ...], count: int, batched: bool, solver: AbstractSolver, limits: str) -> str:
    """What happened to the first trajectory that failed, and what to try.

    Args:
        failures: All of them.
        count: Number of trajectories.
        batched: Whether there is a batch.
        solver: The method.
        limits: The limit on the steps' number or length that was met, in words.
    """
    first = failures[0]
    which = f" of trajectory {first.trajectory}" if batched else ""
    where = f"{which} at t = {first.time:.6g} while solving with `{type(solver).__name__}`."
    explicit = isinstance(solver, AbstractExplicit)
    stiff = explicit and first.stiffness > 1 and solver.adaptive
    seen = f" `{first.component}` changes fastest; h times the Jacobian's spectral radius is {first.stiffness:.2g}."
    if first.status == Status.MAX_STEPS:
        text = f"{limits} was reached{where} Allow more steps or a larger tolerance."
        text += f"{seen} The system looks stiff: try `Kvaerno5()`." if stiff else seen
    elif first.status == Status.STEP_UNDERFLOW:
        text = f"step size fell below {limits}{where}{seen} "
        text += "The system looks stiff: try `Kvaerno5()`." if stiff else ""
        text += (
            "" if stiff else "Its solution may end there" + (", or it is stiff: try `Kvaerno5()`." if explicit else ".")
        )
    elif first.status == Status.MAX_RESETS:
        text = f"{limits} was reached{where} Allow more, or end the trajectory by a terminal event."
    elif first.status == Status.CHATTERING:
        text = (
            f"no time passes between the resets{where} The events chatter, infinitely many of them in a finite time: end "
            "the trajectory by a terminal event before that, or reset to a state that moves away."
        )
    elif first.status == Status.UNSOLVED:
        text = f"the equations of a step were not solved{where}{seen} Try a shorter step, or let the error choose it."
    else:
        what = first.cause or f"`{first.component}`"
        text = f"the field or the state left the finite numbers{where} The first to leave was {what}."
        text += " Check the field there, or try a smaller `first_step` or step."
    others = f" {len(failures)} of {count} trajectories failed; `throw=False` keeps the others." if batched else ""
    return text + others
