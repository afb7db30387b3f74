"""Counts of independent events."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats

from sciml.measurement.likelihood.protocol import AbstractLikelihood


class PoissonLikelihood(AbstractLikelihood):
    r""":math:`m - y \log m + \log y!`; not defined for :math:`m < 0`."""

    native = "poisson"

    def negative_log(self, values, means, scales):
        each = means - torch.xlogy(values, means) + torch.lgamma(values + 1)
        return torch.where(means < 0, torch.nan, each).sum()

    def information(self, values, means, scales):
        return 1 / means, np.zeros_like(means)

    def frozen(self, means, scales):
        return stats.poisson(means)
