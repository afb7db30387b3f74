"""What a user declares beside the equations: parameters, and networks to learn."""

from dataclasses import dataclass, field, replace
from numbers import Real

import numpy as np
import sympy as sp

from sciml.errors import ModelError, quoted, suggestion
from sciml.symbolic.distributions import AbstractDistribution, LogNormal

INTERPOLATIONS = ("constant", "linear", "cubic")
"""How an input goes from one of its samples to the next."""

ACTIVATIONS = ("tanh", "sin", "cos", "softplus", "silu", "gelu", "relu", "sigmoid", "rbf", "identity")


@dataclass(frozen=True)
class Parameter:
    """A number to be fitted.

    Bounds are kept by a smooth change of variable (logistic between two bounds, exponential beside one), so an
    optimizer never sees them and a value never touches them.

    Args:
        value: Where a fit starts, and what `simulate` uses. Unit of the model.
        bounds: Lower and upper limit, either of them None; the value lies strictly between.
        prior: `Normal(s)`, `LogNormal(s)` or `StudentT(s)`: what is known beforehand, as a distribution around `value`.
        fixed: Keep the value during fits. A plain number in `System(parameters=...)` means the same.
        per_experiment: Fit a value of its own for each experiment, each with these bounds and this prior.
    """

    value: float
    bounds: tuple[float | None, float | None] = (None, None)
    prior: AbstractDistribution | None = None
    fixed: bool = False
    per_experiment: bool = False

    def __post_init__(self):
        try:
            object.__setattr__(self, "value", float(self.value))
            lower, upper = self.bounds
            limits = tuple(None if limit is None or np.isinf(limit) else float(limit) for limit in (lower, upper))
        except (TypeError, ValueError) as error:
            raise ModelError(
                f"`Parameter({self.value!r}, bounds={self.bounds!r})` is not a number with a pair of bounds. "
                "Write `Parameter(0.5, bounds=(0, 2))`; None leaves a side open."
            ) from error
        object.__setattr__(self, "bounds", limits)
        lower, upper = limits
        if not np.isfinite(self.value):
            raise ModelError(f"`Parameter({self.value})` must start from a finite number.")
        if lower is not None and upper is not None and lower >= upper:
            raise ModelError(f"bounds `({lower}, {upper})` are empty: the lower one must be below the upper one.")
        inside = (lower is None or self.value > lower) and (upper is None or self.value < upper)
        if not inside and not self.fixed:
            raise ModelError(
                f"the start `{self.value}` does not lie between the bounds `({lower}, {upper})`. "
                "A fit starts strictly inside them: move the value or widen the bounds."
            )
        if self.fixed and self.per_experiment:
            raise ModelError(
                "a parameter that is `fixed` has one value for all experiments. For known values that differ, declare the "
                "symbol in `System(inputs=...)` and give it as a column of the data."
            )
        if self.prior is not None:
            self._check_prior(self.prior)

    def _check_prior(self, prior: AbstractDistribution):
        if not isinstance(prior, AbstractDistribution) or not prior.prior or prior.scale is None:
            raise ModelError(
                f"`prior={prior!r}` is not a distribution around the value. "
                "Write `prior=Normal(0.1)` or `prior=LogNormal(1.0)`."
            )
        if not prior.scale.is_number:
            raise ModelError(f"the prior's scale `{prior.scale}` must be a number.")
        if isinstance(prior, LogNormal) and not self.value > 0:
            raise ModelError(f"a LogNormal prior needs a positive value, not `{self.value}`. Use `Normal(...)`.")


@dataclass(frozen=True)
class MLP:
    r"""A fully connected network to stand for unknown functions.

    With factors :math:`g_j`, scales :math:`s`, and the network :math:`N`, the j-th function is

    .. math:: f_j(x) = g_j \, s^{out}_j \, N_j(x_1 / s^{in}_1, \dots, x_d / s^{in}_d).

    Args:
        hidden: Widths of the hidden layers.
        activation: One of tanh, sin, cos, softplus, silu, gelu, relu, sigmoid, rbf (exp(-x²)), identity.
        factors: One argument symbol of the function per output (None for no factor): `factors=(hare, lynx)` learns
            rates per capita, so that a population that is zero stays zero.
        decay: Prior precision of the weights (not the biases): adds decay/2 · Σ w² to the negative log-likelihood. 0
            turns it off.
        input_scale: Typical sizes of the arguments. None: taken from the data by `Problem`, otherwise 1.
        output_scale: Typical sizes of the functions. None: taken from the data by `Problem`, otherwise 1.
        weights: All weights and biases as one flat vector in torch's order (per layer the weight matrix by rows,
            then the bias). None: drawn at random from the fit's seed.
    """

    hidden: tuple[int, ...] = (32, 32)
    activation: str = "tanh"
    factors: tuple[sp.Symbol | None, ...] | None = None
    decay: float = 1.0
    input_scale: tuple[float, ...] | None = None
    output_scale: tuple[float, ...] | None = None
    weights: np.ndarray | None = field(default=None, compare=False, repr=False)

    def __post_init__(self):
        hidden = tuple(self.hidden) if np.iterable(self.hidden) else (self.hidden,)
        object.__setattr__(self, "hidden", hidden)
        if any(not isinstance(width, int) or width < 1 for width in hidden):
            raise ModelError(f"`hidden={hidden}` must hold positive whole numbers, such as `(32, 32)`.")
        if self.activation not in ACTIVATIONS:
            raise ModelError(
                f"activation `{self.activation}` is not known. There are {quoted(ACTIVATIONS)}."
                f"{suggestion(self.activation, ACTIVATIONS)}"
            )
        if not (isinstance(self.decay, Real) and np.isfinite(self.decay) and self.decay >= 0):
            raise ModelError(f"`decay={self.decay}` must be zero or a positive number.")
        for name in ("factors", "input_scale", "output_scale"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, tuple(value) if np.iterable(value) else (value,))
        for scale in (*(self.input_scale or ()), *(self.output_scale or ())):
            if not (np.isfinite(scale) and scale > 0):
                raise ModelError(f"scale `{scale}` of an MLP must be a positive number.")
        if self.weights is not None:
            object.__setattr__(self, "weights", np.asarray(self.weights, dtype=float))

    def with_scales(self, inputs: tuple[float, ...], outputs: tuple[float, ...]) -> "MLP":
        """The same network with those scales that were left open filled in."""
        return replace(
            self,
            input_scale=self.input_scale if self.input_scale is not None else inputs,
            output_scale=self.output_scale if self.output_scale is not None else outputs,
        )
