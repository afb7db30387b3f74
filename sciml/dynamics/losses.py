"""Losses and their gradients, from one SymPy expression or one torch function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import sympy as sp
import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call, grad, vmap

from sciml.dynamics.evolution import Map
from sciml.errors import ModelError, quoted
from sciml.symbolic.declarations import Parameter
from sciml.symbolic.system import System

Loss = sp.Expr | Callable[..., Tensor]
"""An expression of its variables, or a torch function of a vector that returns one number."""

Gradient = Callable[[Any], Any]
"""Points to gradients: object arrays of expressions, or tensors (batch, variable)."""


def flat_loss(
    module: torch.nn.Module, loss: Callable[[torch.nn.Module], Tensor]
) -> tuple[Callable[[Float[Tensor, " weight"]], Tensor], Float[Tensor, " weight"]]:
    """A network's loss as a function of one vector of all its weights, for the analyses of this package.

    Args:
        module: The network; it is not changed.
        loss: What to minimize, given a network: `lambda net: ((net(x) - y) ** 2).mean()`.

    Returns:
        The function of the vector, and the vector that the module holds now.

    Raises:
        ModelError: The module has nothing to train.

    Example:
        >>> net = torch.nn.Linear(1, 1, bias=False).double()
        >>> value, weights = flat_loss(net, lambda n: (n(torch.ones(1, 1, dtype=torch.float64)) ** 2).sum())
        >>> bool(value(weights) == weights[0] ** 2)
        True
    """
    trained = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}
    if not trained:
        raise ModelError(f"`{type(module).__name__}` has no parameter that requires a gradient: there is no training.")
    sizes = [p.numel() for p in trained.values()]

    class Bound(torch.nn.Module):
        """The loss as a module, so that `functional_call` finds the network in it."""

        def __init__(self):
            super().__init__()
            self.inner = module

        def forward(self):
            return loss(self.inner)

    bound = Bound()

    def value(weights: Tensor) -> Tensor:
        parts = torch.split(weights, sizes)
        named = {f"inner.{n}": part.reshape(p.shape) for (n, p), part in zip(trained.items(), parts)}
        return functional_call(bound, named, ())

    return value, torch.cat([p.reshape(-1) for p in trained.values()])


def gradient_of(
    loss: Loss, variables: Sequence[sp.Symbol] | slice | None, point: Sequence[sp.Symbol] | None = None
) -> Gradient:
    """The gradient of a loss: by algebra of an expression, by autograd of a torch function.

    Args:
        loss: The loss.
        variables: Symbols to differentiate by; for a torch function, which part of its vector (None: all).
        point: Symbols whose values a point holds, for an expression; the variables when None.

    Raises:
        ModelError: Neither an expression nor a function, no variables, or a loss that does not depend on them.
    """
    if isinstance(loss, sp.Expr):
        return _by_algebra(loss, variables, point or variables)
    if not callable(loss):
        raise ModelError(f"a loss is a SymPy expression or a torch function of a vector, not `{type(loss).__name__}`.")
    return _by_autograd(loss, variables)


def _by_algebra(loss: sp.Expr, variables: Any, symbols: Any) -> Gradient:
    if not isinstance(variables, Sequence) or not variables:
        raise ModelError("a loss in SymPy needs its `variables`: the symbols that are trained.")
    slopes = [sp.diff(loss, symbol) for symbol in variables]
    if all(slope == 0 for slope in slopes):
        raise ModelError(f"the loss `{loss}` does not depend on {quoted(map(str, variables))}: nothing to descend.")
    without = next((s for slope in slopes for s in slope.atoms(sp.Derivative, sp.Subs)), None)
    if without is not None:
        raise ModelError(f"the loss `{loss}` has no gradient: `{without}` has no closed form. Use smooth functions.")

    def gradient(point: Any) -> np.ndarray:
        values = {symbol: sp.sympify(value) for symbol, value in zip(symbols, point, strict=True)}
        return np.array([slope.xreplace(values) for slope in slopes], dtype=object)

    return gradient


def _by_autograd(loss: Callable[[Tensor], Tensor], part: Any) -> Gradient:
    rows = vmap(grad(loss))
    seen: list[bool] = []

    def gradient(points: Tensor) -> Tensor:
        flat = points.reshape(-1, points.shape[-1])
        if not seen:
            seen.append(check_loss(loss, flat[0]))
        found = rows(flat).reshape(points.shape)
        return found if part is None else found[..., part]

    return gradient


def check_loss(loss: Callable[[Tensor], Tensor], point: Float[Tensor, " variable"]) -> bool:
    """That a torch loss is one number with a gradient.

    Raises:
        ModelError: It is not.
    """
    with torch.enable_grad():
        value = loss(point.detach().clone().requires_grad_())
    if not isinstance(value, Tensor) or value.numel() != 1 or value.ndim:
        found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ModelError(f"the loss returns `{found}`; expected is one number: take its `.mean()` or `.sum()`.")
    if not value.requires_grad:
        raise ModelError("the loss has no gradient by its vector: compute it in torch, without `.detach()` or NumPy.")
    return True


def as_system(
    blocks: Mapping[str, Sequence[Any]],
    variables: Sequence[sp.Symbol],
    following: Callable[..., Sequence[Any]],
    initial: Mapping | None,
    parameters: Mapping[sp.Symbol, Parameter | float] | None,
    discrete: bool,
) -> System:
    """Rates or next values of blocks of symbols as a System.

    Args:
        blocks: Name of each block -> what its states start from.
        variables: The symbols of the first block, `x`; those of a block `p` are called `x_p`.
        following: `(t, *blocks)` -> rates or next values, block by block.
        initial: Variable -> where it starts.
        parameters: Those that occur in the loss.
        discrete: Whether these are next values.
    """
    time = sp.Symbol("n" if discrete else "t", real=True)
    symbols = [
        np.array([sp.Symbol(f"{x}_{name}", real=True) if name else x for x in variables], dtype=object)
        for name in blocks
    ]
    found = following(time, *symbols)
    equations = {x: sp.sympify(rate) for block, rates in zip(symbols, found) for x, rate in zip(block, rates)}
    begin = {str(name): value for name, value in (initial or {}).items()}
    for block, start in list(zip(symbols, blocks.values()))[1:]:
        begin |= {str(x): value for x, value in zip(block, start) if str(x) not in begin}
    used = {s for rate in equations.values() for s in rate.free_symbols}
    return System(
        equations,
        parameters={k: v for k, v in (parameters or {}).items() if k in used},
        initial=begin,
        time=time if time in used else None,
        discrete=discrete,
    )


def as_map(count: int, following: Callable[..., Sequence[Tensor]]) -> Map:
    """Next values of blocks, side by side in one vector, as a map."""
    return Map(lambda n, y: torch.cat(following(n, *_blocks(y, count)), dim=-1), counted=True)


def as_field(count: int, following: Callable[..., Sequence[Tensor]]) -> Callable[[Any, Tensor], Tensor]:
    """Rates of blocks, side by side in one vector, as a field."""
    return lambda t, y: torch.cat(following(t, *_blocks(y, count)), dim=-1)


def _blocks(y: Tensor, count: int) -> tuple[Tensor, ...]:
    if y.shape[-1] % count:
        raise ModelError(
            f"states have {y.shape[-1]} entries; this optimizer keeps {count} numbers for each weight, block by block: "
            "give what `start(weights)` returns."
        )
    return torch.chunk(y, count, dim=-1)
