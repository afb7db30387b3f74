"""Additive normal noise."""

from __future__ import annotations

import math

import torch
from scipy import stats

from sciml.measurement.likelihood.protocol import AbstractLikelihood

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class NormalLikelihood(AbstractLikelihood):
    r""":math:`\tfrac12 r^2 + \log s + \tfrac12 \log 2\pi` with :math:`r = (y - m)/s`."""

    native = "normal"

    def negative_log(self, values, means, scales):
        residuals = (values - means) / scales
        return (0.5 * residuals**2 + torch.log(scales)).sum() + len(values) * HALF_LOG_2PI

    def information(self, values, means, scales):
        return scales**-2.0, 2 * scales**-2.0

    def frozen(self, means, scales):
        return stats.norm(means, scales)
