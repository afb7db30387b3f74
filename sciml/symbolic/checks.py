"""What a System accepts: short forms made regular, and every slip named before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from numbers import Real
from typing import TYPE_CHECKING, Any

import sympy as sp
from sympy.core.function import AppliedUndef, UndefinedFunction

from sciml.errors import ModelError, quoted, suggestion
from sciml.event import Event
from sciml.symbolic import wiener
from sciml.symbolic.declarations import INTERPOLATIONS, MLP, Parameter

if TYPE_CHECKING:
    from sciml.symbolic.system import System


def normalized(system: System) -> dict[str, Any]:
    """The fields of a System with numbers wrapped, names turned to symbols, and time settled."""
    if not isinstance(system.equations, Mapping):
        raise ModelError(
            f"`equations` is of type `{type(system.equations).__name__}`: give a dict `{{state: right-hand side}}`. For "
            "a list of `sp.Eq(...)` use `System.from_equations([...])`."
        )
    equations = {key: expression(rhs, f"the equation of `{key}`") for key, rhs in dict(system.equations).items()}
    observed = named(system.observed)
    initial = {
        lookup(key, equations, "state"): value
        if isinstance(value, Parameter)
        else expression(value, f"the initial value of `{key}`")
        for key, value in dict(system.initial).items()
    }
    parameters = {key: declared(key, value) for key, value in dict(system.parameters).items()}
    noise = {lookup(key, equations, "state"): _noise(key, value) for key, value in dict(system.noise).items()}
    events = tuple(_event(event, i, equations) for i, event in enumerate(_listed(system.events)))
    inputs = _inputs(system.inputs)
    time = system.time
    if time is None:
        noisy = (coefficient for _, _, coefficient in wiener.terms(noise))
        formulas = (*equations.values(), *observed.values(), *noisy, *event_formulas(events))
        used = set().union(*(e.free_symbols for e in formulas))
        declared_elsewhere = {*equations, *parameters, *inputs}
        undeclared = [s for s in used if s.name == "t" and s not in declared_elsewhere]
        time = undeclared[0] if undeclared else sp.Symbol("t", real=True)
    return {
        "equations": equations,
        "parameters": parameters,
        "learned": grouped(system.learned),
        "initial": initial,
        "observed": observed,
        "noise": noise,
        "time": time,
        "events": events,
        "inputs": inputs,
    }


def _noise(state: Any, value: Any) -> Any:
    """The noise of one state: a coefficient of its own Wiener process, or coefficients of named ones."""
    where = f"the noise of `{state}`"
    if not isinstance(value, Mapping):
        return expression(value, where)
    if not value:
        raise ModelError(f"{where} is an empty dict: give `{{process: coefficient}}`, or leave the state out.")
    for process in value:
        if not isinstance(process, str | sp.Symbol):
            raise ModelError(f"{where} names the Wiener process {process!r}: give a symbol, or its name as text.")
    return {sp.Symbol(str(process), real=True): expression(c, where) for process, c in value.items()}


def _inputs(inputs: Any) -> dict[Any, str]:
    """Every input with its interpolation."""
    if isinstance(inputs, str):
        raise ModelError(f"`inputs={inputs!r}` is text: give the symbols, as in `inputs=[u]`.")
    listed = [inputs] if isinstance(inputs, sp.Basic) else inputs
    table = dict(listed) if isinstance(listed, Mapping) else dict.fromkeys(listed, "linear")
    for symbol, how in table.items():
        if how not in INTERPOLATIONS:
            raise ModelError(
                f"the interpolation {how!r} of the input `{symbol}` is not known. There are {quoted(INTERPOLATIONS)}."
                f"{suggestion(how, INTERPOLATIONS)}"
            )
    return table


def _listed(events: Any) -> tuple[Any, ...]:
    return (events,) if isinstance(events, Event) else tuple(events)


def _event(event: Any, i: int, equations: Mapping[Any, Any]) -> Event:
    """An event with its formulas as SymPy expressions, its reset by the system's own symbols."""
    if not isinstance(event, Event):
        raise ModelError(f"`events[{i}]` is of type `{type(event).__name__}`. Expected an `Event(condition)`.")
    where = f"`events[{i}]`"
    if isinstance(event.condition, sp.core.relational.Relational):
        raise ModelError(
            f"the condition of {where} is `{event.condition}`, which is true or false. Give the expression that passes "
            f"through zero, `{event.condition.lhs - event.condition.rhs}`, and its `direction`."
        )
    if callable(event.condition) or (callable(event.reset) and event.reset is not None):
        raise ModelError(
            f"{where} holds a function. A System takes SymPy: `Event(x, reset={{v: -v}})`; functions of `(t, y)` are for "
            "`solve(..., events=...)`."
        )
    reset = event.reset
    if reset is not None:
        if not isinstance(reset, Mapping) or not reset:
            raise ModelError(f"the reset of {where} is {reset!r}: give a dict `{{state: expression}}`.")
        reset = {
            lookup(key, equations, "state"): expression(value, f"the reset of `{key}` in {where}")
            for key, value in reset.items()
        }
    return replace(event, condition=expression(event.condition, f"the condition of {where}"), reset=reset)


