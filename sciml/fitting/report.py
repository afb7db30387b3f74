"""The trust report of a fit: gradient, coverage, confounding, cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from sciml.fitting.collocation import COLLOCATION
from sciml.fitting.monitor import Stage
from sciml.measurement.coordinates import Coordinates
from sciml.measurement.timing import timing
from sciml.trust.audit import Audit, audit
from sciml.trust.confounding import Confounding, confounding
from sciml.trust.coverage import Coverage

if TYPE_CHECKING:
    from sciml.fitting.result import Fit


@dataclass(frozen=True)
class Report:
    """What speaks for and against believing a fit.

    Attributes:
        fit: Which.
        start, end: The gradient against finite differences, at the start and at the end; None where the equations could
            not be solved.
        coverage: Which inputs the learned functions have seen; None where there are none.
        confounding: What the networks can imitate, worst first; empty where there are none, or where it was not asked for.
        stages: Iterations, evaluations and seconds of each stage.
        terms: The negative log-posterior in parts: each column of the data, priors, decay of weights, penalties.
        parts: Seconds of one evaluation of loss and gradient at the end, term by term; see `measurement.timing`.
    """

    fit: Fit
    start: Audit | None
    end: Audit | None
    coverage: Coverage | None
    confounding: tuple[Confounding, ...]
    stages: tuple[Stage, ...]
    terms: dict[str, float]
    parts: dict[str, float]

    @property
    def spent(self) -> dict[str, float]:
        """Where the seconds of the whole fit went; empty of a fit that was read from a file.

        Evaluations during the fit, of which more than one trajectory per experiment may have been solved, are divided
        as the last one.
        """
        if not (self.stages and self.parts):
            return {}
        start = sum(stage.evaluating for stage in self.stages if stage.name == COLLOCATION)
        inside = sum(stage.evaluating for stage in self.stages) - start
        whole = sum(self.parts.values())
        found = {name: inside * value / whole for name, value in self.parts.items()}
        if start:
            found["start by collocation"] = start
        found["optimizers"] = sum(max(0.0, stage.seconds - stage.evaluating) for stage in self.stages)
        found["compiling and checks"] = max(0.0, self.fit.seconds - sum(found.values()))
        return found

    @property
    def warnings(self) -> tuple[str, ...]:
        """What speaks against believing it, a sentence each."""
        found = [
            f"The gradient at the {where} is off by {one.error:.1%} against a finite difference."
            for where, one in (("start", self.start), ("end", self.end))
            if one is not None and not one.passed
        ]
        found += [f"The networks can imitate `{one.name}`." for one in self.confounding if one.imitated]
        if not self.fit.converged:
            found.append(f"The fit did not converge: {self.fit.message}.")
        return (*found, *self.fit.notes)

    def __str__(self) -> str:
        lines = ["Gradient against finite differences along a random direction"]
        for where, one in (("start", self.start), ("end", self.end)):
            text = "not solvable" if one is None else f"relative error {one.error:.1e} ({one.engine.split()[0]})"
            lines.append(f"  at the {where}: {text}")
        if self.coverage is not None:
            lines += ["Coverage", *(f"  {seen}" for seen in self.coverage.seen)]
        if self.confounding:
            lines += ["Confounding", *(f"  {one}" for one in self.confounding)]
        lines.append(
            f"Cost: {self.fit.evaluations} evaluations in {self.fit.seconds:.2f} s, "
            f"{1e3 * sum(self.parts.values()):.3g} ms each now"
        )
        lines += [
            f"  {s.name}: {s.iterations} iterations, {s.evaluations} evaluations, {s.seconds:.2f} s, of which "
            f"{s.evaluating:.2f} s evaluating"
            for s in self.stages
        ]
        lines += self._time()
        lines.append(f"Loss {self.fit.loss:.6g}")
        lines += [f"  {name}: {value:.6g}" for name, value in self.terms.items()]
        lines += ["Warnings", *(f"  {text}" for text in self.warnings or ("none",))]
        return "\n".join(lines)

    def _time(self) -> list[str]:
        """Lines on where the time goes."""
        whole, spent = sum(self.parts.values()), self.spent
        if not self.parts:
            return []
        lines = [f"Time of one evaluation by {self.fit.backend.split()[0]}{', and of the fit' if spent else ''}"]
        for name in dict.fromkeys([*self.parts, *spent]):
            one = f"{1e6 * self.parts[name]:9.4g} us {self.parts[name] / whole:4.0%}" if name in self.parts else ""
            lines.append(f"  {name:<32}{one:17}" + (f"{spent[name]:9.3f} s" if spent else ""))
        return lines


def report(fit: Fit, profiles: bool = True) -> Report:
    """Look at a fit from all sides.

    Args:
        fit: Which.
        profiles: Whether to look for confounding, which takes second derivatives and a profile per parameter.
    """
    learned = bool(fit.problem.system.learned)
    return Report(
        fit=fit,
        start=fit.audit,
        end=audit(fit.problem, fit.vector),
        coverage=fit.coverage,
        confounding=confounding(fit.laplace()) if learned and profiles and fit.problem.cost is None else (),
        stages=fit.stages,
        terms=terms(fit),
        parts=timing(fit.problem, fit.vector),
    )


def terms(fit: Fit) -> dict[str, float]:
    """The negative log-posterior in parts."""
    problem, loss = fit.problem, fit.problem.loss
    parts = dict.fromkeys(problem.columns, 0.0)
    for e, experiment in enumerate(problem.experiments if problem.cost is None else ()):
        means, scales = fit.predicted(experiment=e)
        for name, likelihood in zip(problem.columns, problem.densities):
            known = np.isfinite(experiment.column(name))
            values = [
                torch.tensor(x[known])
                for x in (experiment.column(name), means[name].to_numpy(), scales[name].to_numpy())
            ]
            parts[name] += float(likelihood.negative_log(*values))
    found = {f"column `{name}`": value for name, value in parts.items()}
    if problem.cost is not None:
        found["costs"] = float(fit.costs.sum())
    values, _ = loss.coordinates.values(fit.vector)
    count = len(loss.labels)
    weights = len(values) - count - len(problem.starts)
    found["priors of parameters"] = _penalty(
        loss.coordinates, values, [*range(count), *range(count + weights, len(values))]
    )
    if weights:
        found["decay of weights"] = _penalty(loss.coordinates, values, range(count, count + weights))
    if problem.penalties:
        found["penalties"] = fit.loss - sum(found.values())
    return found


def _penalty(coordinates: Coordinates, values: np.ndarray, places: Sequence[int]) -> float:
    indices = np.array(list(places), dtype=int)
    return coordinates.at(indices).penalty(values[indices])[0]
