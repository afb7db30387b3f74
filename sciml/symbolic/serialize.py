"""Systems as JSON: expression trees of whitelisted nodes, so that reading a file never runs any of it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import sympy as sp
from sympy.core.function import AppliedUndef
from sympy.functions.elementary.piecewise import ExprCondPair
from sympy.logic.boolalg import BooleanFalse, BooleanTrue

from sciml.errors import DataError, ModelError, quoted
from sciml.event import Event
from sciml.symbolic.declarations import MLP, Parameter
from sciml.symbolic.distributions import DISTRIBUTIONS, AbstractDistribution
from sciml.symbolic.system import System

FORMAT, VERSION = "sciml-system", 3
DEPTH, EXPONENT, DIGITS, ORDER = 150, 1000, 400, 10  # limits that no honest model meets

NODES: dict[str, Callable[..., Any]] = {
    cls.__name__: cls
    for cls in (
        *(sp.Add, sp.Mul, sp.Pow, sp.Abs, sp.sign, sp.exp, sp.log, sp.floor, sp.ceiling, sp.Mod, sp.Max, sp.Min),
        *(sp.sin, sp.cos, sp.tan, sp.cot, sp.sec, sp.csc, sp.asin, sp.acos, sp.atan, sp.atan2, sp.sinc),
        *(sp.sinh, sp.cosh, sp.tanh, sp.coth, sp.sech, sp.csch, sp.asinh, sp.acosh, sp.atanh),
        *(sp.erf, sp.erfc, sp.loggamma, sp.Heaviside, sp.Piecewise, ExprCondPair, sp.Derivative, sp.Subs, sp.Tuple),
        *(sp.And, sp.Or, sp.Not, sp.Eq, sp.Ne, sp.StrictLessThan, sp.LessThan, sp.StrictGreaterThan, sp.GreaterThan),
    )
}
# Nodes whose arguments need not all be scalar expressions.
STRUCTURE = frozenset({"Piecewise", "ExprCondPair", "Derivative", "Subs", "Tuple", "And", "Or", "Not", "Eq", "Ne"})
CONSTANTS = {"pi": sp.pi, "E": sp.E, "true": sp.true, "false": sp.false}
ASSUMPTIONS = frozenset({"real", "positive", "nonnegative", "negative", "nonpositive", "nonzero", "integer", "finite"})
UNREADABLE = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError)  # from broken content
NAME = re.compile(r"[\w '{}^]*\w[\w '{}^]*", re.UNICODE)


def encode(expression: sp.Basic) -> Any:
    """A SymPy expression as nested lists and dicts of plain numbers and text.

    Raises:
        ModelError: A node that the format does not know.
    """
    if isinstance(expression, sp.Dummy):
        return {"dummy": expression.name, "index": int(expression.dummy_index)}
    if isinstance(expression, sp.Symbol):
        if not NAME.fullmatch(expression.name):
            raise ModelError(
                f"`{expression}` cannot be saved: names in files are letters, digits, spaces, and the signs `_'{{}}^`."
            )
        given = {k: v for k, v in expression.assumptions0.items() if k in ASSUMPTIONS and v}
        return {"symbol": expression.name, "assumptions": sorted(_essential(expression.name, given))}
    if isinstance(expression, sp.Integer):
        return {"integer": str(int(expression))}
    if isinstance(expression, sp.Rational):
        return {"rational": [str(expression.p), str(expression.q)]}
    if isinstance(expression, sp.Float):
        return {"float": repr(float(expression))}
    for name, constant in CONSTANTS.items():
        if expression is constant or (isinstance(expression, BooleanTrue | BooleanFalse) and expression == constant):
            return {"constant": name}
    arguments = [encode(argument) for argument in expression.args]
    if isinstance(expression, AppliedUndef):
        return {"call": expression.func.__name__, "arguments": arguments}
    name = expression.func.__name__
    if name not in NODES:
        raise ModelError(f"`{expression}` cannot be saved: `{name}` is not a node of the file format.")
    return {"node": name, "arguments": arguments}


def _essential(name: str, given: Mapping[str, bool]) -> list[str]:
    """The fewest assumptions from which SymPy derives the rest."""
    for subset in ([], ["real"], ["positive"], ["nonnegative"], ["negative"], ["nonpositive"]):
        if sp.Symbol(name, **dict.fromkeys(subset, True)).assumptions0 == sp.Symbol(name, **given).assumptions0:
            return subset
    return list(given)


class Decoder:
    """Reads one file: keeps the dummies of `Subs` apart, and gives up on what no honest model holds."""

    def __init__(self):
        self.dummies: dict[int, sp.Dummy] = {}

    def decode(self, tree: Any, depth: int = 0) -> Any:
        """The expression of a tree.

        Raises:
            DataError: A node that is not on the whitelist, or numbers and depths that only serve to harm.
        """
        if depth > DEPTH:
            raise DataError(f"an expression in the file is nested deeper than {DEPTH} levels.")
        match tree:
            case {"symbol": str(name), "assumptions": list(assumptions)} if set(assumptions) <= ASSUMPTIONS:
                return sp.Symbol(_name(name), **dict.fromkeys(assumptions, True))
            case {"dummy": str(name), "index": int(index)}:
                return self.dummies.setdefault(index, sp.Dummy(_name(name)))
            case {"integer": str(digits)}:
                return sp.Integer(_integer(digits))
            case {"rational": [str(p), str(q)]} if _integer(q) != 0:
                return sp.Rational(_integer(p), _integer(q))
            case {"float": str(digits)}:
                return sp.Float(_float(digits), precision=53)
            case {"constant": str(name)} if name in CONSTANTS:
                return CONSTANTS[name]
            case {"call": str(name), "arguments": list(arguments)}:
                return sp.Function(_name(name))(*[self.decode(a, depth + 1) for a in arguments])
            case {"node": str(name), "arguments": list(arguments)} if name in NODES:
                return build(name, [self.decode(a, depth + 1) for a in arguments])
        raise DataError(f"the file holds an expression that cannot be read: {str(tree)[:80]!r}.")


def build(name: str, arguments: Sequence[Any]) -> Any:
    """A node of the whitelist with its arguments.

    Raises:
        DataError: Arguments that do not fit it, or numbers that only serve to harm.
    """
    _check_cost(name, arguments)
    try:
        if name not in STRUCTURE and not all(isinstance(argument, sp.Expr) for argument in arguments):
            raise TypeError("a scalar expression is needed")
        # A number before a sum would be multiplied out, and the last digit of what is computed could change.
        factored = name == "Mul" and len(arguments) == 2 and arguments[0].is_Rational and arguments[1].is_Add
        node = sp.Mul(*arguments, evaluate=False) if factored else NODES[name](*arguments)
    except UNREADABLE as error:
        raise DataError(f"the file holds a `{name}` with arguments that do not fit it.") from error
    _check_size(node)
    return node


def _check_cost(name: str, arguments: Sequence[Any]) -> None:
    """Refuse what SymPy would carry out at once and for ever, such as a tower of powers."""
    last = arguments[-1] if arguments else None
    if name in ("Pow", "loggamma") and last is not None and last.is_number and abs(_float(last)) > EXPONENT:
        raise DataError(f"the file holds a `{name}` of {str(last)[:20]}, beyond {EXPONENT}.")
    if name == "Derivative":
        for pair in arguments[1:]:
            match pair:
                case sp.Tuple(args=(sp.Symbol() | AppliedUndef(), sp.Integer() as order)) if 0 < order <= ORDER:
                    continue
            raise DataError(f"the file holds a derivative by {str(pair)[:40]}, which is not a symbol and an order.")
    if name == "Subs":
        match arguments:
            case [sp.Derivative(expr=AppliedUndef() as call), sp.Tuple() as variables, sp.Tuple()]:
                if set(variables) <= set(call.args):
                    return
        raise DataError("the file holds a `Subs` of something other than the derivative of a learned function.")


def _check_size(node: sp.Basic) -> None:
    """Refuse numbers that a float cannot hold: computing with them takes time and memory without end."""
    for part in (node, *node.args):
        if part.is_Rational and max(abs(part.p), part.q) >= 10**DIGITS:
            raise DataError(f"the file holds a fraction of more than {DIGITS} digits.")
    if isinstance(node, sp.Expr) and node.is_number:
        _float(node)


def _name(text: str) -> str:
    if not isinstance(text, str) or not NAME.fullmatch(text):
        raise DataError(f"{text[:40]!r} in the file is not a name.")
    return text


def _integer(text: str) -> int:
    if not re.fullmatch(rf"-?\d{{1,{DIGITS}}}", text):
        raise DataError(f"{text[:40]!r} in the file is not a whole number of at most {DIGITS} digits.")
    return int(text)


def _float(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{str(value)[:40]!r} in the file is not a number.") from error
    if not math.isfinite(number):
        raise DataError(f"`{number}` in the file is not finite.")
    return number


def encode_noise(noise: AbstractDistribution) -> dict[str, Any]:
    """A noise model or prior: the name of its class, and its fields."""
    given = {f.name: getattr(noise, f.name) for f in fields(noise)}
    numbers = {name: value for name, value in given.items() if name != "scale"}
    scale = {} if "scale" not in given else {"scale": given["scale"] and encode(given["scale"])}
    return {"kind": type(noise).__name__, **scale, **numbers}


def decode_noise(tree: Mapping[str, Any], decoder: Decoder) -> AbstractDistribution:
    """The inverse of `encode_noise`."""
    kind = DISTRIBUTIONS.get(tree.get("kind", ""))
    if kind is None:
        raise DataError(f"the file names a noise model {str(tree.get('kind'))[:40]!r} that is not known.")
    given = {f.name: tree[f.name] for f in fields(kind)}
    numbers = {name: _float(value) for name, value in given.items() if name != "scale"}
    scale = (
        {} if "scale" not in given else {"scale": None if given["scale"] is None else decoder.decode(given["scale"])}
    )
    return kind(**scale, **numbers)


def _encode_parameter(parameter: Parameter) -> dict[str, Any]:
    prior = None if parameter.prior is None else encode_noise(parameter.prior)
    return {
        "value": parameter.value,
        "bounds": list(parameter.bounds),
        "prior": prior,
        "fixed": parameter.fixed,
        "per_experiment": parameter.per_experiment,
    }


def _decode_parameter(tree: Mapping[str, Any], decoder: Decoder) -> Parameter:
    lower, upper = tree["bounds"]
    return Parameter(
        value=_float(tree["value"]),
        bounds=(None if lower is None else _float(lower), None if upper is None else _float(upper)),
        prior=None if tree["prior"] is None else decode_noise(tree["prior"], decoder),
        fixed=bool(tree["fixed"]),
        per_experiment=bool(tree["per_experiment"]),
    )


MLP_FIELDS = ("hidden", "activation", "decay", "input_scale", "output_scale")


def encode_system(system: System) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A System as JSON data, and the weights of its MLPs as arrays named `weights.0`, `weights.1`, …

    A network that is a torch module of the user's own is stored by the name of its class alone.
    """
    arrays: dict[str, np.ndarray] = {}
    learned = []
    for k, (group, network) in enumerate(system.learned.items()):
        entry: dict[str, Any] = {"functions": [function.__name__ for function in group]}
        if isinstance(network, MLP):
            entry["mlp"] = {name: getattr(network, name) for name in MLP_FIELDS}
            factors = network.factors
            entry["factors"] = None if factors is None else [None if f is None else encode(f) for f in factors]
            if network.weights is not None:
                arrays[f"weights.{k}"] = network.weights
        else:
            entry["module"] = type(network).__name__
        learned.append(entry)
    tree = {
        "format": FORMAT,
        "version": VERSION,
        "time": encode(system.time),
        "equations": [[encode(x), encode(rhs)] for x, rhs in system.equations.items()],
        "parameters": [[encode(x), _encode_parameter(p)] for x, p in system.parameters.items()],
        "learned": learned,
        "initial": [[encode(x), _encode_initial(value)] for x, value in system.initial.items()],
        "observed": [[encode(x), encode(value)] for x, value in system.observed.items()],
        "noise": [[encode(x), _encode_noise_of(value)] for x, value in system.noise.items()],
        "events": [_encode_event(event) for event in system.events],
        "discrete": system.discrete,
        "inputs": [[encode(u), how] for u, how in system.inputs.items()],
    }
    return tree, arrays


