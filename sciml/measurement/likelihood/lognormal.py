"""Multiplicative log-normal noise."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats

from sciml.measurement.likelihood.normal import HALF_LOG_2PI
from sciml.measurement.likelihood.protocol import AbstractLikelihood


class LogNormalLikelihood(AbstractLikelihood):
    r""":math:`\tfrac12 r^2 + \log s + \log y + \tfrac12 \log 2\pi` with :math:`r = (\log y - \log m)/s`."""

    native = "lognormal"

    def negative_log(self, values, means, scales):
        logs = torch.log(values)
        residuals = (logs - torch.log(means)) / scales
        return (0.5 * residuals**2 + torch.log(scales) + logs).sum() + len(values) * HALF_LOG_2PI

    def information(self, values, means, scales):
        return (scales * means) ** -2.0, 2 * scales**-2.0

    def frozen(self, means, scales):
        return stats.lognorm(scales, scale=means)

    def residuals(self, values, means):
        """Logarithm of measured by modeled."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.log(values) - np.log(means)

    def check(self, experiment, column):
        remedy = "Use `Normal(...)`, or NaN where nothing could be measured."
        self._refuse(experiment, column, experiment.column(column) <= 0, "positive values", remedy)
