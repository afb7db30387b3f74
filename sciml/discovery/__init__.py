"""From learned functions to closed-form laws."""

from sciml.discovery.discover import discover
from sciml.discovery.report import Candidate, Report
from sciml.discovery.sparse_regression import SparseRegression

__all__ = ["Candidate", "Report", "SparseRegression", "discover"]
