"""From learned functions and measured series to closed-form laws."""

from sciml.discovery.candidate import Candidate
from sciml.discovery.discover import discover
from sciml.discovery.forms import IntegralForm, SmoothedDerivative, WeakForm
from sciml.discovery.regression_report import RegressionReport
from sciml.discovery.regressions import SR3, STLSQ, BestSubset
from sciml.discovery.report import Report
from sciml.discovery.sparse_regression import SparseRegression
from sciml.discovery.symbolic_regression import SymbolicRegression
from sciml.discovery.terms import Polynomials, Powers, Trigonometric

__all__ = [
    "SR3",
    "STLSQ",
    "BestSubset",
    "Candidate",
    "IntegralForm",
    "Polynomials",
    "Powers",
    "RegressionReport",
    "Report",
    "SmoothedDerivative",
    "SparseRegression",
    "SymbolicRegression",
    "Trigonometric",
    "WeakForm",
    "discover",
]
