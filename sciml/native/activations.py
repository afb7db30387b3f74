r"""Branch-free elementary functions and the activations of networks, each with two derivatives.

All rest on one rational approximation: :math:`\tanh u = u P(u^2) / Q(u^2)` on :math:`|u| \le \ln 2 / 4` (minimax,
relative error 5e-18), continued to all numbers by exact powers of two. Without branches, LLVM works on four numbers
at a time, and where an activation takes packs, on eight: 64 tanh take 0.05 or 0.03 µs instead of libm's 0.9.
"""

import math
from typing import NamedTuple

from sciml.native.compilation import device
from sciml.native.packs import ROUND, at_least, at_most, power_of_two

P1, P2 = 0.11109907863944228, 0.0010573994949256394
Q1, Q2 = 0.44443241197276756, 0.015868203487996446
# ln(2)/2 in two parts; the first has 12 zero bits at its end, so that its product with an exponent is exact.
HALF_LN2_HIGH, HALF_LN2_LOW = 0.3465735902798315, 1.4117645281515789e-13
HALF_LN2 = 0.34657359027997264
TWO_OVER_LN2, ONE_OVER_LN2 = 2.8853900817779268, 1.4426950408889634
LOG_TWO_PI_HALF = 0.9189385332046728


@device
def tanh(x):
    r"""Hyperbolic tangent, within 4 ulp.

    With :math:`u = x - k \ln(2)/2`, :math:`s = 2^k` and :math:`\tanh u = p/q`, the addition theorem gives
    :math:`\tanh x = ((s-1) q + (s+1) p) / ((s+1) q + (s-1) p)`: one division, and no cancellation near zero.
    The rest that :math:`\ln(2)/2` has beyond float64 is below the rounding of u where k is small, and where k is
    large, tanh is flat.
    """
    # Each limit is set on a value of its own: of two on the same value LLVM makes three instructions instead of two.
    x = at_most(x, 20.0)
    shifted = at_least(x * TWO_OVER_LN2 + ROUND, ROUND - 58.0)
    k = shifted - ROUND
    u = at_least(x - k * HALF_LN2, -0.2)
    s = power_of_two(shifted)
    v = u * u
    p = u * (1.0 + v * (P1 + v * P2))
    q = 1.0 + v * (Q1 + v * Q2)
    less, more = s - 1.0, s + 1.0
    return (less * q + more * p) / (more * q + less * p)


@device
def exp(x):
    r"""Exponential, within 4 ulp; 0 and infinity beyond the range of float64.

    :math:`e^{x} = 2^k (q + p) / (q - p)` with :math:`p/q = \tanh(r/2)`, :math:`r = x - k \ln 2`.
    """
    x = at_least(at_most(x, 710.0), -746.0)
    k = (x * ONE_OVER_LN2 + ROUND) - ROUND
    u = (0.5 * x - k * HALF_LN2_HIGH) - k * HALF_LN2_LOW
    # Half of the exponent at a time: 2**1024 and 2**-1074 are not normal numbers.
    half = 0.5 * k + ROUND
    rest = k - (half - ROUND)
    v = u * u
    p = u * (1.0 + v * (P1 + v * P2))
    q = 1.0 + v * (Q1 + v * Q2)
    return (1.0 + 2.0 * p / (q - p)) * power_of_two(half) * power_of_two(rest + ROUND)


@device
def sigmoid(x):
    """1 / (1 + exp(-x))."""
    e = exp(-math.fabs(x))
    return (1.0 if x >= 0.0 else e) / (1.0 + e)


@device
def softplus(x):
    """log(1 + exp(x)), without overflow."""
    return max(x, 0.0) + math.log1p(math.exp(-math.fabs(x)))


@device
def identity(x):
    """x."""
    return x


@device
def relu(x):
    """max(x, 0)."""
    return x if x > 0.0 else 0.0 * x


@device
def sin(x):
    """Sine of the C library."""
    return math.sin(x)


@device
def cos(x):
    """Cosine of the C library."""
    return math.cos(x)


