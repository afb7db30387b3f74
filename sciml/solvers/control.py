"""Step size control, and where events are looked for: constants and formulas shared by the torch and the native engine."""

import math

import numpy as np

SAFETY = 0.9
SMALLEST_FACTOR = 0.2
LARGEST_FACTOR = 10.0
# Exponent of the previous error; the value of the code DOPRI5. Zero would be the plain (integral) control.
BETA = 0.04
# An error below this counts as this: a field that vanishes would make the factor infinite.
ERROR_FLOOR = 1e-10
PREVIOUS_ERROR_FLOOR = 1e-4
# The last step may be one percent longer, so that none is left which is too short for the clock.
STRETCH = 1.01
# A step is too short when it is this fraction of the whole span, unless the user says otherwise.
SMALLEST_FRACTION = 1e-14
# What the clock resolves, as a fraction of the time.
CLOCK = 4 * np.finfo(np.float64).eps
# Fractions of a step at which conditions of events are looked at: two changes of sign between them go unseen.
LOOKS = (0.25, 0.5, 0.75, 1.0)
# Events are located to this fraction of their step, or to what the clock resolves.
LOCATED = 1e-13
# A condition this small, in units of its size around the event, is zero after the event.
ZERO = 1e-6


def _operations(x):
    """The choice of one of two, the larger of two and the bounds, for arrays; for one number NumPy takes 20 times as long."""
    if isinstance(x, float):
        return (lambda c, a, b: a if c else b), max, (lambda value, low, high: min(max(value, low), high))
    return np.where, np.maximum, (lambda value, low, high: np.minimum(np.maximum(value, low), high))


def accepted_factor(error, previous, error_order, after_rejection):
    r"""By how much to change the step after an accepted one (PI control).

    .. math:: \text{factor} = 0.9 \; e_n^{-(1/q - 0.75 \beta)} \; e_{n-1}^{\beta}

    The first step has no error before it, and :math:`\beta = 0`.

    Args:
        error: Error norm in units of the tolerance, at most 1; a number or an array.
        previous: Error norm of the step before, at least `PREVIOUS_ERROR_FLOOR`; NaN when there was none.
        error_order: Power :math:`q` of the step in the error estimate.
        after_rejection: Whether the step before was rejected; then the step does not grow.

    Returns:
        The factor, between `SMALLEST_FACTOR` and `LARGEST_FACTOR`.

    Example:
        >>> float(accepted_factor(1e-3, 1.0, 5, False)) > 2
        True

    Reference:
        Gustafsson (1991); Hairer, Wanner II, eq. IV.2.43.
    """
    choose, larger, bounded = _operations(error)
    first = previous != previous
    exponent = 1.0 / error_order - choose(first, 0.0, 0.75 * BETA)
    factor = SAFETY * larger(error, ERROR_FLOOR) ** -exponent * choose(first, 1.0, previous) ** BETA
    return bounded(factor, SMALLEST_FACTOR, choose(after_rejection, 1.0, LARGEST_FACTOR))


def rejected_factor(error, error_order):
    """By how much to shorten a rejected step; `SMALLEST_FACTOR` when the error is not finite.

    Args:
        error: Error norm in units of the tolerance; a number or an array.
        error_order: Power of the step in the error estimate.

    Returns:
        The factor, below 1.

    Reference:
        Hairer, Nørsett, Wanner I, eq. II.4.13.
    """
    choose, larger, bounded = _operations(error)
    exponent = 1.0 / error_order - 0.75 * BETA
    # Also of NaN, which is not equal to itself.
    size = choose(error == error, larger(error, ERROR_FLOOR), math.inf)
    return bounded(SAFETY * size**-exponent, SMALLEST_FACTOR, SAFETY)


def smallest_step(t, end, limit, span):
    """Length below which a step is given up: the user's limit, and what the clock can still resolve.

    Args:
        t: Time.
        end: Final time.
        limit: The user's smallest step, or None for a fraction of the span.
        span: Length of the whole time interval.

    Returns:
        The length, in the unit of time.
    """
    limit = SMALLEST_FRACTION * span if limit is None else limit
    return np.maximum(limit, CLOCK * np.maximum(np.abs(t), np.abs(end)))
