"""Systems as LaTeX."""

from __future__ import annotations

from pathlib import Path

import sympy as sp

from sciml.export.protocol import finish
from sciml.symbolic import wiener
from sciml.symbolic.system import System


def latex(system: System, path: str | Path | None = None, *, digits: int | None = 3) -> str:
    r"""The equations of a System as a LaTeX `aligned` environment; inputs are functions of time.

    Args:
        system: What to print; functions to be learned stay functions.
        path: Where to write it, too.
        digits: Significant digits of the parameters' values, put in place of their symbols. None keeps the symbols.

    Example:
        >>> import sympy as sp
        >>> from sciml import System
        >>> x, k = sp.symbols("x k", real=True)
        >>> print(latex(System({x: -k * x}, parameters={k: 0.51234})))
        \begin{aligned}
        \dot{x} &= - 0.512\, x
        \end{aligned}
    """
    names = {x: upright(x) for x in (*system.states, *system.parameters, *system.observed, system.time)}
    names |= {u: f"{upright(u)}({names[system.time]})" for u in system.inputs}

    def text(expression: sp.Expr) -> str:
        return sp.latex(with_values(system, expression, digits), symbol_names=names, mul_symbol=r"\, ")

    moved = dict.fromkeys(system.states, "")
    for x, process, coefficient in wiener.terms(system.noise):
        # White noise, in the sense of Ito.
        moved[x] += rf" + \left({text(coefficient)}\right) \dot{{{upright(process)}}}"
    arrow = r"{} &\mapsto {}" if system.discrete else r"\dot{{{}}} &= {}"
    rows = [arrow.format(names[x], text(rhs) + moved[x]) for x, rhs in system.equations.items()]
    rows += [rf"{names[x]} &= {text(value)}" for x, value in system.observed.items()]
    for event in system.events:
        after = ", ".join(rf"{names[x]} \mapsto {text(value)}" for x, value in (event.reset or {}).items())
        rows.append(rf"{text(event.condition)} &= 0 \;\Rightarrow\; {after or event.consequence}")
    source = "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"
    return finish(source, path)


def upright(symbol: sp.Symbol) -> str:
    """A symbol in LaTeX; a word (`hare`) is set upright, or it would read as a product of letters."""
    text = sp.latex(symbol)
    name, *indices = text.split("_", 1)
    word = rf"\mathrm{{{name}}}" if name.isalpha() and len(name) > 1 else name
    return "_".join([word, *indices])


def with_values(system: System, expression: sp.Expr, digits: int | None) -> sp.Expr:
    """An expression with parameters replaced by their values, rounded to significant digits."""
    if digits is None:
        return expression
    return expression.subs({x: sp.Float(p.value, digits) for x, p in system.parameters.items()})
