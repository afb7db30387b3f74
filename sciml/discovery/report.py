"""What a discovery found: candidate laws, ranked, and what may be believed of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from sciml.discovery.candidate import Candidate, corrected, rounded
from sciml.fitting.result import Fit

NEAR_TIE = 10.0


@dataclass(frozen=True)
class Report:
    """Candidates in order of their criterion; the first is the law that is returned, unless measurements were held out.

    The criterion is twice the negative log-posterior of the fitted law plus a price per term that grows with the size of
    the library (`price`). Candidates within 10 of the best are near ties: less than that is no very strong evidence (Kass
    and Raftery 1995, J. Am. Stat. Assoc. 90, 773), and in simulated studies they held the true law when it was not first.

    Attributes:
        candidates: Best criterion first.
        hybrid: The fit that was discovered from; None without one.
        counts: Laws that were "tried"; of these "failed" (their equations could not be solved), "forbidden" (a
            coefficient of the wrong sign), "rescued" (solved only after a start on short pieces of the path).
        hybrid_forecast: Root mean square error of the hybrid on measurements that were held out.
    """

    candidates: tuple[Candidate, ...]
    hybrid: Fit | None
    counts: Mapping[str, int]
    hybrid_forecast: float | None = None

    @property
    def best(self) -> Candidate:
        """The law that `discover` returned: by criterion, or by its forecast where measurements were held out."""
        forecasts = [c for c in self.candidates if c.forecast is not None]
        return min(forecasts, key=lambda c: c.forecast) if forecasts else self.candidates[0]

    @property
    def near_ties(self) -> tuple[Candidate, ...]:
        """Candidates that the data do not clearly tell from the first."""
        return tuple(c for c in self.candidates if self.difference(c) < NEAR_TIE)

    @property
    def front(self) -> tuple[Candidate, ...]:
        """The Pareto front: the likeliest law of each number of terms, as far as more terms make it likelier."""
        found: list[Candidate] = []
        for candidate in sorted(self.candidates, key=lambda c: (c.terms, -c.log_likelihood)):
            if not found or (candidate.terms > found[-1].terms and candidate.log_likelihood > found[-1].log_likelihood):
                found.append(candidate)
        return tuple(found)

    @property
    def rankable(self) -> tuple[Candidate, ...]:
        """Near ties and the front: what a forecast may choose from."""
        front = self.front
        return tuple(c for c in self.candidates if self.difference(c) < NEAR_TIE or any(c is other for other in front))

    def difference(self, candidate: Candidate) -> float:
        """Criterion of a candidate less that of the first."""
        return candidate.criterion - self.candidates[0].criterion

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Of each candidate, as far as criteria are log-probabilities and the truth is among them."""
        weights = np.exp([-0.5 * self.difference(c) for c in self.candidates])
        return weights / weights.sum()

    def inclusion(self) -> pd.DataFrame:
        """Terms by the summed probability of the laws that hold them, with interval in the law returned; likeliest first."""
        library, best = self.best.library, self.best
        intervals = best.intervals()
        rows = []
        for k in sorted({k for c in self.candidates for k in c.active}):
            term = library.terms[k]
            share = float(sum(p for p, c in zip(self.probabilities, self.candidates) if k in c.active))
            name = str(term.coefficient)
            value = best.fit.estimates[name] if k in best.active else 0.0
            low, high = intervals.get(name, (value, value)) if k in best.active else (0.0, 0.0)
            where = ", ".join(library.functions[f] for f, _ in term.parts)
            row = {"function": where, "term": ", ".join(str(e) for _, e in term.parts), "inclusion": share}
            rows.append(row | {"coefficient": value, "lower": low, "upper": high})
        return pd.DataFrame(rows).sort_values("inclusion", ascending=False, kind="stable", ignore_index=True)

    @cached_property
    def hybrid_freedom(self) -> float:
        """Effective number of fitted quantities of the hybrid: all, less what the decay of weights and priors decide."""
        if self.hybrid is None:
            return float("nan")
        known = self.hybrid.problem.loss.coordinates.prior_information(self.hybrid.vector)
        spread = np.diag(self.hybrid.laplace().covariance)
        # Where the curvature is lost in noise the prior is all that is known.
        return float(len(known) - np.sum(np.clip(known * spread, 0.0, 1.0)))

    @cached_property
    def verdict(self) -> str:
        """Whether the law holds its own beside the network, in a sentence."""
        if self.hybrid is None:
            return "There is no network to compare with."
        best = self.best
        if best.forecast is not None and self.hybrid_forecast is not None:
            pair = f"error {best.forecast:.3g} of the law and {self.hybrid_forecast:.3g} of the network"
            if best.forecast <= self.hybrid_forecast:
                return f"The law forecasts what was held out better than the network: {pair}."
            return f"No law beats the network: it forecasts what was held out better, {pair}."
        problem = self.hybrid.problem
        freedom = self.hybrid_freedom
        network = corrected(self.hybrid.log_likelihood, freedom, problem.observations)
        pair = f"AICc {best.aicc:.1f} of the law and {network:.1f} of the network, of {freedom:.1f} degrees of freedom"
        if best.aicc <= network:
            return f"The law describes the data no worse than the network: {pair}."
        return f"No law of this library beats the network: {pair}. A term may be missing."

    def to_frame(self) -> pd.DataFrame:
        """One row per candidate, best criterion first."""
        return pd.DataFrame([self._row(k) for k in range(len(self.candidates))])

    def _row(self, k: int) -> dict[str, object]:
        candidate = self.candidates[k]
        names = ("terms", "degree", "rmse", "log_likelihood", "aicc", "bic", "criterion")
        row: dict[str, object] = {name: str(rounded(formula)) for name, formula in candidate.formulas.items()}
        row |= {name: getattr(candidate, name) for name in names}
        row |= {"difference": self.difference(candidate), "front": any(candidate is other for other in self.front)}
        return row | ({} if candidate.forecast is None else {"forecast": candidate.forecast})

    def __str__(self) -> str:
        """The first candidates, the terms, what was rejected, and the verdict."""
        frame = self.to_frame()
        lines = [frame.head(10).to_string(index=False, float_format=lambda v: f"{v:.3f}")]
        terms = self.inclusion()
        lines.append(terms[terms["inclusion"] > 0.005].to_string(index=False, float_format=lambda v: f"{v:.4g}"))
        counted = ", ".join(f"{count} {what}" for what, count in self.counts.items() if count)
        rejected = len(self.candidates) - len(self.near_ties)
        lines.append(f"Laws: {counted}; {len(self.near_ties)} near ties, {rejected} of those listed are rejected.")
        return "\n".join([*lines, self.verdict])
