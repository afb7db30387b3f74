"""Elementary functions within their error, activations and their derivatives against torch, alone and in packs."""

import math

import numpy as np
import pytest
import torch
from native_models import TORCH_ACTIVATIONS
from numba import njit

from sciml.native import activations
from sciml.native.compilation import at
from sciml.native.packs import load, store


def elementwise(function):
    @njit(error_model="numpy")
    def apply(x, out):
        for i in range(x.size):
            out[i] = function(x[i])

    def call(x):
        out = np.empty_like(x)
        apply(x, out)
        return out

    return call


def sample_points() -> np.ndarray:
    generator = np.random.default_rng(0)
    signs = generator.choice([-1.0, 1.0], 100_000)
    return np.concatenate(
        [
            generator.normal(0, 3, 200_000),
            generator.uniform(-1, 1, 200_000),
            generator.uniform(-30, 30, 100_000),
            signs * 10.0 ** generator.uniform(-307, 3, 100_000),
        ]
    )


@pytest.mark.parametrize("name", ["tanh", "exp"])
def test_elementary_functions_are_within_four_units_in_the_last_place(name):
    x = sample_points()
    exact = getattr(np, name)(x.astype(np.longdouble))
    inside = np.abs(exact) < 1e308
    inside &= np.abs(exact) > 1e-307
    error = np.abs(elementwise(getattr(activations, name))(x) - exact)[inside]
    assert (error / np.spacing(np.abs(exact[inside]).astype(np.float64))).max() < 4


def test_elementary_functions_keep_the_limits_and_nan():
    x = np.array([np.inf, -np.inf, np.nan, 0.0, 5e-324, 709.7, 710.0, -745.0, -746.0])
    tanh, exp = elementwise(activations.tanh)(x), elementwise(activations.exp)(x)
    np.testing.assert_array_equal(tanh, np.tanh(x))
    np.testing.assert_allclose(exp, [np.inf, 0, np.nan, 1, 1, math.exp(709.7), np.inf, 5e-324, 0], rtol=1e-15)


@pytest.mark.parametrize("name", activations.ACTIVATIONS)
def test_activations_and_their_two_derivatives_agree_with_torch(name):
    entry = activations.ACTIVATIONS[name]
    value, slope, curvature = (getattr(activations, part) for part in entry[:3])

    @njit
    def both(x, out):
        for i in range(x.size):
            h = value(x[i])
            out[0, i], out[1, i], out[2, i] = h, slope(x[i], h), curvature(x[i], h)

    x = torch.linspace(-6, 6, 101, dtype=torch.float64, requires_grad=True)
    out = np.empty((3, 101))
    both(x.detach().numpy(), out)
    h = TORCH_ACTIVATIONS[name](x)
    first = torch.autograd.grad(h.sum(), x, create_graph=True)[0]
    second = torch.autograd.grad(first.sum(), x)[0] if first.requires_grad else torch.zeros_like(x)
    expected = torch.stack([h, first, second]).detach().numpy()
    np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", [name for name, one in activations.ACTIVATIONS.items() if one.packs])
def test_an_activation_and_its_slope_are_the_same_in_packs(name):
    value, slope = (getattr(activations, part) for part in activations.ACTIVATIONS[name][:2])

    @njit
    def one_by_one(x, h, g):
        for m in range(x.size):
            h[m] = value(x[m])
            g[m] = slope(x[m], h[m])

    @njit
    def in_packs(x, h, g):
        for m in range(x.size // 8):
            store(at(h, 0), m, value(load(at(x, 0), m)))
            store(at(g, 0), m, slope(load(at(x, 0), m), load(at(h, 0), m)))

    edges = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-300, 20.5, -20.5, 710.0, -750.0, 1e-9, -0.2]
    x = np.concatenate([edges, np.random.default_rng(0).standard_normal(52) * 5])
    found, expected = np.empty((2, 64)), np.empty((2, 64))
    in_packs(x, *found)
    one_by_one(x, *expected)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-15)
    assert np.isnan(found[0][4])
