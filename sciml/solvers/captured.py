"""The tensors that a field depends on: its parameters, and what it closes over."""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch._C._functorch import TransformType


def graph_leaves(output: Tensor, stop: Iterable[Tensor] = ()) -> list[Tensor]:
    """Leaf tensors that the graph of `output` reaches without going through `stop`.

    Args:
        output: A result of differentiable operations.
        stop: Tensors behind which not to look; they are not reported.

    Returns:
        The leaves, each once.

    Example:
        >>> w = torch.ones(2, requires_grad=True)
        >>> graph_leaves((3 * w).sum())[0] is w
        True
    """
    excluded = {id(tensor) for tensor in stop}
    seen = {tensor.grad_fn for tensor in stop if tensor.grad_fn is not None}
    leaves, waiting = {}, [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None and id(variable) not in excluded:
            leaves[id(variable)] = variable
        waiting += [following for following, _ in node.next_functions]
    return list(leaves.values())


def captured_tensors(field: Callable) -> list[Tensor]:
    """Tensors with a gradient that a callable holds: in modules, closures, partials, bound objects, globals.

    Args:
        field: Any callable.

    Returns:
        The tensors, each once, in the order found.
    """
    found: dict[int, Tensor] = {}
    seen: set[int] = set()

    def visit(value: object, depth: int) -> None:
        if id(value) in seen or depth > 6:
            return
        seen.add(id(value))
        for inner in _contents(value, found):
            visit(inner, depth + 1)

    visit(field, 0)
    return list(found.values())


def _contents(value: object, found: dict[int, Tensor]) -> list[object]:
    if isinstance(value, Tensor):
        if value.requires_grad:
            found[id(value)] = value
        return []
    if isinstance(value, nn.Module):
        return [*value.parameters(), *value.buffers(), *value.__dict__.values(), *value.children()]
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if inspect.ismethod(value):
        return [value.__self__, value.__func__]
    if inspect.isfunction(value):
        names = inspect.getclosurevars(value)
        outside = [v for v in names.globals.values() if isinstance(v, Tensor | nn.Module) or inspect.isfunction(v)]
        return [*names.nonlocals.values(), *outside, *(value.__defaults__ or ())]
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    # An object of the user's own, such as a dataclass with a `__call__`; libraries' objects are left alone.
    own = type(value).__module__.split(".")[0] not in ("torch", "numpy", "builtins", "sympy")
    return list(vars(value).values()) if own and hasattr(value, "__dict__") and not isinstance(value, type) else []


def dependencies(
    field: Callable, ts: Float[np.ndarray, "batch time"], y0: Tensor, given: Iterable[Tensor] = ()
) -> tuple[Tensor, ...]:
    """Every tensor with a gradient that the field depends on, found by looking inside and by one call.

    Args:
        field: The field.
        ts: Output times; the field is called at the first of them.
        y0: The state at which to call it.
        given: Tensors that the user names.

    Returns:
        Leaves and closed-over results, none of which is computed from another on the way to the field.
    """
    found = {id(p): p for p in (*given, *captured_tensors(field)) if p.requires_grad}
    held = {id(p): p for p in _independent(list(found.values()))}
    start = torch.as_tensor(ts[:, 0], dtype=y0.dtype.to_real(), device=y0.device)
    clock = start[0] if y0.ndim == 1 else start.view(-1, *(1 for _ in y0.shape[1:]))
    with torch.enable_grad():
        dy = field(clock, y0.detach())
    held |= {id(p): p for p in graph_leaves(dy, stop=held.values())}
    return tuple(held.values())


def _independent(tensors: list[Tensor]) -> list[Tensor]:
    """All of them, or the leaves only where two share an origin: a gradient would be counted twice."""
    origins = [id(leaf) for p in tensors for leaf in (graph_leaves(p) if p.grad_fn else [p])]
    shared = len(set(origins)) < len(origins)
    return [p for p in tensors if p.is_leaf] if shared else tensors


def transformed() -> bool:
    """Whether this runs inside a transform of `torch.func`, such as `jvp`, `jacfwd` or `grad`."""
    return torch._C._are_functorch_transforms_active()


def differentiations() -> int:
    """How many transforms of `torch.func` that differentiate are active; `vmap` does not count."""
    active = torch._C._functorch.get_interpreter_stack() or []
    return sum(level.key() in (TransformType.Grad, TransformType.Jvp) for level in active)


def tracked(x: Tensor) -> bool:
    """Whether derivatives of any kind may flow through a tensor."""
    return x.requires_grad or transformed() or torch.autograd.forward_ad.unpack_dual(x).tangent is not None


def differentiable(field: Callable, ts: Float[np.ndarray, "batch time"], y0: Tensor) -> bool:
    """Whether there is anything to differentiate by: the initial state, or what the field depends on."""
    return y0.requires_grad or bool(dependencies(field, ts, y0))