@device
def silu(x):
    """x * sigmoid(x)."""
    return x * sigmoid(x)


@device
def gelu(x):
    """x * Phi(x), with the distribution function Phi of the standard normal."""
    return 0.5 * x * (1.0 + math.erf(0.7071067811865476 * x))


@device
def rbf(x):
    """exp(-x * x)."""
    return exp(-x * x)


@device
def tanh_slope(x, h):
    """First derivative of tanh."""
    return 1.0 - h * h


@device
def tanh_curvature(x, h):
    """Second derivative of tanh."""
    return -2.0 * h * (1.0 - h * h)


@device
def sigmoid_slope(x, h):
    """First derivative of the sigmoid."""
    return h * (1.0 - h)


@device
def sigmoid_curvature(x, h):
    """Second derivative of the sigmoid."""
    return h * (1.0 - h) * (1.0 - 2.0 * h)


@device
def zero(x, h):
    """0."""
    return 0.0


@device
def one(x, h):
    """1."""
    return 1.0


@device
def relu_slope(x, h):
    """First derivative of relu; 0 at 0, as in torch."""
    return 1.0 if h > 0.0 else 0.0


@device
def sin_slope(x, h):
    """First derivative of the sine."""
    return math.cos(x)


@device
def minus_output(x, h):
    """Second derivative of sine and cosine."""
    return -h


@device
def cos_slope(x, h):
    """First derivative of the cosine."""
    return -math.sin(x)


@device
def softplus_slope(x, h):
    """First derivative of softplus."""
    return sigmoid(x)


@device
def softplus_curvature(x, h):
    """Second derivative of softplus."""
    s = sigmoid(x)
    return s * (1.0 - s)


@device
def silu_slope(x, h):
    """First derivative of silu."""
    s = sigmoid(x)
    return s * (1.0 + x * (1.0 - s))


@device
def silu_curvature(x, h):
    """Second derivative of silu."""
    s = sigmoid(x)
    return s * (1.0 - s) * (2.0 + x * (1.0 - 2.0 * s))


@device
def gelu_slope(x, h):
    """First derivative of gelu."""
    return 0.5 * (1.0 + math.erf(0.7071067811865476 * x)) + x * 0.3989422804014327 * exp(-0.5 * x * x)


@device
def gelu_curvature(x, h):
    """Second derivative of gelu."""
    return 0.3989422804014327 * exp(-0.5 * x * x) * (2.0 - x * x)


@device
def rbf_slope(x, h):
    """First derivative of rbf."""
    return -2.0 * x * h


@device
def rbf_curvature(x, h):
    """Second derivative of rbf."""
    return (4.0 * x * x - 2.0) * h


class Activation(NamedTuple):
    """Names of the compiled functions `value(x)`, `slope(x, h)` and `curvature(x, h)`, with h = value(x).

    Attributes:
        value: The activation.
        slope: Its first derivative.
        curvature: Its second derivative.
        keeps_input: Whether the derivatives need x; otherwise the tape holds h only.
        packs: Whether value and slope take packs, too.
    """

    value: str
    slope: str
    curvature: str
    keeps_input: bool
    packs: bool = False


ACTIVATIONS = {
    "tanh": Activation("tanh", "tanh_slope", "tanh_curvature", False, True),
    "sigmoid": Activation("sigmoid", "sigmoid_slope", "sigmoid_curvature", False),
    "relu": Activation("relu", "relu_slope", "zero", False),
    "identity": Activation("identity", "one", "zero", False),
    "sin": Activation("sin", "sin_slope", "minus_output", True),
    "cos": Activation("cos", "cos_slope", "minus_output", True),
    "softplus": Activation("softplus", "softplus_slope", "softplus_curvature", True),
    "silu": Activation("silu", "silu_slope", "silu_curvature", True),
    "gelu": Activation("gelu", "gelu_slope", "gelu_curvature", True),
    "rbf": Activation("rbf", "rbf_slope", "rbf_curvature", True, True),
}
