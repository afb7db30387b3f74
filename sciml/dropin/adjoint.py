"""`odeint_adjoint`: the gradient by a second equation, solved backwards from output to output."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sciml.dropin.integrate import integrate, integrate_to_event
from sciml.dropin.options import chosen
from sciml.dropin.problem import CALLBACKS, Problem, Shapes, mixed_norm, normalized
from sciml.errors import DataError, ModelError, SolveError
from sciml.solvers.captured import captured_tensors, dependencies


@dataclass(frozen=True, eq=False)
class Backward:
    """How the adjoint equation is solved.

    Args:
        rtol: Relative tolerance.
        atol: Absolute tolerance.
        method: Name of the method.
        options: Its options; `norm` is that of the tuple of time, state, adjoint and parameters.
    """

    rtol: Any
    atol: Any
    method: str | None
    options: dict[str, Any]


def odeint_adjoint(
    func: Callable,
    y0: Any,
    t: Tensor,
    *,
    rtol: Any = 1e-7,
    atol: Any = 1e-9,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
    event_fn: Callable | None = None,
    adjoint_rtol: Any = None,
    adjoint_atol: Any = None,
    adjoint_method: str | None = None,
    adjoint_options: Mapping[str, Any] | None = None,
    adjoint_params: Iterable[Tensor] | None = None,
) -> Any:
    r"""`odeint` with the gradient of the continuous adjoint, whose memory does not grow with the steps.

    .. math:: \dot a = -a \, \frac{\partial f}{\partial y}, \qquad
              \frac{dL}{d\theta} = \int a \, \frac{\partial f}{\partial \theta} \, dt

    It is the gradient of the true solution up to the tolerances. `sciml.solve` with `Backsolve()` computes it faster,
    and `Direct()` exactly.

    Args:
        func: Right-hand side `(t, y)`, as for `odeint`.
        y0: Initial state, a tensor or a tuple of tensors.
        t: Output times.
        rtol: Relative tolerance.
        atol: Absolute tolerance.
        method: As for `odeint`.
        options: As for `odeint`.
        event_fn: As for `odeint`.
        adjoint_rtol: Relative tolerance backwards; `rtol` by default.
        adjoint_atol: Absolute tolerance backwards; `atol` by default.
        adjoint_method: Method backwards; `method` by default.
        adjoint_options: Options backwards; those of `options` but `norm` by default. `norm` is of the tuple of time,
            state, adjoint and parameters; "seminorm" leaves the parameters out.
        adjoint_params: Tensors to differentiate by. By default all that `func` depends on: the parameters of modules,
            and what it closes over. (torchdiffeq leaves the latter out without a word.)

    Returns:
        As `odeint`.

    Raises:
        ModelError: An unknown method or option, or options that cannot be carried over to another method.
        DataError: `y0`, `t` or a tolerance cannot be used.
        SolveError: A solution could not be computed.

    Example:
        >>> rate = torch.tensor(0.5, requires_grad=True)
        >>> y = odeint_adjoint(lambda t, y: -rate * y, torch.ones(1), torch.tensor([0.0, 2.0]))
        >>> torch.autograd.grad(y[-1].sum(), rate)[0]  # -2 exp(-1)
        tensor(-0.7358)

    Reference:
        Chen, Rubanova, Bettencourt, Duvenaud (2018), Algorithm 1; Kidger, Chen, Lyons (2021) for the seminorm.
    """
    forward, forward_options = chosen(method, options)
    problem = normalized(func, y0, t, rtol, atol, (options or {}).get("norm"), event_fn)
    if adjoint_method not in (None, method) and options and adjoint_options is None:
        raise ModelError(
            f"`options` are those of `{forward.name}`, and `adjoint_method={adjoint_method!r}` is another method. Give "
            "`adjoint_options`, too; `{}` for none."
        )
    carried = {name: value for name, value in (options or {}).items() if name != "norm"}
    back = Backward(
        rtol=_own(rtol if adjoint_rtol is None else adjoint_rtol, "adjoint_rtol", adjoint_rtol),
        atol=_own(atol if adjoint_atol is None else adjoint_atol, "adjoint_atol", adjoint_atol),
        method=method if adjoint_method is None else adjoint_method,
        options=carried if adjoint_options is None else dict(adjoint_options),
    )
    chosen(back.method, {name: value for name, value in back.options.items() if name != "norm"})
    held = _held(func, problem, adjoint_params, norm_given=callable(back.options.get("norm")))
    _settle_norm(back.options, problem.shapes, problem.norm)
    names = {f"{name}_adjoint": name for name in CALLBACKS}
    calls = {name: getattr(func, own) for own, name in names.items() if hasattr(func, own)}
    task = _Task(problem, forward, forward_options, back, calls)
    answer = _Adjoint.apply(task, back.options, problem.y0, problem.t, *held)
    event_t, ys = answer if event_fn is not None else (None, answer)
    ys = ys if problem.shapes is None else problem.shapes.split(ys)
    return ys if event_fn is None else (event_t, ys)


@dataclass(frozen=True, eq=False)
class _Task:
    problem: Problem
    method: Any
    options: Any
    back: Backward
    callbacks: dict[str, Callable]


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx, task: _Task, adjoint_options: dict, y0: Tensor, t: Tensor, *held: Tensor):
        ctx.task, ctx.adjoint_options = task, adjoint_options
        ctx.by_time = t.requires_grad
        if task.problem.event_fn is None:
            ys = integrate(task.problem, task.method, task.options)
            ctx.save_for_backward(t, ys, *held)
            return ys
        event_t, ys = integrate_to_event(task.problem, task.method, task.options)
        ctx.save_for_backward(torch.stack([t[0], event_t.to(t)]), ys, *held)
        return event_t.to(t).clone(), ys

    @staticmethod
    def backward(ctx, *cotangents: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        if torch.is_grad_enabled():
            raise SolveError("`odeint_adjoint` has no second derivatives. Use `odeint`.")
        t, ys, *held = ctx.saved_tensors
        # Up to a fixed event time; `odeint_event` adds what the event time itself contributes.
        g = cotangents[-1]
        y_bar, t_bar, bars = _sweep(ctx.task, ctx.adjoint_options, t, ys, g, tuple(held), ctx.by_time)
        if ctx.task.problem.event_fn is not None:
            t_bar = torch.stack([t_bar[0], torch.zeros_like(t_bar[0])])
        return None, None, y_bar, t_bar if ctx.by_time else None, *bars


def _sweep(task: _Task, options: dict, t: Tensor, ys: Tensor, g: Tensor, held: tuple[Tensor, ...], by_time: bool):
    """Gradients by the initial state, by the times (zeros unless wanted) and by `held`."""
    problem, real = task.problem, ys.dtype.to_real()
    fall = _Augmented(problem.func, held, by_time)
    for name, callback in task.callbacks.items():
        setattr(fall, name, callback)
    a, time_bar = g[-1].clone(), torch.zeros((), dtype=real, device=ys.device)
    bars = [torch.zeros_like(p) for p in held]
    t_bars = torch.zeros(len(t), dtype=real, device=ys.device)
    method, settings = chosen(task.back.method, options)
    for i in range(len(t) - 1, 0, -1):
        if by_time:
            speed = (problem.func(problem.clock(t[i]), ys[i]).conj() * g[i]).real.sum()
            time_bar, t_bars[i] = time_bar - speed, speed
        state = (time_bar, ys[i], a, *bars)
        if ys.is_complex():
            state = tuple(part.to(ys.dtype) for part in state)
        # A state as an output has it, so that errors do not build up from interval to interval.
        stretch = normalized(fall, state, t[[i, i - 1]], task.back.rtol, task.back.atol, options["norm"], None)
        assert stretch.shapes is not None, "the adjoint's state is a tuple"
        time_bar, _, a, *bars = stretch.shapes.split(integrate(stretch, method, settings)[1])
        time_bar, bars = time_bar.real, [b if p.is_complex() else b.real for b, p in zip(bars, held)]
        a = a + g[i - 1]
    t_bars[0] = time_bar
    return a, t_bars.to(t.dtype), bars


class _Augmented:
    """State, its adjoint, and the integrals that are the gradients by time and parameters."""

    def __init__(self, func: Callable, held: tuple[Tensor, ...], by_time: bool) -> None:
        self.func, self.held, self.by_time = func, held, by_time

    def __call__(self, t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        _, y, a, *_ = state
        with torch.enable_grad():
            t, y = t.detach().requires_grad_(self.by_time), y.detach().requires_grad_()
            dy = self.func(t, y)
            inputs = ((t,) if self.by_time else ()) + (y, *self.held)
            found = (None,) * len(inputs)
            if dy.requires_grad:
                found = torch.autograd.grad(dy, inputs, -a, allow_unused=True)
        found = [torch.zeros_like(x) if d is None else d for d, x in zip(found, inputs)]
        by_time, by_state, *rest = found if self.by_time else (torch.zeros_like(state[0]), *found)
        kind = state[0].dtype
        return by_time.to(kind), dy.detach(), by_state, *(d.to(kind) if kind.is_complex else d for d in rest)


def _held(func: Callable, problem: Problem, given: Iterable[Tensor] | None, norm_given: bool) -> tuple[Tensor, ...]:
    """Tensors to differentiate by: those given, or all that are found."""
    listed = tuple(_parameters(func) if given is None and isinstance(func, nn.Module) else given or ())
    if norm_given and not all(p.requires_grad for p in listed):
        warnings.warn("parameters that require no gradient do not appear in the adjoint `norm`.", stacklevel=3)
    if given is None:
        return dependencies(problem.field, problem.ts[None, :1], problem.flat.detach(), listed)
    names = {id(p) for p in listed}
    missing = [p for p in captured_tensors(func) if id(p) not in names]
    if missing:
        warnings.warn(
            f"`adjoint_params` leaves out {len(missing)} tensors that `func` holds and that require a gradient, of shapes "
            f"{[tuple(p.shape) for p in missing]}: they will get none. Add them, or leave `adjoint_params` out.",
            stacklevel=3,
        )
    return tuple(p for p in listed if p.requires_grad)


def _parameters(module: nn.Module) -> list[Tensor]:
    """A module's parameters; those of a replica made by `DataParallel` are plain attributes."""
    if not getattr(module, "_is_replica", False):
        return list(module.parameters())
    return [v for m in module.modules() for v in vars(m).values() if isinstance(v, Tensor) and v.requires_grad]