def event_formulas(events: Iterable[Event]) -> tuple[sp.Expr, ...]:
    """All expressions of events: conditions and new states."""
    return tuple(e for event in events for e in (event.condition, *(event.reset or {}).values()))


def expression(value: Any, where: str) -> sp.Expr:
    """The value as a SymPy expression; strings are refused, because parsing them would run them."""
    if isinstance(value, (str, Mapping)):
        raise ModelError(f"{where} is {value!r}: write it as a SymPy expression, not as text.")
    try:
        result = sp.sympify(value, strict=True)
    except (sp.SympifyError, TypeError) as error:
        raise ModelError(f"{where} is {value!r}, which is not a SymPy expression.") from error
    if not isinstance(result, sp.Expr) or result.is_Matrix:
        raise ModelError(f"{where} is `{result}` ({type(result).__name__}), which is not a scalar expression.")
    if result.has(sp.nan, sp.zoo, sp.oo, -sp.oo) or result.has(sp.I):
        raise ModelError(f"{where}, `{result}`, is not a finite real expression.")
    return result


def declared(key: Any, value: Any) -> Parameter:
    """A parameter's declaration; a plain number is a known constant."""
    if isinstance(value, Parameter):
        return value
    number = sp.sympify(value) if isinstance(value, Real | sp.Expr) else None
    if number is None or not (number.is_number and number.is_real) or not math.isfinite(float(number)):
        raise ModelError(f"parameter `{key}` is {value!r}: give a `Parameter(...)`, or a finite number if it is known.")
    return Parameter(float(number), fixed=True)


def grouped(learned: Mapping[Any, Any]) -> dict[tuple[UndefinedFunction, ...], Any]:
    """Learned terms with every key a tuple of functions."""
    groups = {}
    for key, network in dict(learned).items():
        group = key if isinstance(key, tuple) else (key,)
        for function in group:
            if not isinstance(function, UndefinedFunction):
                raise ModelError(
                    f"`{function}` in `learned` is not an undefined function. Declare it by "
                    f'`sp.Function("{str(function).split("(")[0]}")` and use it without arguments as the key.'
                )
        groups[group] = network
    return groups


def named(table: Mapping[Any, Any]) -> dict[sp.Symbol, sp.Expr]:
    """Named expressions; a name given as text becomes a real symbol."""
    return {
        sp.Symbol(key, real=True) if isinstance(key, str) else key: expression(value, f"observable `{key}`")
        for key, value in dict(table).items()
    }


def lookup(name: Any, known: Iterable[Any], role: str) -> Any:
    """The known symbol or function of that name."""
    table = {str(symbol): symbol for symbol in known}
    if str(name) not in table:
        raise ModelError(f"`{name}` is not a {role}. The system has {quoted(table)}.{suggestion(name, table)}")
    return table[str(name)]


def check(system: System) -> None:
    """Raise a ModelError for the first thing in the System that cannot be meant."""
    _check_names(system)
    if system.discrete and system.inputs:
        raise ModelError(
            f"a map (`discrete=True`) takes no inputs yet, and this one has {quoted(system.inputs)}. Give them as "
            "expressions of the step: `system.substitute({u: ...})`."
        )
    if system.discrete and system.noise:
        raise ModelError(
            f"a map (`discrete=True`) has no diffusion, and this one has noise on {quoted(system.noise)}: Wiener processes "
            "need continuous time. Give random numbers of each step as parameters or states of the map."
        )
    if system.discrete and system.events:
        raise ModelError("a map (`discrete=True`) has no events: nothing happens between its steps.")
    for where, formula in _formulas(system):
        check_formula(system, where, formula)
    for state, value in system.initial.items():
        if not isinstance(value, Parameter) and value.free_symbols - set(system.parameters):
            wrong = sorted(map(str, value.free_symbols - set(system.parameters)))[0]
            if wrong in map(str, system.inputs):
                raise ModelError(
                    f"the initial value of `{state}` depends on the input `{wrong}`, which an initial value may not. Give "
                    "a number, an expression of parameters, or a `Parameter` to be fitted."
                )
            raise ModelError(
                f"`{wrong}` in the initial value of `{state}` is not a parameter. An initial value is a number, an "
                f"expression of parameters, or a `Parameter`.{suggestion(wrong, system.parameters)}"
            )
    _check_learned(system)


def check_formula(system: System, where: str, formula: sp.Expr) -> None:
    """Raise a ModelError for a symbol or function in a formula that the System does not know."""
    _check_symbols(system, where, formula)
    _check_functions(system, where, formula)


