"""Which mechanistic parameters a network can imitate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sciml.uncertainty.laplace import Laplace
from sciml.uncertainty.posterior import named_coordinates
from sciml.uncertainty.profile import Profile, profile

IMITATED = 3.0
"""How many times wider an interval becomes by freeing the networks from which on they count as imitating a parameter."""


@dataclass(frozen=True)
class Confounding:
    """One parameter beside the networks.

    Attributes:
        name: Of the parameter.
        held: Standard deviation in free coordinates with the networks' weights held, the other unknowns free.
        free: The same with the weights free.
        profile: Its profile with the networks re-optimized.
    """

    name: str
    held: float
    free: float
    profile: Profile

    @property
    def ratio(self) -> float:
        """How many times wider its interval becomes as the networks are freed."""
        return self.free / self.held

    @property
    def imitated(self) -> bool:
        """Whether networks can stand in for it."""
        return self.ratio > IMITATED

    def __str__(self) -> str:
        text = f"{self.profile}; with the networks held it would be {self.ratio:.1f} times narrower"
        if not self.imitated:
            return text
        return (
            f"{text}: the networks can imitate `{self.name}`. Fix it, state a prior, settle it by `Orthogonal`, or give the "
            "networks fewer arguments"
        )


def confounding(laplace: Laplace, level: float = 0.9) -> tuple[Confounding, ...]:
    """Every free parameter but the levels of noise, worst first.

    Args:
        laplace: The approximation at the best fit.
        level: Of the profiles.
    """
    problem = laplace.problem
    places = named_coordinates(problem)
    levels = {str(s) for scale in problem.scales for s in scale.free_symbols}
    weights = np.setdiff1d(np.arange(len(laplace.vector)), list(places.values()))
    if not len(weights):
        return ()
    others = np.array(sorted(places.values()))
    inner = Laplace(problem, laplace.vector[others], laplace.curvature[np.ix_(others, others)])
    held = dict(zip(others.tolist(), np.sqrt(np.diag(inner.covariance))))
    free = np.sqrt(np.diag(laplace.covariance))
    found = [
        Confounding(name, float(held[place]), float(free[place]), profile(laplace, name, level))
        for name, place in places.items()
        if name in problem.loss.labels and name.split("[")[0] not in levels
    ]
    return tuple(sorted(found, key=lambda one: -one.ratio))