def _own(tolerance: Any, name: str, given: Any) -> Any:
    if isinstance(tolerance, tuple | list) or (isinstance(tolerance, Tensor) and tolerance.ndim):
        kind = name if given is not None else name.removeprefix("adjoint_")
        raise DataError(
            f"`{kind}` has several entries, which do not fit the adjoint's state. Give one number as `{name}`."
        )
    return tolerance


def _settle_norm(options: dict[str, Any], shapes: Shapes | None, state_norm: Callable) -> None:
    """Put the norm of the adjoint state into its options."""
    given = options.get("norm")

    def default(parts: tuple[Tensor, ...]):
        t, y, a, *parameters = parts
        return max(t.abs(), state_norm(y), state_norm(a), mixed_norm(parameters))

    def seminorm(parts: tuple[Tensor, ...]):
        t, y, a, *_ = parts
        return max(t.abs(), state_norm(y), state_norm(a))

    if given is None:
        options["norm"] = default
    elif isinstance(given, str):
        if given != "seminorm":
            raise ModelError(f"the adjoint `norm` is {given!r}. Expected a function, or 'seminorm'.")
        options["norm"] = seminorm
    elif shapes is not None:
        split = shapes.split
        options["norm"] = lambda parts: given((parts[0], *split(parts[1]), *split(parts[2]), *parts[3:]))
