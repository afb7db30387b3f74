"""What a regression found without the solver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import sympy as sp

from sciml.discovery.candidate import rounded
from sciml.discovery.library import Library
from sciml.discovery.regressions import Chosen


@dataclass(frozen=True)
class RegressionReport:
    """Terms that the regression chose, and what they were compared with.

    Attributes:
        library: All terms.
        active: Indices of the chosen ones.
        values: Coefficient of every term by name.
        chosen: For each group of equations with common functions, the choice and what it was compared with.
        inclusion: Index of a term -> share of the bags that it came up in; empty without bags.
    """

    library: Library
    active: tuple[int, ...]
    values: Mapping[str, float]
    chosen: tuple[Chosen, ...]
    inclusion: Mapping[int, float]

    @cached_property
    def formulas(self) -> dict[str, sp.Expr]:
        """Function or state -> its closed form, coefficients filled in."""
        numbers = {sp.Symbol(name, real=True): value for name, value in self.values.items()}
        return {name: form.subs(numbers) for name, form in self.library.formulas(self.active).items()}

    def to_frame(self) -> pd.DataFrame:
        """One row for each term that was chosen or came up in a bag."""
        rows = []
        for k, term in enumerate(self.library.terms):
            if k in self.active or self.inclusion.get(k, 0.0) > 0:
                where = [(self.library.functions[f], str(e)) for f, e in term.parts]
                row = {"function": ", ".join(f for f, _ in where), "term": ", ".join(e for _, e in where)}
                row |= {"coefficient": self.values[str(term.coefficient)] if k in self.active else 0.0}
                rows.append(row | ({"inclusion": self.inclusion[k]} if self.inclusion else {}))
        return pd.DataFrame(
            rows, columns=["function", "term", "coefficient", *(["inclusion"] if self.inclusion else [])]
        )

    def __str__(self) -> str:
        forms = [f"{name} = {rounded(form)}" for name, form in self.formulas.items()]
        return "\n".join([*forms, self.to_frame().to_string(index=False, float_format=lambda v: f"{v:.4g}")])
