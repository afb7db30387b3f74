"""Systems as Python source that needs NumPy only and is ready for SciPy."""

from __future__ import annotations

import keyword
from pathlib import Path

import sympy as sp
from sympy.core.function import AppliedUndef
from sympy.printing.codeprinter import PrintMethodNotImplementedError
from sympy.printing.numpy import NumPyPrinter

from sciml.errors import ModelError, quoted
from sciml.lowering.program import rewritten
from sciml.storage import write_atomically
from sciml.symbolic.declarations import Parameter
from sciml.symbolic.system import System

RESERVED = ("functools", "math", "numpy", "parameters", "state")


class _Printer(NumPyPrinter):
    """NumPy's functions by their full names, and numbers to the last digit."""

    def _print_Float(self, expr):
        return repr(float(expr))


def python(system: System, path: str | Path | None = None) -> str:
    """A closed-form System as a Python module with `rhs(t, state, parameters)`, ready for `scipy.integrate.solve_ivp`.

    Args:
        system: Without functions to be learned.
        path: Where to write it, too.

    Returns:
        The source. It defines `STATES`, `PARAMETERS`, `INITIAL` (where given), `rhs`, and `observe` if the System has
        observables.

    Raises:
        ModelError: Functions that are not closed forms, or names that Python does not allow.

    Example:
        >>> import sympy as sp
        >>> from sciml import System
        >>> x, k = sp.symbols("x k", real=True)
        >>> scope = {}
        >>> exec(python(System({x: -k * x}, parameters={k: 0.5}, initial={x: 2})), scope)
        >>> scope["rhs"](0.0, [2.0])
        array([-1.])
    """
    _check(system)
    source = "\n".join(_lines(system)) + "\n"
    if path is not None:
        write_atomically(Path(path), source.encode())
    return source


def _lines(system: System) -> list[str]:
    printer = _Printer({"fully_qualified_modules": True})
    states, parameters = list(map(str, system.states)), system.parameters
    rates = [_printed(printer, rhs) for rhs in system.equations.values()]
    observed = [_printed(printer, value) for value in system.observed.values()]
    modules = sorted({"numpy", *printer.module_imports})
    initial = _initial(system)
    unpack = [f"    {_names(states)} = state"]
    unpack += [f"    {_names(map(str, parameters))} = parameters"] if parameters else []
    equations = [f"    {x}' = {rhs}" for x, rhs in system.equations.items()]
    lines = ['"""Differential equations:', "", *equations, '"""', "", *(f"import {module}" for module in modules), ""]
    lines += [f"STATES = ({_quoted(states)},)"]
    values = ", ".join(f'"{x}": {p.value!r}' for x, p in parameters.items())
    lines += [f"PARAMETERS = {{{values}}}"]
    if initial is not None:
        lines += [f"INITIAL = numpy.array([{', '.join(map(repr, initial))}])"]
    defaults = "parameters=tuple(PARAMETERS.values())"
    time = str(system.time)
    lines += ["", "", f"def rhs({time}, state, {defaults}):"]
    lines += ['    """Rates of change of the states."""', *unpack, f"    return numpy.array([{', '.join(rates)}])"]
    if observed:
        lines += [
            "",
            "",
            f"def observe({time}, state, {defaults}):",
            f'    """{", ".join(map(str, system.observed))}."""',
        ]
        lines += [*unpack, f"    return numpy.array([{', '.join(observed)}])"]
    return lines


def _printed(printer: NumPyPrinter, expression: sp.Expr) -> str:
    try:
        return printer.doprint(rewritten(expression))
    except PrintMethodNotImplementedError as error:
        raise ModelError(f"`{expression}` cannot be written for NumPy: {str(error).splitlines()[0]}.") from error


def _initial(system: System) -> list[float] | None:
    if set(system.initial) != set(system.states):
        return None
    values = {x: p.value for x, p in system.parameters.items()}
    given = [system.initial[x] for x in system.states]
    return [v.value if isinstance(v, Parameter) else float(v.subs(values)) for v in given]


def _names(names) -> str:
    names = list(names)
    return ", ".join(names) if len(names) > 1 else f"({names[0]},)"


def _quoted(names) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _check(system: System) -> None:
    if system.discrete:
        raise ModelError("the System is a map (`discrete=True`); the exported module holds differential equations.")
    if system.noise:
        raise ModelError(f"{quoted(system.noise)} has a diffusion term, which the exported module cannot hold.")
    if system.events:
        raise ModelError("the System has events, which the exported module cannot hold: `replace(system, events=())`.")
    formulas = (*system.equations.values(), *system.observed.values())
    calls = set().union(*(formula.atoms(AppliedUndef) for formula in formulas))
    if calls:
        raise ModelError(
            f"{quoted(sorted(map(str, calls)))} has no closed form. Find one with `sciml.discover(fit)`, or replace "
            "it with `system.substitute({function: formula})`."
        )
    for symbol in (*system.states, *system.parameters, *system.observed, system.time):
        name = str(symbol)
        if not name.isidentifier() or keyword.iskeyword(name) or name in RESERVED:
            raise ModelError(f"`{name}` cannot be a name in the exported Python: rename the symbol before exporting.")
