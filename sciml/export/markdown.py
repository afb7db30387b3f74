"""Systems as Markdown: equations a page can show, and tables of all that is declared beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sciml.export.latex import latex
from sciml.export.protocol import BETWEEN, finish
from sciml.symbolic import wiener
from sciml.symbolic.declarations import MLP, Parameter
from sciml.symbolic.system import System


def markdown(system: System, path: str | Path | None = None, *, digits: int | None = None) -> str:
    """A System as Markdown: its equations as LaTeX between `$$`, then tables of parameters, inputs, starts and networks.

    Args:
        system: What to print; functions to be learned stay functions, and the sizes of their networks are stated.
        path: Where to write it, too.
        digits: Significant digits of parameter values put into the equations in place of symbols. None keeps the symbols.

    Example:
        >>> import sympy as sp
        >>> from sciml import System
        >>> x, k = sp.symbols("x k", real=True)
        >>> print(markdown(System({x: -k * x}, parameters={k: 0.5})).split("$$")[2].strip())
        | parameter | value | bounds | known |
        |---|---|---|---|
        | `k` | 0.5 | | yes |
    """
    lines = ["$$", latex(system, digits=digits), "$$"]
    rows = [(f"`{x}`", repr(p.value), _bounds(p), "yes" if p.fixed else "") for x, p in system.parameters.items()]
    lines += _table(("parameter", "value", "bounds", "known"), rows)
    lines += _table(("input", "from sample to sample"), [(f"`{u}`", BETWEEN[how]) for u, how in system.inputs.items()])
    starts = [(f"`{x}`", _start(value)) for x, value in system.initial.items()]
    lines += _table(("state", "initial value"), starts)
    noise = [(f"`{x}`", f"`{process}`", f"`{value}`") for x, process, value in wiener.terms(system.noise)]
    lines += _table(("state", "Wiener process", "noise"), noise)
    networks = [(", ".join(f"`{f}`" for f in group), _network(network)) for group, network in system.learned.items()]
    lines += _table(("learned", "network"), networks)
    return finish("\n".join(lines) + "\n", path)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    text = ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in [columns, *rows]]
    return ["", text[0], "|---" * len(columns) + "|", *(line.replace("|  |", "| |") for line in text[1:])]


def _bounds(parameter: Parameter) -> str:
    lower, upper = parameter.bounds
    return (
        ""
        if lower is None and upper is None
        else f"{'' if lower is None else lower} … {'' if upper is None else upper}"
    )


def _start(value: object) -> str:
    return f"{value.value!r} (fitted)" if isinstance(value, Parameter) else f"`{value}`"


def _network(network: object) -> str:
    if not isinstance(network, MLP):
        return f"torch module `{type(network).__name__}`"
    state = "trained" if network.weights is not None else "untrained"
    return f"hidden layers {network.hidden}, {network.activation}, {state}"
