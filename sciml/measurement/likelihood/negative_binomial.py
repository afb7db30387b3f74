"""Counts with extra scatter."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats
from scipy.special import polygamma

from sciml.measurement.likelihood.protocol import AbstractLikelihood


class NegativeBinomialLikelihood(AbstractLikelihood):
    r""":math:`\log\Gamma(k) - \log\Gamma(y+k) + \log y! + (y+k) \log(1+m/k) - y \log(m/k)`; undefined for :math:`m < 0`."""

    native = "negative_binomial"

    def negative_log(self, values, means, scales):
        k = scales
        each = torch.lgamma(k) - torch.lgamma(values + k) + torch.lgamma(values + 1)
        each = each + (values + k) * torch.log1p(means / k) - torch.xlogy(values, means / k)
        return torch.where(means < 0, torch.nan, each).sum()

    def information(self, values, means, scales):
        """That on the scale is the observed one where it is positive: the expected one has no closed form."""
        k = scales
        observed = (
            polygamma(1, k) - polygamma(1, values + k) - means / (k * (k + means)) - (values - means) / (k + means) ** 2
        )
        return k / (means * (k + means)), np.maximum(observed, 0.0)

    def frozen(self, means, scales):
        return stats.nbinom(scales, scales / (scales + means))
