"""MathML as libsbml holds it, turned into SymPy through the whitelist of our own file format."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import sympy as sp

from sciml.errors import DataError
from sciml.symbolic.serialize import CONSTANTS, DEPTH, build

LARGEST = 100_000  # nodes of an expression: what calls and rules multiply has no end
TOO_LARGE = f"with its functions and rules written out it has more than {LARGEST} terms."
AVOGADRO = 6.02214179e23  # SBML Level 3 Version 1, section 3.4.6
CIRCULAR = ("SIN", "COS", "TAN", "SEC", "CSC", "COT")
PLAIN = {
    "PLUS": "Add", "TIMES": "Mul", "FUNCTION_ABS": "Abs", "FUNCTION_EXP": "exp", "FUNCTION_LN": "log",
    "FUNCTION_FLOOR": "floor", "FUNCTION_CEILING": "ceiling", "POWER": "Pow", "FUNCTION_POWER": "Pow",
    "FUNCTION_MAX": "Max", "FUNCTION_MIN": "Min", "LOGICAL_AND": "And", "LOGICAL_OR": "Or", "LOGICAL_NOT": "Not",
    **{f"FUNCTION_{name}{h}": f"{name.lower()}{h.lower()}" for name in CIRCULAR for h in ("", "H")},
    **{f"FUNCTION_ARC{name}{h}": f"a{name.lower()}{h.lower()}" for name in ("SIN", "COS", "TAN") for h in ("", "H")},
}  # fmt: skip
RECIPROCAL = {f"FUNCTION_ARC{a}{h}": f"a{b}{h.lower()}" for a, b in (("SEC", "cos"), ("CSC", "sin"), ("COT", "tan"))
              for h in ("", "H")}  # fmt: skip
RELATIONS = {
    "EQ": "Equality",
    "NEQ": "Unequality",
    "LT": "StrictLessThan",
    "LEQ": "LessThan",
    "GT": "StrictGreaterThan",
    "GEQ": "GreaterThan",
}
NUMBERS = {"CONSTANT_PI": "pi", "CONSTANT_E": "E", "CONSTANT_TRUE": "true", "CONSTANT_FALSE": "false"}
TIME = sp.Symbol("t", real=True)


class Reader:
    """Turns the trees of one model into expressions.

    Args:
        libsbml: The library.
        symbols: Identifier -> symbol or expression.
        functions: Identifier -> libsbml's definition of a function.
    """

    def __init__(self, libsbml: Any, symbols: Callable[[str], sp.Expr], functions: Mapping[str, Any]):
        self.symbols, self.functions = symbols, functions
        constants = {name: value for name, value in vars(libsbml).items() if name.startswith("AST_")}
        self.kinds = {value: name[4:] for name, value in constants.items() if isinstance(value, int)}
        # Aliases of one number: the names that are handled here win.
        for name in (*PLAIN, *RECIPROCAL, *(f"RELATIONAL_{r}" for r in RELATIONS), *NUMBERS, "NAME", "NAME_TIME"):
            if hasattr(libsbml, f"AST_{name}"):
                self.kinds[getattr(libsbml, f"AST_{name}")] = name
        self.steps = 0
        self.sizes: dict[sp.Basic, tuple[int, int]] = {}

    def expression(self, node: Any, where: str) -> sp.Expr:
        """The expression of a tree.

        Raises:
            DataError: An operator that is not known, or numbers that only serve to harm; the message says where.
        """
        # A name within the formula may be a rule's: its formula is counted for itself.
        before, self.steps = self.steps, 0
        try:
            return self._tree(node, {}, 0)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
        finally:
            self.steps = before

    def _tree(self, node: Any, local: Mapping[str, sp.Expr], depth: int) -> Any:
        if node is None:
            raise DataError("there is no formula.")
        self.steps += 1
        if self.steps > LARGEST:
            raise DataError(TOO_LARGE)
        if depth > 100:
            raise DataError("a formula calls functions or nests deeper than 100 levels.")
        kind = self.kinds.get(node.getType(), "UNKNOWN")
        arguments = [node.getChild(i) for i in range(node.getNumChildren())]

        def children(chosen=arguments) -> list[Any]:
            return [self._tree(child, local, depth + 1) for child in chosen]

        match kind:
            case "INTEGER":
                return sp.Integer(node.getInteger())
            case "REAL" | "REAL_E":
                return _number(node.getReal())
            case "RATIONAL":
                if node.getDenominator() == 0:
                    raise DataError("a fraction has the denominator 0.")
                return sp.Rational(node.getNumerator(), node.getDenominator())
            case "NAME":
                name = node.getName()
                return local[name] if name in local else self.symbols(name)
            case "NAME_TIME":
                return TIME
            case "NAME_AVOGADRO":
                return _number(AVOGADRO)
            case "FUNCTION":
                return self._call(node.getName(), children(), depth)
            case "MINUS":
                first, *rest = children()
                return self._node("Add", first, self._minus(rest[0])) if rest else self._minus(first)
            case "DIVIDE":
                above, below = children()
                return self._node("Mul", above, self._node("Pow", below, sp.Integer(-1)))
            case "FUNCTION_ROOT":
                *degree, radicand = children()
                return self._node(
                    "Pow", radicand, self._node("Pow", degree[0] if degree else sp.Integer(2), sp.Integer(-1))
                )
            case "FUNCTION_LOG":
                *base, argument = children()
                logarithm = self._node("Pow", self._node("log", base[0] if base else sp.Integer(10)), sp.Integer(-1))
                return self._node("Mul", self._node("log", argument), logarithm)
            case "FUNCTION_PIECEWISE":
                pairs = list(zip(children(arguments[::2]), children(arguments[1::2])))
                if len(arguments) % 2:
                    pairs.append((self._tree(arguments[-1], local, depth + 1), sp.true))
                return self._node(
                    "Piecewise", *(self._node("ExprCondPair", value, condition) for value, condition in pairs)
                )
            case "FUNCTION_REM":
                a, b = children()
                return self._node("Mod", a, b)
            case "LOGICAL_XOR":
                a, b = children()
                return self._node(
                    "Or", self._node("And", a, self._node("Not", b)), self._node("And", b, self._node("Not", a))
                )
            case _ if kind in PLAIN:
                return self._node(PLAIN[kind], *children()) if arguments else sp.Integer(0 if kind == "PLUS" else 1)
            case _ if kind in RECIPROCAL:
                return self._node(RECIPROCAL[kind], self._node("Pow", *children(), sp.Integer(-1)))
            case _ if kind in NUMBERS:
                return CONSTANTS[NUMBERS[kind]]
            case _ if kind.removeprefix("RELATIONAL_") in RELATIONS:
                name, sides = RELATIONS[kind.removeprefix("RELATIONAL_")], children()
                pairs = [self._node(name, a, b) for a, b in pairwise(sides)]
                return pairs[0] if len(pairs) == 1 else self._node("And", *pairs)
        raise DataError(f"`{(node.getName() or kind).lower()}` is not read here (MathML node {kind}).")

    def _call(self, name: str, arguments: list[Any], depth: int) -> Any:
        definition = self.functions.get(name)
        if definition is None or definition.getNumArguments() != len(arguments):
            raise DataError(f"the function `{name}` is not defined for {len(arguments)} arguments.")
        formals = [definition.getArgument(i).getName() for i in range(len(arguments))]
        return self._tree(definition.getBody(), dict(zip(formals, arguments)), depth + 1)

    def _node(self, name: str, *arguments: Any) -> Any:
        node = build(name, arguments)
        size, depth = self._extent(node)
        if size > LARGEST:
            raise DataError(TOO_LARGE)
        if depth > DEPTH:
            raise DataError(f"with its functions and rules written out it nests deeper than {DEPTH} levels.")
        return node

    def _minus(self, expression: sp.Expr) -> Any:
        return self._node("Mul", sp.Integer(-1), expression)

    def _extent(self, node: sp.Basic) -> tuple[int, int]:
        """Number of nodes as written out, and depth; shared parts are looked at once."""
        if node not in self.sizes:
            parts = [self._extent(argument) for argument in node.args]
            self.sizes[node] = 1 + sum(size for size, _ in parts), 1 + max((depth for _, depth in parts), default=0)
        return self.sizes[node]


def _number(value: float) -> sp.Expr:
    """A whole float as an integer: `x^2.0` is a square."""
    if not math.isfinite(value):
        raise DataError(f"the number `{value}` is not finite.")
    return sp.Integer(int(value)) if value.is_integer() and abs(value) < 2**53 else sp.Float(value, precision=53)
