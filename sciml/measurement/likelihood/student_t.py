"""Additive noise with outliers."""

from __future__ import annotations

import math

import torch
from scipy import stats

from sciml.measurement.likelihood.protocol import AbstractLikelihood
from sciml.symbolic.distributions import StudentT


class StudentTLikelihood(AbstractLikelihood):
    r""":math:`\tfrac{\nu+1}{2} \log(1 + r^2/\nu) + \log s + \text{const}` with :math:`r = (y - m)/s`.

    Reference:
        Lange, Little, Taylor (1989), J. Am. Stat. Assoc. 84, 881-896; the information is that of its appendix.
    """

    native = "student_t"

    @property
    def constant(self) -> float:
        assert isinstance(self.distribution, StudentT), "each likelihood is made for its own distribution"
        return self.distribution.freedom

    def negative_log(self, values, means, scales):
        nu = self.constant
        constant = math.lgamma(nu / 2) - math.lgamma((nu + 1) / 2) + 0.5 * math.log(math.pi * nu)
        residuals = (values - means) / scales
        each = 0.5 * (nu + 1) * torch.log1p(residuals**2 / nu) + torch.log(scales)
        return each.sum() + len(values) * constant

    def information(self, values, means, scales):
        nu = self.constant
        return (nu + 1) / (nu + 3) * scales**-2.0, 2 * nu / (nu + 3) * scales**-2.0

    def frozen(self, means, scales):
        return stats.t(self.constant, means, scales)
