r"""Negative log-likelihoods of single measurements, with their gradients by mean and scale.

Each function takes the measured value z, the predicted mean m, the scale s and a constant c of the column, and
returns the value and its derivatives by m and s. Values are complete (with their constants), so that models with
different noise compare by them. Where the measured value enters through a logarithm, `prepare_data` takes it once.
"""

import math

import numpy as np

from sciml.native.activations import LOG_TWO_PI_HALF
from sciml.native.compilation import device

NORMAL, LOGNORMAL, STUDENT_T, POISSON, NEGATIVE_BINOMIAL, PENALTY, COST = range(7)
CODES = {
    "normal": NORMAL,
    "lognormal": LOGNORMAL,
    "student_t": STUDENT_T,
    "poisson": POISSON,
    "negative_binomial": NEGATIVE_BINOMIAL,
    "penalty": PENALTY,
    "cost": COST,
}


def prepare_data(code: int, values: np.ndarray) -> tuple[np.ndarray, float]:
    """What the kernel takes as measured values, and the part of the sum that depends on them alone.

    Args:
        code: One of `CODES`.
        values: Measured values; NaN is a gap.

    Returns:
        The values to pass (logarithms for `LOGNORMAL`) and a constant to add to the negative log-likelihood.
    """
    seen = values[~np.isnan(values)]
    if code == LOGNORMAL:
        return np.log(values), float(np.log(seen).sum())
    if code in (POISSON, NEGATIVE_BINOMIAL):
        return values, float(sum(math.lgamma(z + 1.0) for z in seen))
    return values, 0.0


@device
def normal(z, m, s, c):
    """Normal with standard deviation s."""
    r = (z - m) / s
    return 0.5 * r * r + math.log(s) + LOG_TWO_PI_HALF, -r / s, (1.0 - r * r) / s


@device
def lognormal(z, m, s, c):
    """Logarithm z of the measured value, normal around log(m) with standard deviation s."""
    r = (z - math.log(m)) / s
    return 0.5 * r * r + math.log(s) + LOG_TWO_PI_HALF, -r / (s * m), (1.0 - r * r) / s


@device
def student_t(z, m, s, c):
    """Student's t with scale s and c degrees of freedom."""
    r = (z - m) / s
    q = 1.0 + r * r / c
    constant = math.lgamma(0.5 * c) - math.lgamma(0.5 * (c + 1.0)) + 0.5 * math.log(math.pi * c)
    slope = (c + 1.0) * r / (c * q)
    return 0.5 * (c + 1.0) * math.log(q) + math.log(s) + constant, -slope / s, (1.0 - slope * r) / s


@device
def poisson(z, m, s, c):
    """Poisson with mean m; log(z!) is left to `prepare_data`."""
    if m < 0.0:
        return math.nan, math.nan, math.nan
    return m - z * math.log(m) if z > 0.0 else m, 1.0 - z / m, 0.0


@device
def digamma(x):
    """Derivative of lgamma for positive x, by recurrence to x >= 8 and the asymptotic series."""
    shift = 0.0
    while x < 8.0:
        shift -= 1.0 / x
        x += 1.0
    v = 1.0 / (x * x)
    series = v * (
        1.0 / 12 - v * (1.0 / 120 - v * (1.0 / 252 - v * (1.0 / 240 - v * (1.0 / 132 - v * (691.0 / 32760)))))
    )
    return shift + math.log(x) - 0.5 / x - series


@device
def negative_binomial(z, m, s, c):
    """Negative binomial with mean m and variance m + m**2 / s; log(z!) is left to `prepare_data`."""
    if m < 0.0:
        return math.nan, math.nan, math.nan
    value = math.lgamma(s) - math.lgamma(z + s) + (z + s) * math.log1p(m / s)
    value += z * (math.log(s) - math.log(m)) if z > 0.0 else 0.0
    slope = (z + s) / (s + m) - z / m
    by_scale = digamma(s) - digamma(z + s) + math.log1p(m / s) - (z + s) * m / (s * (s + m)) + z / s
    return value, slope, by_scale


@device
def penalty(z, m, s, c):
    """Price z of the squared positive part of m."""
    broken = max(m, 0.0)
    return z * broken * broken, 2.0 * z * broken, 0.0


@device
def misfit(code, z, m, s, c):
    """Negative log-likelihood of one measurement and its derivatives by mean and scale."""
    if code == NORMAL:
        return normal(z, m, s, c)
    if code == LOGNORMAL:
        return lognormal(z, m, s, c)
    if code == STUDENT_T:
        return student_t(z, m, s, c)
    if code == POISSON:
        return poisson(z, m, s, c)
    if code == PENALTY:
        return penalty(z, m, s, c)
    if code == COST:
        return z * m, z, 0.0
    return negative_binomial(z, m, s, c)


@device
def information(code, z, m, s, c):
    """Expected (Fisher) information of one measurement on its mean and on its scale: what Gauss-Newton steps divide by.

    Of the negative binomial's scale, which has no closed form, it is the square of the slope.
    """
    if code == NORMAL:
        return 1.0 / (s * s), 2.0 / (s * s)
    if code == LOGNORMAL:
        return 1.0 / (s * s * m * m), 2.0 / (s * s)
    if code == STUDENT_T:
        return (c + 1.0) / ((c + 3.0) * s * s), 2.0 * c / ((c + 3.0) * s * s)
    if code == POISSON:
        return 1.0 / m, 0.0
    if code == PENALTY:
        return (2.0 * z if m > 0.0 else 0.0), 0.0
    return 1.0 / (m + m * m / s), negative_binomial(z, m, s, c)[2] ** 2