def _check_names(system: System) -> None:
    if not system.equations:
        raise ModelError("a System needs at least one equation: `System({x: -x})`.")
    for state in system.equations:
        if not isinstance(state, sp.Symbol):
            raise ModelError(
                f"the key `{state}` of `equations` is not a symbol. For equations in `x(t)` and its derivatives use "
                "`System.from_equations([...])`."
            )
        if state.is_nonnegative or state.is_nonpositive:
            raise ModelError(
                f"state `{state}` is declared positive or negative; SymPy then rewrites sqrt({state}**2) to "
                f'`{state}`, wrong once a solver steps across zero. Declare it by `sp.symbols("{state}", real=True)`.'
            )
        if not state.is_real:
            raise ModelError(f'state `{state}` must be real: declare it by `sp.symbols("{state}", real=True)`.')
    roles = {
        "state": system.equations,
        "parameter": system.parameters,
        "observable": system.observed,
        "input": system.inputs,
    }
    seen: dict[str, str] = {str(system.time): "time"}
    for role, symbols in roles.items():
        for symbol in symbols:
            if not isinstance(symbol, sp.Symbol):
                raise ModelError(f"the {role} `{symbol}` is not a symbol.")
            if str(symbol) in seen:
                raise ModelError(f"`{symbol}` is declared as {seen[str(symbol)]} and as {role}. Rename one of them.")
            seen[str(symbol)] = role


def _formulas(system: System):
    yield from ((f"the equation of `{x}`", rhs) for x, rhs in system.equations.items())
    yield from ((f"observable `{name}`", value) for name, value in system.observed.items())
    yield from ((f"the noise of `{x}`", value) for x, _, value in wiener.terms(system.noise))
    for i, event in enumerate(system.events):
        yield f"the condition of `events[{i}]`", event.condition
        yield from ((f"the reset of `{x}` in `events[{i}]`", value) for x, value in (event.reset or {}).items())


def _check_symbols(system: System, where: str, formula: sp.Expr) -> None:
    known = {*system.states, *system.parameters, *system.inputs, system.time}
    jumping = sorted(map(str, formula.free_symbols & set(system.inputs))) if where.startswith("the condition") else []
    if jumping:
        raise ModelError(
            f"{where} depends on the input `{jumping[0]}`, which may jump across zero. Let it depend on states, "
            "parameters and time."
        )
    for symbol in sorted(formula.free_symbols - known, key=str):
        twins = [other for other in known if str(other) == str(symbol)]
        if twins:
            raise ModelError(
                f"`{symbol}` in {where} has other assumptions than the declared `{symbol}`, so SymPy takes them for "
                "two symbols. Create the symbol once (with `real=True`) and use it everywhere."
            )
        if str(symbol).startswith("_"):
            raise ModelError(
                f"`{symbol}` in {where} was left behind by SymPy, which loses a substitution in mixed derivatives such as "
                "f(2*x, 3*y).diff(x, y). Call the function with plain symbols and let `MLP(input_scale=...)` scale them."
            )
        raise ModelError(
            f"`{symbol}` in {where} is neither a state nor a parameter.{suggestion(symbol, known)} "
            f"A new constant goes into `parameters={{{symbol}: ...}}`, a measured signal into `inputs=[{symbol}]`."
        )


def _check_functions(system: System, where: str, formula: sp.Expr) -> None:
    for call in sorted(formula.atoms(AppliedUndef), key=str):
        if call.func not in system.functions:
            name = call.func.__name__
            raise ModelError(
                f"`{call}` in {where} is an unknown function.{suggestion(name, system.functions)} "
                f"Say how to learn it: `learned={{{name}: MLP()}}`."
            )


def _check_learned(system: System) -> None:
    seen: set[str] = set()
    for group, network in system.learned.items():
        counts = set()
        for function in group:
            name = function.__name__
            if name in seen:
                raise ModelError(f"`{name}` stands twice in `learned`.")
            seen.add(name)
            own = {len(call.args) for call in system.calls(function)}
            if not own:
                raise ModelError(f"`{name}` is declared in `learned` but occurs in no equation. Remove or use it.")
            counts |= own
        if len(counts) > 1:
            raise ModelError(
                f"{quoted(group)} are called with {' and '.join(map(str, sorted(counts)))} arguments; one network "
                "needs one number of arguments."
            )
        if isinstance(network, MLP):
            _check_mlp(system, network, group, counts.pop())
        elif not callable(network):
            raise ModelError(f"{quoted(group)} is to be learned by {network!r}: give `MLP()` or a torch module.")


def _check_mlp(system: System, mlp: MLP, group: tuple, arguments: int) -> None:
    wanted = {"input_scale": arguments, "output_scale": len(group), "factors": len(group)}
    for name, count in wanted.items():
        value = getattr(mlp, name)
        if value is not None and len(value) != count:
            raise ModelError(f"`{name}={value}` of the MLP for {quoted(group)} needs {count} entries.")
    for function, factor in zip(group, mlp.factors or ()):
        for call in system.calls(function):
            if factor is not None and factor not in call.args:
                raise ModelError(
                    f"factor `{factor}` of `{function}` must be one of the arguments of `{call}`."
                    f"{suggestion(factor, call.args)}"
                )
