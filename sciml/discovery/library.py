"""Libraries of candidate terms, and the System in which every learned function is a sum of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import sympy as sp
from jaxtyping import Float
from sympy.core.function import AppliedUndef

from sciml.discovery.terms import AbstractTerms, monomials
from sciml.errors import ModelError, quoted, suggestion
from sciml.symbolic.declarations import Parameter
from sciml.symbolic.system import System


@dataclass(frozen=True)
class Term:
    """One candidate term of one learned function.

    Attributes:
        function: Index of the function among the System's learned ones.
        expression: The term, in the arguments with which the equations call the function.
        coefficient: The symbol that multiplies it in the library System.
        degree: Complexity: total degree of a polynomial, number of operations of anything else.
        also: Other functions that hold a term with the same coefficient: pairs of function and term.
    """

    function: int
    expression: sp.Expr
    coefficient: sp.Symbol
    degree: int
    also: tuple[tuple[int, sp.Expr], ...] = ()

    @property
    def parts(self) -> tuple[tuple[int, sp.Expr], ...]:
        """Every function that it stands in, and what the coefficient multiplies there."""
        return ((self.function, self.expression), *self.also)


@dataclass(frozen=True)
class Library:
    """A System whose learned functions are Σ coefficient · term, and those terms.

    Attributes:
        system: All coefficients are parameters of it, zero at first.
        terms: In the order of the coefficients.
        functions: Names of the learned functions.
    """

    system: System
    terms: tuple[Term, ...]
    functions: tuple[str, ...]

    def law(
        self, values: dict[str, float], active: Sequence[int], exact: Mapping[int, sp.Rational] | None = None
    ) -> System:
        """The System with only the active terms, their coefficients renamed and set, or replaced by exact numbers."""
        return _law(self, values, active, exact or {})

    def formulas(self, active: Sequence[int]) -> dict[str, sp.Expr]:
        """Each learned function as the sum of its active terms."""
        sums = {name: sp.Integer(0) for name in self.functions}
        for k in active:
            for function, expression in self.terms[k].parts:
                sums[self.functions[function]] += self.terms[k].coefficient * expression
        return sums


def complexity(term: sp.Expr, arguments: Sequence[sp.Expr]) -> int:
    """Total degree of a monomial; of other terms, the number of operations."""
    dummies = [sp.Dummy() for _ in arguments]
    plain = _exchanged(term, dict(zip(arguments, dummies)))
    if plain.is_polynomial(*dummies):
        return sp.Poly(plain, *dummies).total_degree()
    return 1 + int(sp.count_ops(plain))


def _exchanged(term: sp.Expr, table: dict) -> sp.Expr:
    """The term with arguments exchanged; the direct way for plain symbols is forty times faster."""
    if all(argument.is_Symbol for argument in table):
        return term.xreplace(table)
    return term.subs(table, simultaneous=True)


def build_library(
    system: System,
    degree: int | None,
    terms: Sequence[sp.Expr | AbstractTerms] | None,
    sizes: dict[str, float],
    names: Sequence[str] | None = None,
) -> Library:
    """Write every learned function of a System as a sum of library terms with unknown coefficients.

    Args:
        system: With learned functions.
        degree: Monomials of the arguments up to this total degree.
        terms: Terms of the user's own, in the symbols of the equations; each function takes those that depend on
            nothing but its arguments.
        sizes: Typical sizes of states, for starting scales of coefficients.
        names: What the functions are called in laws; their own names by default.

    Raises:
        ModelError: No learned functions, unknown symbols, or a function that is called with different arguments.
    """
    if not system.functions:
        raise ModelError("nothing is to be discovered: the System has no learned function.")
    for function in system.functions:
        if not any(rhs.has(function) for rhs in system.equations.values()):
            raise ModelError(
                f"`{function}` occurs in no equation, only in observables or noise. Discovery reads terms off equations."
            )
    for term in terms or ():
        if isinstance(term, AbstractTerms):
            continue
        unknown = term.free_symbols - set(system.states) - set(system.inputs) - {system.time}
        if unknown:
            name = sorted(map(str, unknown))[0]
            raise ModelError(
                f"`{name}` in the library term `{term}` is not a state.{suggestion(name, system.states)} Terms are "
                "expressions of states, inputs and time; their coefficients are found by the regression."
            )
        called = sorted(map(str, term.atoms(AppliedUndef)))
        if called:
            raise ModelError(
                f"`{called[0]}` in the library term `{term}` is a function that is not known. Terms are closed forms of "
                "states, inputs and time."
            )
    found: list[Term] = []
    replacements = {}
    parameters: dict[sp.Symbol, Parameter] = {}
    for index, function in enumerate(system.functions):
        arguments = _arguments(system, function)
        own = _own_terms(function, arguments, degree, terms)
        coefficients = [_free_name(f"{function.__name__}_{k}", system, parameters) for k in range(len(own))]
        size = {x: sizes.get(str(x), 1.0) for a in arguments for x in a.free_symbols}
        for term, coefficient in zip(own, coefficients):
            found.append(Term(index, term, coefficient, complexity(term, arguments)))
            parameters[coefficient] = Parameter(1.0 / _size(term, size))
        formals = [sp.Dummy() for _ in arguments]
        body = sum(c * _exchanged(term, dict(zip(arguments, formals))) for c, term in zip(coefficients, own))
        replacements[function] = sp.Lambda(tuple(formals), body)
    called = tuple(function.__name__ for function in system.functions) if names is None else tuple(names)
    return Library(system.substitute(replacements, parameters=parameters), tuple(found), called)


def _size(term: sp.Expr, sizes: dict[sp.Symbol, float]) -> float:
    """The absolute value of a term at typical values; 1 where it has none."""
    value = abs(complex(term.subs(sizes).evalf().replace(sp.zoo, sp.nan)))
    return value if np.isfinite(value) and value > 0 else 1.0


def _arguments(system: System, function) -> tuple[sp.Expr, ...]:
    calls = {call.args for call in system.calls(function)}
    if len(calls) > 1:
        raise ModelError(
            f"`{function}` is called with different arguments ({quoted(sorted(map(str, system.calls(function))))}); "
            "discovery needs one set of arguments per function."
        )
    return calls.pop()


def _own_terms(
    function, arguments, degree: int | None, terms: Sequence[sp.Expr | AbstractTerms] | None
) -> list[sp.Expr]:
    own = [] if degree is None else monomials(arguments, degree)
    allowed = set().union(*(argument.free_symbols for argument in arguments))
    for term in terms or ():
        given = term.of(arguments) if isinstance(term, AbstractTerms) else [sp.sympify(term)]
        own += [new for new in given if new.free_symbols <= allowed and new not in own]
    if not own:
        raise ModelError(f"no term of the library depends on the arguments of `{function}` alone: {quoted(arguments)}.")
    return own


def _law(library: Library, values: dict[str, float], active: Sequence[int], exact: Mapping[int, sp.Rational]) -> System:
    zero = {t.coefficient: sp.Integer(0) for k, t in enumerate(library.terms) if k not in active}
    system = library.system.substitute(zero | {library.terms[k].coefficient: v for k, v in exact.items()})
    active = [k for k in active if k not in exact]
    counts: dict[int, int] = {}
    for k in active:
        counts[library.terms[k].function] = counts.get(library.terms[k].function, 0) + 1
    names, seen = {}, {}
    for k in active:
        term = library.terms[k]
        seen[term.function] = seen.get(term.function, 0) + 1
        suffix = f"_{seen[term.function]}" if counts[term.function] > 1 else ""
        name = f"c_{library.functions[term.function]}{suffix}"
        names[term.coefficient] = _free_name(name, system, names.values())
    declared = {names[c]: Parameter(values[str(c)]) for c in names}
    renamed = system.substitute(names, parameters=declared)
    own = {str(x): v for x, v in ((x, values.get(str(x))) for x in renamed.parameters) if v is not None}
    return renamed.with_parameters({n: v for n, v in own.items() if n not in map(str, declared)})


def _free_name(name: str, system: System, others: Iterable[sp.Symbol]) -> sp.Symbol:
    own = (*system.states, *system.observed, *system.parameters, *system.inputs, system.time)
    taken = {str(x) for x in (*own, *others)}
    while name in taken:
        name += "_"
    return sp.Symbol(name, real=True)


def columns_of(
    library: Library,
    times: Float[np.ndarray, " point"],
    states: Float[np.ndarray, "point state"],
    values: dict[str, float],
    inputs: Float[np.ndarray, "point input"],
) -> tuple[Float[np.ndarray, "point state"], Float[np.ndarray, "point state term"]]:
    r"""The right-hand side as known part plus linear part, :math:`f = f_0 + \sum_k c_k \phi_k`, along a path.

    Raises:
        ModelError: A learned function stands in an equation other than linearly.
    """
    system = library.system
    coefficients = [term.coefficient for term in library.terms]
    symbols = [*system.states, system.time, *system.inputs]
    others = {x: p.value for x, p in system.parameters.items() if x not in coefficients}
    fixed = {x: sp.Float(values.get(str(x), value)) for x, value in others.items()}
    arguments = [*states.T, times, *inputs.T]
    known = np.empty(states.shape)
    linear = np.zeros((*states.shape, len(coefficients)))
    for i, rhs in enumerate(system.equations.values()):
        here = [k for k, coefficient in enumerate(coefficients) if rhs.has(coefficient)]
        slopes = [rhs.diff(coefficients[k]) for k in here]
        for k, expression in zip(here, slopes):
            if expression.free_symbols & set(coefficients):
                name = library.functions[library.terms[k].function]
                raise ModelError(f"`{name}` does not stand linearly in the equation of `{system.states[i]}`.")
        rest = rhs.xreplace(dict.fromkeys(coefficients, sp.S.Zero))
        columns = _evaluate(symbols, [e.xreplace(fixed) for e in (*slopes, rest)], arguments)
        for k, column in zip(here, columns):
            _check(column, f"the library term `{library.terms[k].expression}`")
            linear[:, i, k] = column
        _check(columns[-1], f"the known part of the equation of `{system.states[i]}`")
        known[:, i] = columns[-1]
    return known, linear


def _evaluate(symbols, expressions, arguments) -> list[np.ndarray]:
    with np.errstate(all="ignore"):
        values = sp.lambdify(symbols, expressions, "numpy", cse=True)(*arguments)
    return [np.broadcast_to(np.asarray(value), arguments[0].shape) for value in values]


def _check(values: np.ndarray, what: str) -> None:
    if np.iscomplexobj(values) or not np.isfinite(values).all():
        raise ModelError(f"{what} is not finite and real on the states that were visited.")
