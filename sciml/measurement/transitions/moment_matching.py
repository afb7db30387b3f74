"""Fitting by the means and covariances over repeated experiments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sciml.errors import DataError
from sciml.measurement.transitions.kalman import Kalman, check_gaussian, predicted
from sciml.measurement.transitions.moments import advance, moment_rates
from sciml.measurement.transitions.protocol import Series, normal_cost


@dataclass(frozen=True)
class MomentMatching(Kalman):
    r"""The measurements of each time, over all experiments, are matched to the model's mean and covariance there.

    .. math:: \sum_k \sum_e -\log N(y_{ek};\; m(t_k),\, S(t_k))

    Times are taken one by one, so what one path's value tells about its next is not used: for many repeats at few times,
    or where the paths of single cells cannot be followed. Intervals that are read off its curvature are too short where
    times are correlated.

    Args:
        steps, spread: As for `Kalman`.

    Reference:
        Zechner and others (2012), PNAS 109, 8340-8345.
    """

    def check(self, problem: Any) -> None:
        check_gaussian(problem, type(self).__name__)
        if len(problem.experiments) < 3:
            raise DataError(
                f"`MomentMatching` needs repeats to have moments: there are {len(problem.experiments)} experiments. Give "
                "three or more, or use `Kalman()`."
            )

    def negative_log(self, series: Series) -> Tensor:
        mean = series.initial
        size = mean.abs().clamp(min=1e-3)
        covariance = torch.diag_embed((self.spread * size) ** 2)
        rates = moment_rates(series.drift, series.diffusion)
        total = mean.new_zeros(())
        for k in range(1, series.times.shape[1]):
            here = torch.isfinite(series.times[:, k])
            h = torch.where(here, series.times[:, k] - series.times[:, k - 1], 0.0)
            mean, covariance = advance(
                rates, torch.nan_to_num(series.times[:, k - 1]), h, (mean, covariance), self.steps
            )
            known = series.known[:, k] & here[:, None]
            center, spread, _ = predicted(series, torch.nan_to_num(series.times[:, k]), mean, covariance)
            both = known[:, :, None] & known[:, None, :]
            spread = torch.where(both, spread, torch.eye(known.shape[1], dtype=mean.dtype))
            residual = torch.where(known, series.values[:, k] - center, 0.0)
            total = total + normal_cost(residual, spread).sum() - 0.9189385332046727 * (~known).sum()
        return total
