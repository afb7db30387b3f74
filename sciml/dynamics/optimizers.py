r"""Optimizers as dynamical systems: each one a map, and the flow that the map discretizes.

All are written in one time: `duration` is how much of it a step takes, so that state n of the map stands beside the flow
at n times `duration`. With the momentum :math:`p` scaled accordingly (`torch.optim`'s buffer is
:math:`-p/\text{duration}`), heavy-ball descent is the conformal symplectic Euler method for
:math:`\dot\theta = p, \ \dot p = -\gamma p - \nabla f`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import sympy as sp
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.dynamics.evolution import Map
from sciml.dynamics.losses import Loss, as_field, as_map, as_system, gradient_of
from sciml.errors import ModelError
from sciml.symbolic.declarations import Parameter
from sciml.symbolic.system import System
from sciml.symbolic.wiener import correlated


@dataclass(frozen=True)
class _Optimizer:
    """What all optimizers share: building the map and the flow of a loss."""

    rate: float

    memory: ClassVar[tuple[str, ...]] = ()
    """Names of what is kept for each weight beside its value, all zero at the start."""

    _step: ClassVar[Callable[..., Sequence[Any]]]
    _rates: ClassVar[Callable[..., Sequence[Any]]]
    """Next values and rates of all blocks, given the time, the gradient as a function, and the blocks."""

    def __post_init__(self):
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise ModelError(f"`rate={self.rate}` must be positive: it is the size of a step.")

    @property
    def duration(self) -> float:
        """Time that one step takes in the flow."""
        return self.rate

    def descent(
        self,
        loss: Loss,
        variables: Sequence[sp.Symbol] | None = None,
        *,
        initial: Mapping | None = None,
        parameters: Mapping[sp.Symbol, Parameter | float] | None = None,
    ) -> System | Map:
        """The optimizer on a loss, as a map from one step to the next.

        Args:
            loss: An expression, or a torch function of a vector that returns one number (`flat_loss` makes one of a
                network).
            variables: What an expression is minimized over.
            initial: Where they start, for an expression.
            parameters: What else occurs in an expression.

        Returns:
            A System with `discrete=True`, or a `Map` of what `start` returns.

        Raises:
            ModelError: A loss without gradient, or an expression without variables.
        """
        gradient = gradient_of(loss, variables)

        def following(n: Any, *blocks: Any) -> Sequence[Any]:
            return self._step(n, gradient, *blocks)

        return self._built(loss, variables, following, initial, parameters, discrete=True)

    def flow(
        self,
        loss: Loss,
        variables: Sequence[sp.Symbol] | None = None,
        *,
        initial: Mapping | None = None,
        parameters: Mapping[sp.Symbol, Parameter | float] | None = None,
    ) -> System | Callable[[Any, Tensor], Tensor]:
        """The differential equation that the optimizer follows for small steps.

        Args:
            loss, variables, initial, parameters: As for `descent`.

        Returns:
            A System, or a field `(t, y)` for `sciml.solve` and the analyses.

        Raises:
            ModelError: As for `descent`.
        """
        gradient = gradient_of(loss, variables)

        def following(t: Any, *blocks: Any) -> Sequence[Any]:
            return self._rates(t, gradient, *blocks)

        return self._built(loss, variables, following, initial, parameters, discrete=False)

    def start(self, weights: Float[Tensor, "*batch weight"]) -> Float[Tensor, "*batch state"]:
        """The state of the torch map or field with these weights and an empty memory."""
        return torch.cat([weights, *(torch.zeros_like(weights) for _ in self.memory)], dim=-1)

    def _built(self, loss, variables, following, initial, parameters, discrete: bool):
        if isinstance(loss, sp.Expr):
            blocks = {"": [], **{name: [0.0] * len(variables) for name in self.memory}}
            return as_system(blocks, variables, following, initial, parameters, discrete)
        return (as_map if discrete else as_field)(1 + len(self.memory), following)


@dataclass(frozen=True)
class GradientDescent(_Optimizer):
    r""":math:`\theta \leftarrow \theta - h \nabla f`, Euler's method for the gradient flow :math:`\dot\theta = -\nabla f`.

    It stays closer, to second order, to the flow of `modified_loss(f, variables, h)`.

    Args:
        rate: Step h.

    Example:
        >>> x = sp.Symbol("x", real=True)
        >>> GradientDescent(0.1).descent(x**2, [x])
        System(x -> 0.8*x)
        >>> GradientDescent(0.1).flow(x**2, [x])
        System(x' = -2*x)
    """

    def diffusion(
        self,
        loss: sp.Expr,
        variables: Sequence[sp.Symbol],
        covariance: Any,
        *,
        initial: Mapping | None = None,
        parameters: Mapping[sp.Symbol, Parameter | float] | None = None,
    ) -> System:
        r"""Stochastic descent as a stochastic System: :math:`d\theta = -\nabla f\,dt + \sqrt{h \Sigma}\,dW` (Itô).

        Args:
            loss, variables, initial, parameters: As for `descent`; the loss an expression.
            covariance: Of the gradient of one batch, Σ, numbers in the order of the variables: `minibatch_covariance`
                divided by the size of a batch.

        Returns:
            A System with noise, whose paths have the mean and covariance of the descent's to first order in h.

        Example:
            >>> x = sp.Symbol("x", real=True)
            >>> GradientDescent(0.01).diffusion(x**2, [x], [[0.25]]).noise[x]
            {W_1: 0.0500000000000000}

        Reference:
            Li, Tai, E (2017), Proceedings of Machine Learning Research 70, 2101-2110, theorem 1.
        """
        flow = self.flow(loss, variables, initial=initial, parameters=parameters)
        return replace(flow, noise=correlated(variables, self.rate * np.asarray(covariance, dtype=float)))

    def _step(self, n, gradient, theta):
        return [theta - self.rate * gradient(theta)]

    def _rates(self, t, gradient, theta):
        return [-gradient(theta)]


@dataclass(frozen=True)
class Momentum(_Optimizer):
    r"""Polyak's heavy ball; `torch.optim.SGD(lr=rate, momentum=momentum)`.

    .. math:: p \leftarrow \mu p - h \nabla f(\theta), \quad \theta \leftarrow \theta + h p, \qquad h = \sqrt{\text{rate}}

    This is the conformal symplectic Euler method for :math:`\dot\theta = p, \ \dot p = -\gamma p - \nabla f`, a
    Hamiltonian system with friction :math:`\gamma = -\log(\mu)/h`: each step shrinks volumes by :math:`\mu` for each
    weight, whatever the loss, and the energy :math:`|p|^2/2 + f` of the flow falls by :math:`\gamma |p|^2`.

    Args:
        rate: Learning rate, the square of the step h.
        momentum: Factor μ between 0 and 1; 1 is a Hamiltonian system without friction.

    Example:
        >>> x = sp.Symbol("x", real=True)
        >>> Momentum(0.25, 0.5).descent(x**2 / 2, [x])
        System(x -> 0.75*x + 0.25*x_p, x_p -> -0.5*x + 0.5*x_p)

    Reference:
        Polyak (1964), USSR Computational Mathematics and Mathematical Physics 4(5), 1-17; França, Sulam, Robinson, Vidal
        (2020), Journal of Statistical Mechanics 124008.
    """

    momentum: float = 0.9

    memory: ClassVar[tuple[str, ...]] = ("p",)

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.momentum <= 1:
            raise ModelError(f"`momentum={self.momentum}` must be above 0 and at most 1; for 0 use `GradientDescent`.")

    @property
    def duration(self) -> float:
        return math.sqrt(self.rate)

    @property
    def friction(self) -> float:
        """Friction γ of the flow, per unit of its time."""
        return -math.log(self.momentum) / self.duration

    def hamiltonian(self, loss: sp.Expr, variables: Sequence[sp.Symbol]) -> sp.Expr:
        """The energy |p|²/2 + f of the flow, which friction γ lowers by γ |p|² per unit of time."""
        return loss + sum(sp.Symbol(f"{x}_p", real=True) ** 2 for x in variables) / 2

    def _step(self, n, gradient, theta, p):
        p = self.momentum * p - self.duration * gradient(theta)
        return [theta + self.duration * p, p]

    def _rates(self, t, gradient, theta, p):
        return [p, -self.friction * p - gradient(theta)]


@dataclass(frozen=True)
class Nesterov(_Optimizer):
    r"""Nesterov's accelerated gradient, with momentum :math:`n/(n+3)` at step n.

    .. math:: \theta_{n+1} = z_n - h^2 \nabla f(z_n), \quad z_n = \theta_n + \frac{n}{n+3} (\theta_n - \theta_{n-1}),

    with :math:`h = \sqrt{\text{rate}}` and :math:`p_n = (\theta_n - \theta_{n-1})/h`. Its flow
    :math:`\ddot\theta + \frac{3}{t}\dot\theta + \nabla f = 0` reaches :math:`f - f^* \le 2 |\theta_0 - \theta^*|^2/t^2` on
    convex losses. The flow is singular at t = 0: begin at a small time by `early`.

    Args:
        rate: Learning rate, the square of the step h; at most 1/L for a loss with L-Lipschitz gradient.

    Reference:
        Su, Boyd, Candès (2016), Journal of Machine Learning Research 17(153), 1-43, eqs. 1-3 and theorem 3.
    """

    memory: ClassVar[tuple[str, ...]] = ("p",)

    @property
    def duration(self) -> float:
        return math.sqrt(self.rate)

    def early(self, loss: Loss, weights: Any, time: float, variables: Sequence[sp.Symbol] | None = None) -> Any:
        r"""The state of the flow at a small time, to third order in it.

        Args:
            loss: The loss.
            weights: Weights at t = 0: numbers, or a tensor (batch, weight) for a torch loss.
            time: A small time t.
            variables: Those of an expression.

        Returns:
            :math:`\theta_0 - t^2 \nabla f/8` and :math:`-t \nabla f/4`: a dict by symbol for an expression, otherwise a
            tensor (batch, state).
        """
        gradient = gradient_of(loss, variables)
        if not isinstance(loss, sp.Expr):
            slope = gradient(weights)
            return torch.cat([weights - time**2 / 8 * slope, -time / 4 * slope], dim=-1)
        slope = gradient([float(w) for w in weights])
        named = dict(zip(variables, np.asarray(weights, dtype=float) - time**2 / 8 * slope.astype(float)))
        return named | {sp.Symbol(f"{x}_p", real=True): -time / 4 * float(s) for x, s in zip(variables, slope)}

    def _step(self, n, gradient, theta, p):
        z = theta + self.duration * n / (n + 3) * p
        moved = z - self.rate * gradient(z)
        return [moved, (moved - theta) / self.duration]

    def _rates(self, t, gradient, theta, p):
        return [p, -3 / t * p - gradient(theta)]


@dataclass(frozen=True)
class AdamDescent(_Optimizer):
    r"""Adam, `torch.optim.Adam(lr=rate, betas=betas, eps=epsilon)`, and its differential equation.

    .. math:: \dot m = a (g - m), \quad \dot v = b (g^2 - v), \quad
        \dot\theta = -\frac{m / (1 - e^{-a t})}{\sqrt{v / (1 - e^{-b t})} + \epsilon}

    with :math:`g = \nabla f`, :math:`a = (1 - \beta_1)/h`, :math:`b = (1 - \beta_2)/h`, h the rate. The flow is singular at
    t = 0, where the bias corrections start: begin after one step of the map.

    Args:
        rate: Learning rate h.
        betas: Memory β₁ of the mean of gradients, and β₂ of their squares.
        epsilon: What keeps the denominator from zero.

    Reference:
        Kingma, Ba (2015), arXiv:1412.6980, algorithm 1; da Silva, Gazeau (2020), Journal of Machine Learning Research
        21(5), 1-42, eq. 2.5.
    """

    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    memory: ClassVar[tuple[str, ...]] = ("m", "v")

    def __post_init__(self):
        super().__post_init__()
        if not all(0 < beta < 1 for beta in self.betas):
            raise ModelError(f"`betas={self.betas}` must lie between 0 and 1.")

    def _step(self, n, gradient, theta, m, v):
        (first, second), slope = self.betas, gradient(theta)
        m, v = first * m + (1 - first) * slope, second * v + (1 - second) * slope**2
        mean, square = m / (1 - first ** (n + 1)), v / (1 - second ** (n + 1))
        return [theta - self.rate * mean / (square**0.5 + self.epsilon), m, v]

    def _rates(self, t, gradient, theta, m, v):
        (a, b), slope = [(1 - beta) / self.rate for beta in self.betas], gradient(theta)
        exp = torch.exp if isinstance(theta, Tensor) else sp.exp
        mean, square = m / (1 - exp(-a * t)), v / (1 - exp(-b * t))
        return [-mean / (square**0.5 + self.epsilon), a * (slope - m), b * (slope**2 - v)]


def modified_loss(loss: Loss, rate: float, variables: Sequence[sp.Symbol] | None = None) -> Loss:
    r"""The loss whose gradient flow gradient descent follows to second order: :math:`f + \frac{h}{4} |\nabla f|^2`.

    Gradient descent prefers flat places by this amount, without being told.

    Args:
        loss: An expression, or a torch function of a vector.
        rate: Step h of the descent.
        variables: Those of an expression.

    Example:
        >>> x = sp.Symbol("x", real=True)
        >>> modified_loss(x**2, 0.1, [x])
        1.1*x**2

    Reference:
        Barrett, Dherin (2021), arXiv:2009.11162, eq. 4.
    """
    gradient = gradient_of(loss, variables)
    if isinstance(loss, sp.Expr):
        return loss + sp.Float(rate) / 4 * sum(g**2 for g in gradient(variables))
    return lambda weights: loss(weights) + rate / 4 * (gradient(weights[None])[0] ** 2).sum()


def minibatch_covariance(losses: Callable[[Tensor], Tensor], weights: Float[Tensor, " weight"]) -> Float[Tensor, "w w"]:
    r"""Covariance of the gradients of single samples: the noise of stochastic gradient descent.

    A batch of B of N samples drawn with replacement has a gradient with this covariance over B, and descent with rate h
    follows :math:`d\theta = -\nabla f \, dt + \sqrt{h \Sigma/B} \, dW`.

    Args:
        losses: The vector of weights to the losses of all samples, (sample).
        weights: Where.

    Returns:
        The covariance Σ, over N.

    Raises:
        ModelError: The losses are not one number for each sample.

    Reference:
        Li, Tai, E (2017), Proceedings of Machine Learning Research 70, 2101-2110, eq. 5.
    """
    slopes = torch.func.jacrev(losses)(weights)
    if slopes.ndim != 2 or len(slopes) < 2:
        raise ModelError(
            f"`losses` returns shape {tuple(slopes.shape[:-1])}; expected is one loss for each of at least two samples."
        )
    centered = slopes - slopes.mean(dim=0)
    return centered.T @ centered / len(slopes)
