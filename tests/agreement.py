"""One question for two engines: is the loss of a Problem the same, and its gradient?"""

from dataclasses import replace

import numpy as np
import pytest

from sciml import Problem


def agree(problem: Problem, values: float = 1e-10, gradients: float = 1e-9, **settings) -> None:
    native, reference = (replace(problem, backend=backend, **settings) for backend in ("native", "torch"))
    theta = reference.initial(seed=1)
    value, gradient = native.value_and_gradient(theta)
    expected, slopes = reference.value_and_gradient(theta)
    assert value == pytest.approx(expected, rel=values)
    assert np.abs(gradient - slopes).max() <= gradients * np.abs(slopes).max()
