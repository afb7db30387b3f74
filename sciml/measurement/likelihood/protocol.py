"""What every likelihood offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from sciml.errors import DataError
from sciml.measurement.experiment import Experiment
from sciml.symbolic.distributions import AbstractDistribution

Numbers = Float[np.ndarray, "..."]


@dataclass(frozen=True)
class AbstractLikelihood(ABC):
    """The density of measured values around means m with scales s.

    Attributes:
        distribution: What was declared.
        native: Its name among `sciml.native.likelihood.CODES`.
    """

    distribution: AbstractDistribution
    native: ClassVar[str]

    @property
    def constant(self) -> float:
        """A number that the kernel needs beside mean and scale."""
        return 0.0

    @abstractmethod
    def negative_log(
        self, values: Float[Tensor, " n"], means: Float[Tensor, " n"], scales: Float[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        """Minus the logarithm of the density of all values, constants included; not finite where it is not defined."""

    @abstractmethod
    def information(self, values: Numbers, means: Numbers, scales: Numbers) -> tuple[Numbers, Numbers]:
        """Fisher information of each value on its mean and on its scale; the two are orthogonal in all of them."""

    @abstractmethod
    def frozen(self, means: Numbers, scales: Numbers) -> Any:
        """The distribution as one of `scipy.stats`: cumulative distribution, quantiles, samples."""

    def residuals(self, values: Numbers, means: Numbers) -> Numbers:
        """Measured minus modeled."""
        return values - means

    def quantile_residuals(
        self, values: Numbers, means: Numbers, scales: Numbers, generator: np.random.Generator
    ) -> Numbers:
        r"""Residuals that are standard normal if the model is right, :math:`\Phi^{-1}(F(y))`; NaN at gaps.

        Of counts, F is drawn between its two values at the step, since it jumps there.

        Reference:
            Dunn and Smyth (1996), J. Comput. Graph. Stat. 5, 236-244.
        """
        frozen = self.frozen(means, scales)
        if not self.distribution.counts:
            below, above = frozen.cdf(values), frozen.sf(values)
            # Of the two tails the smaller one has digits left.
            return np.where(below < 0.5, stats.norm.ppf(below), stats.norm.isf(above))
        draw = generator.uniform(size=np.shape(values))
        level = (1 - draw) * frozen.cdf(values - 1) + draw * frozen.cdf(values)
        return stats.norm.ppf(np.clip(level, 1e-300, 1 - 1e-16))

    def check(self, experiment: Experiment, column: str) -> None:
        """Raise if the distribution cannot have produced the measured values."""
        if self.distribution.counts:
            values = experiment.column(column)
            wrong = (values < 0) | (np.isfinite(values) & (values != np.round(values)))
            remedy = "Use `Normal(...)`, or give the counts before they were averaged or scaled."
            self._refuse(experiment, column, wrong, "whole numbers from 0", remedy)

    def _refuse(self, experiment: Experiment, column: str, wrong: np.ndarray, need: str, remedy: str) -> None:
        """Raise for the first value that is marked as wrong."""
        rows = np.flatnonzero(wrong)
        if len(rows):
            value, time = experiment.column(column)[rows[0]], experiment.times[rows[0]]
            raise DataError(
                f"column `{column}` of `{experiment.name}` is {value:g} at time {time:g}; "
                f"{type(self.distribution).__name__} noise needs {need}. {remedy}"
            )
