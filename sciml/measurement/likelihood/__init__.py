"""Likelihoods of measured values, one file each: what a declared distribution means for torch, NumPy and kernels."""

from sciml.measurement.likelihood.lognormal import LogNormalLikelihood
from sciml.measurement.likelihood.negative_binomial import NegativeBinomialLikelihood
from sciml.measurement.likelihood.normal import NormalLikelihood
from sciml.measurement.likelihood.poisson import PoissonLikelihood
from sciml.measurement.likelihood.protocol import AbstractLikelihood
from sciml.measurement.likelihood.student_t import StudentTLikelihood
from sciml.symbolic.distributions import AbstractDistribution, LogNormal, NegativeBinomial, Normal, Poisson, StudentT

KINDS: dict[type, type[AbstractLikelihood]] = {
    Normal: NormalLikelihood,
    LogNormal: LogNormalLikelihood,
    StudentT: StudentTLikelihood,
    Poisson: PoissonLikelihood,
    NegativeBinomial: NegativeBinomialLikelihood,
}


def likelihood_of(distribution: AbstractDistribution) -> AbstractLikelihood:
    """The likelihood of a declared distribution."""
    return KINDS[type(distribution)](distribution)


__all__ = ["KINDS", "AbstractLikelihood", "likelihood_of"]
