"""The normal numbers of compiled stochastic paths: their distribution, and how seeds and states carry on."""

import numpy as np
from scipy import stats

from sciml.native.normals import END, TABLES, fill_normals, seeded


def test_normal_numbers_are_normal_in_the_middle_and_in_the_tails():
    z = np.empty(2_000_000)
    fill_normals(seeded(7), *TABLES, z)
    assert stats.kstest(z, "norm").pvalue > 0.01
    # Cells of equal chance, then those of the tail, which has a method of its own.
    for edges in (
        stats.norm.ppf(np.linspace(0, 1, 257)),
        [-np.inf, -4.2, -3.8, -END, -3.2, 3.2, END, 3.8, 4.2, np.inf],
    ):
        counted = np.histogram(z, np.clip(edges, -99, 99))[0]
        assert stats.chisquare(counted, len(z) * np.diff(stats.norm.cdf(edges))).pvalue > 0.01
    assert abs(np.corrcoef(z[:-1], z[1:])[0, 1]) < 4 / np.sqrt(len(z))
    assert abs(np.corrcoef(z[:-1] ** 2, z[1:] ** 2)[0, 1]) < 4 / np.sqrt(len(z))


def test_normal_numbers_go_on_from_their_state_and_differ_by_seed():
    whole, parts, other = np.empty(1000), np.empty(1000), np.empty(1000)
    fill_normals(seeded(3), *TABLES, whole)
    state = seeded(3)
    for part in np.split(parts, [1, 400]):
        fill_normals(state, *TABLES, part)
    fill_normals(seeded(4), *TABLES, other)
    np.testing.assert_array_equal(whole, parts)
    assert abs(np.corrcoef(whole, other)[0, 1]) < 0.15