def _encode_noise_of(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {"processes": [[process.name, encode(coefficient)] for process, coefficient in value.items()]}
    return encode(value)


def _decode_noise_of(tree: Any, decoder: Decoder) -> Any:
    if isinstance(tree, Mapping) and "processes" in tree:
        return {_name(process): decoder.decode(coefficient) for process, coefficient in tree["processes"]}
    return decoder.decode(tree)


def _encode_event(event: Event) -> dict[str, Any]:
    reset = None if event.reset is None else [[encode(x), encode(value)] for x, value in event.reset.items()]
    return {
        "condition": encode(event.condition),
        "direction": event.direction,
        "terminal": event.terminal,
        "reset": reset,
    }


def _decode_event(tree: Mapping[str, Any], decoder: Decoder) -> Event:
    reset = tree["reset"]
    return Event(
        condition=decoder.decode(tree["condition"]),
        direction=tree["direction"],
        terminal=bool(tree["terminal"]),
        reset=None if reset is None else {decoder.decode(x): decoder.decode(value) for x, value in reset},
    )


def _encode_initial(value: sp.Expr | Parameter) -> dict[str, Any]:
    return {"parameter": _encode_parameter(value)} if isinstance(value, Parameter) else {"expression": encode(value)}


def decode_system(
    tree: Any,
    arrays: Mapping[str, np.ndarray],
    modules: Mapping[str, Any] | None = None,
    decoder: Decoder | None = None,
) -> System:
    """The inverse of `encode_system`.

    Args:
        tree: JSON data.
        arrays: Weights.
        modules: Function name -> torch module, for networks that are not MLPs.
        decoder: Shared with other expressions of the same file.

    Raises:
        DataError: The data are not a System of this format; nothing in them is run.
    """
    decoder = decoder or Decoder()
    try:
        if tree["format"] != FORMAT or tree["version"] != VERSION:
            raise DataError(
                f"the file holds format `{str(tree['format'])[:40]}` version `{str(tree['version'])[:10]}`; this "
                f"version of sciml reads `{FORMAT}` version {VERSION}."
            )
        pairs = {
            name: {decoder.decode(x): decoder.decode(value) for x, value in tree[name]}
            for name in ("equations", "observed")
        }
        noise = {decoder.decode(x): _decode_noise_of(value, decoder) for x, value in tree["noise"]}
        initial = {
            decoder.decode(x): _decode_parameter(value["parameter"], decoder)
            if "parameter" in value
            else decoder.decode(value["expression"])
            for x, value in tree["initial"]
        }
        return System(
            equations=pairs["equations"],
            parameters={decoder.decode(x): _decode_parameter(p, decoder) for x, p in tree["parameters"]},
            learned=dict(
                _decode_network(entry, arrays.get(f"weights.{k}"), modules or {}, decoder)
                for k, entry in enumerate(tree["learned"])
            ),
            initial=initial,
            observed=pairs["observed"],
            noise=noise,
            time=decoder.decode(tree["time"]),
            events=tuple(_decode_event(event, decoder) for event in tree["events"]),
            discrete=bool(tree["discrete"]),
            inputs={decoder.decode(u): str(how) for u, how in tree["inputs"]},
        )
    except DataError:
        raise
    except UNREADABLE as error:
        raise DataError(f"the file does not hold a System that can be read: {error}.") from error


def _decode_network(entry: Mapping[str, Any], weights: np.ndarray | None, modules: Mapping[str, Any], decoder: Decoder):
    group = tuple(sp.Function(_name(name)) for name in entry["functions"])
    if "mlp" in entry:
        options = {name: entry["mlp"][name] for name in MLP_FIELDS}
        options["hidden"] = tuple(options["hidden"])
        factors = entry["factors"]
        options["factors"] = (
            None if factors is None else tuple(None if f is None else decoder.decode(f) for f in factors)
        )
        return group, MLP(**options, weights=weights)
    found = [modules[name] for name in entry["functions"] if name in modules]
    if not found:
        names = quoted(entry["functions"])
        raise DataError(
            f"{names} were learned by a torch module of class `{str(entry['module'])[:60]}`, which a file cannot hold "
            f'safely. Give an instance: `sciml.load(path, modules={{"{entry["functions"][0]}": module}})`.'
        )
    return group, found[0]
