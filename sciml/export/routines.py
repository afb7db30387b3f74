"""What every program-like language is given of a System: named Programs, networks, and names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import sympy as sp
from sympy.core.function import AppliedUndef

from sciml.errors import ModelError, quoted
from sciml.export.networks import Evaluation, Network, asked, evaluations, networks
from sciml.lowering.program import Assign, Call, Program, lower
from sciml.lowering.slopes import jacobian_expressions
from sciml.lowering.vector_field import initial_program
from sciml.symbolic import wiener
from sciml.symbolic.system import System


@dataclass(frozen=True)
class Routine:
    """One function of the exported code.

    Args:
        name: Of the function.
        program: What it computes.
        words: What that is.
        shape: Of the result: a vector, or a matrix by rows.
        arguments: What it is called with, of "time", "state", "inputs" and "parameters", in this order.
    """

    name: str
    program: Program
    words: str
    shape: tuple[int, ...]
    arguments: tuple[str, ...] = ("time", "state", "parameters")

    @property
    def rows(self) -> tuple[tuple[sp.Expr, ...], ...]:
        """The results of a matrix by rows."""
        columns = self.shape[-1]
        return tuple(self.program.results[i : i + columns] for i in range(0, len(self.program.results), columns))


@dataclass(frozen=True)
class Routines:
    """A System as functions `(t, state, parameters)`, or `(t, state, inputs, parameters)`: what code targets print.

    Args:
        system: The System.
        networks: Weights of the learned functions.
        functions: `rhs`, and where the System has them `jacobian`, `observe`, `diffusion`, `events`, `reset_0`, ...
        initial: Initial states from the parameters; None where the System leaves one open.
    """

    system: System
    networks: tuple[Network, ...]
    functions: tuple[Routine, ...]
    initial: Routine | None

    @cached_property
    def evaluations(self) -> dict[tuple, Evaluation]:
        """The functions that evaluate networks."""
        return evaluations([routine.program for routine in self.functions], self.networks)

    def evaluation(self, call: Call) -> Evaluation:
        """The function that a call is printed as a call of."""
        return self.evaluations[asked(call)]

    @property
    def calls(self) -> list[Call]:
        """All evaluations of networks."""
        return [step for f in self.functions for step in f.program.steps if isinstance(step, Call)]

    @property
    def resets(self) -> dict[int, Routine]:
        """The states after an event, by the event's number."""
        return {int(r.name.removeprefix("reset_")): r for r in self.functions if r.name.startswith("reset_")}


def routines(system: System, *, jacobian: bool) -> Routines:
    """The Programs of a System, one for each function of the exported code.

    Args:
        system: To be exported.
        jacobian: Whether the derivatives of the rates by the states belong to it.

    Raises:
        ModelError: A network without weights or of another kind, or a derivative that cannot be computed.
    """
    _refuse_maps(system)
    count = len(system.states)
    known = networks(system)
    wanted: list[tuple[str, list[sp.Expr], str, tuple[int, ...]]] = [
        ("rhs", list(system.equations.values()), "rates of change of the states", (count,))
    ]
    if jacobian:
        words = "derivatives of the rates (rows) by the states (columns)"
        wanted.append(("jacobian", jacobian_expressions(system), words, (count, count)))
    if system.observed:
        values = list(system.observed.values())
        wanted.append(("observe", values, "observables", (len(values),)))
    if system.noise:
        if wiener.is_diagonal(system.noise):
            own = {x: value for x, _, value in wiener.terms(system.noise)}
            values, words, shape = [own.get(x, sp.S.Zero) for x in system.states], "of the states", (count,)
        else:
            values, shape = list(system.diffusion), (count, len(system.processes))
            words = "of the states (rows) by Wiener processes (columns)"
        wanted.append(("diffusion", values, f"diffusion coefficients {words} (Ito)", shape))
    if system.events:
        conditions = [event.condition for event in system.events]
        wanted.append(("events", conditions, "conditions of the events, which pass through zero", (len(conditions),)))
    for i, event in enumerate(system.events):
        if event.reset is not None:
            values = [event.reset.get(x, x) for x in system.states]
            wanted.append((f"reset_{i}", values, f"the states after event {i}", (count,)))
    plain, driven = ("time", "state", "parameters"), ("time", "state", "inputs", "parameters")
    functions = tuple(
        # Conditions of events depend on no input, so solvers can call them with times and states alone.
        Routine(name, lower(system, values), words, shape, driven if system.inputs and name != "events" else plain)
        for name, values, words, shape in wanted
    )
    initial = None
    if set(system.initial) == set(system.states):
        program = initial_program(system, [system.initial[x] for x in system.states])
        initial = Routine("initial", program, "initial states", (count,), ("parameters",))
    return Routines(system, known, functions, initial)


@dataclass(frozen=True)
class Statements:
    """A System as formulas of one scope, whole and in the user's names: what equation-based languages print.

    Args:
        routines: The System, its networks, and one function that computes all of the below.
        rates, observed, conditions: By state, observable, event.
        resets: By event, the new values of the states that it sets.
        initial: Initial values, of the states that have one.
    """

    routines: Routines
    rates: dict[sp.Symbol, sp.Expr]
    observed: dict[sp.Symbol, sp.Expr]
    conditions: tuple[sp.Expr, ...]
    resets: tuple[dict[sp.Symbol, sp.Expr], ...]
    initial: dict[sp.Symbol, sp.Expr]


def statements(system: System, language: str) -> Statements:
    """The formulas of a System without common subexpressions taken out.

    Raises:
        ModelError: A network without weights or of another kind, a derivative that cannot be computed, or a learned
            function in an event.
    """
    _refuse_maps(system)
    for event in system.events:
        learned = set().union(*(e.atoms(AppliedUndef) for e in (event.condition, *(event.reset or {}).values())))
        if learned:
            raise ModelError(
                f"{quoted(sorted(map(str, learned)))} stands in an event, where {language} cannot hold it."
            )
    resets = [event.reset or {} for event in system.events]
    values = [*system.equations.values(), *system.observed.values(), *(event.condition for event in system.events)]
    values += [value for reset in resets for value in reset.values()]
    program = inline(lower(system, values))
    results = iter(program.results)
    rates, observed = dict(zip(system.states, results)), dict(zip(system.observed, results))
    conditions = tuple(next(results) for _ in system.events)
    after = tuple({x: next(results) for x in reset} for reset in resets)
    given = [system.initial[x] for x in system.states if x in system.initial]
    starts = inline(initial_program(system, given)).results
    initial = dict(zip((x for x in system.states if x in system.initial), starts))
    whole = Routine("whole", program, "everything", (len(program.results),))
    known = Routines(system, networks(system), (whole,), None)
    return Statements(known, rates, observed, conditions, after, initial)


def _refuse_maps(system: System) -> None:
    if system.discrete:
        raise ModelError("the System is a map (`discrete=True`); exported code holds differential equations.")


def inline(program: Program) -> Program:
    """The Program with its temporaries put back into the formulas that use them; network calls stay."""
    values: dict[sp.Basic, sp.Expr] = {}
    calls: list[Assign | Call] = []
    for step in program.steps:
        if isinstance(step, Assign):
            values[step.target] = step.expression.xreplace(values)
        else:
            calls.append(Call(step.network, tuple(i.xreplace(values) for i in step.inputs), step.outputs))
    return replace(program, steps=tuple(calls), results=tuple(result.xreplace(values) for result in program.results))
